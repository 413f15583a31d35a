"""Rows and files for the tests of the import."""


def line(number: int = 0, x: int = 100, targets: str = "[]") -> str:
    return f"[{number}, {x}, 300, 'circle', 80, 80, 'solid arrow', (255, 228, 196), (0, 0, 0), {targets}]"


def drawing(k: int) -> str:
    return line(x=100 + k)


def csv_of(columns: list[str], rows: list[list[str]], separator: str = ",") -> str:
    def quoted(cell: object) -> str:
        return '"' + str(cell).replace('"', '""') + '"'

    return "\n".join(separator.join(map(quoted, row)) for row in [columns, *rows]) + "\n"


def plain(count: int = 9, columns: tuple[str, str] = ("prompt", "completion"), separator: str = ",") -> str:
    return csv_of(list(columns), [[f"draw, {k}", drawing(k)] for k in range(count)], separator)
