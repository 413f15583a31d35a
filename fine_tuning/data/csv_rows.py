"""Read the CSVs. All problems of a file are raised together."""

import contextlib
import csv
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fine_tuning.data.csv_lines import Lines, records
from fine_tuning.data.problems import Note, Problems, used_as_they_are
from fine_tuning.data.row import Row, RowProblem, read_row, shape_info
from fine_tuning.run.commands import program_of
from fine_tuning.run.errors import UserError, about

__all__ = ["CsvRows", "Row", "read_csv", "read_rows", "shape_info"]

NOT_UTF8 = "not UTF-8; save the file as UTF-8"


@dataclass(frozen=True, slots=True)
class CsvRows:
    """The good rows of a CSV, and notes: what is less than perfect in them, and which rows are left out."""

    rows: list[Row]
    notes: list[Note]


@contextlib.contextmanager
def about_rows(path: Path, found: CsvRows) -> Iterator[None]:
    """Begin every problem raised inside with the file. Then say which rows were left out: they may be the reason."""
    try:
        with about(path):
            yield
    except UserError as error:
        raise UserError(*error.problems, *(note.line for note in found.notes if "left out" in note.name)) from error


def read_rows(path: Path, scored: bool, remedy: str, unique: bool = False, size: int | None = None) -> list[Row]:
    """`read_csv` for those who want only the rows."""
    return read_csv(path, scored, remedy, unique=unique, size=size).rows


def read_csv(
    path: Path,
    scored: bool,
    remedy: str,
    *,
    unique: bool = False,
    referenced: bool = False,
    size: int | None = None,
    limit: Callable[[Sequence[Row]], Iterable[Row]] | None = None,
    skip_bad_rows: bool = False,
) -> CsvRows:
    """The rows of a CSV. Raises UserError with everything that is wrong with it.

    scored          the CSV has a score column; without it every answer counts as a reference, with score 1.0
    remedy          what to do about a missing or empty file
    unique          no reference may occur twice
    referenced      the prompt of every row needs a reference
    size            read only the first `size` bytes
    limit           chooses the rows that are used; bad ones among the others are dropped without a word
    skip_bad_rows   leave bad rows out, with a note; only problems of the whole file are raised

    Answers with score 1.0 are references. They must be diagrams, because other answers are scored against them; what
    is less than perfect in them is noted. The file is read line by line; memory holds the rows and little more.
    """
    if not path.is_file():
        raise UserError(f"{path}: there is no such file. {remedy}")
    problems = Problems(path, skip_bad_rows)
    reader = _Reader(problems, scored, remedy)
    rows: list[Row] = []  # bad ones too: `limit` must see where they stand
    try:
        with open(path, "rb") as file:
            rows += reader.rows_of(Lines(file, size))
    except OSError as error:
        problems.add(f"it cannot be read: {error.strerror}. Change its permissions")
    bad = reader.bad
    if unique:
        _find_repeats(rows, bad, skip_bad_rows)
    _find_other_sides(rows, bad, skip_bad_rows)
    if referenced:
        _find_prompts_without_reference(rows, bad, skip_bad_rows)
    used = {row.number for row in limit(rows)} if limit else None
    for number in sorted(bad):
        if used is None or number in used:
            for problem in bad[number]:
                problems.add_row(number, *problem, can_skip=problem.kind != NOT_UTF8)
    problems.raise_if_any()
    found: dict[str, list[int]] = {}
    for number, oddities in reader.oddities.items():
        if number not in bad and (used is None or number in used):
            for what in oddities:
                found.setdefault(what, []).append(number)
    notes = problems.notes() + [used_as_they_are(path, what, numbers) for what, numbers in found.items()]
    return CsvRows([row for row in rows if row.number not in bad] if bad else rows, notes)


class _Reader:
    """Reads all rows and remembers what is wrong with them.

    bad         the problems of rows, by row number
    oddities    what is less than perfect in references, by row number
    """

    def __init__(self, problems: Problems, scored: bool, remedy: str) -> None:
        self._problems, self._scored, self._remedy = problems, scored, remedy
        self.bad: dict[int, list[RowProblem]] = {}
        self.oddities: dict[int, tuple[str, ...]] = {}

    def rows_of(self, lines: Lines) -> Iterator[Row]:
        """All rows, the bad ones as far as they could be read. Adds the problems of the whole file to `problems`."""
        number, family, is_empty = 0, "diagram", True
        header = None
        try:
            rest = records(lines)
            header = next(rest, None)
            if header is None:
                self._problems.add(f"the file is empty. {self._remedy}")
                return
            if (byte := lines.take_wrong_byte()) is not None:
                self._problems.add(_not_utf8(byte))
                return
            if problems := list(_header_problems(header, self._scored)):
                for problem in problems:
                    self._problems.add(problem)
                return
            for number, record in enumerate(rest, start=1):
                if not any(map(str.strip, record)):
                    continue  # what a spreadsheet leaves of an empty row
                is_empty = False
                found = read_row(header, record, self._scored, number, family)
                if (byte := lines.take_wrong_byte()) is not None:
                    found.problems.insert(0, RowProblem(NOT_UTF8, _not_utf8(byte)))
                if found.problems:
                    self.bad[number] = found.problems
                elif found.oddities:
                    self.oddities[number] = found.oddities
                family = found.row.family
                yield found.row
        except csv.Error as error:
            if header is None and (separator := _other_separator(lines.first)):
                self._problems.add(_separated_by(separator))
                return
            number, is_empty = number + 1, False
            check = "Check the quotes: one may be missing or extra. The rest is not read"
            self._problems.add(f"not a valid CSV ({error}). {check}", number)
        if (byte := lines.take_wrong_byte()) is not None:
            self._problems.add(_not_utf8(byte))
        if is_empty:
            self._problems.add(f"a header but no rows. {self._remedy}")


def _not_utf8(byte: int) -> str:
    return f"not UTF-8, at byte {byte}; save the file as UTF-8"


def _other_separator(line: str) -> str | None:
    """What separates the columns of a header, if it is no comma."""
    return next((s for s in ";\t|" if s in line and "input_data" in next(csv.reader([line], delimiter=s))), None)


def _separated_by(separator: str) -> str:
    return f"its columns are separated by {separator!r}; save it with commas"


def _header_problems(header: list[str], scored: bool) -> Iterator[str]:
    if len(header) == 1 and (separator := next((s for s in ";\t|" if s in header[0]), None)):
        yield _separated_by(separator)
        return
    missing = [name for name in ("input_data", "output_data", *(["score"] if scored else [])) if name not in header]
    if missing:
        has = ", ".join(header)
        command = shlex.join([*program_of("import_dataset"), "FILE", "--workspace", "NEW"])
        hint = f"The first line must name the columns. To import a file with other columns: {command}"
        yield f"no column {' or '.join(missing)}; it has {has[:200]}. {hint}"
    for name, count in Counter(header).items():
        if count > 1 and name.strip():  # columns without a name are what a spreadsheet leaves of empty ones
            yield f"{count} columns are named {name[:40]!r}; rename or delete all but one"


def _find_repeats(rows: Sequence[Row], bad: dict[int, list[RowProblem]], skip: bool) -> None:
    first: dict[tuple[str, str], int] = {}
    for row in rows:
        if row.score == 1 and not (skip and row.number in bad):
            before = first.setdefault((row.prompt, row.answer), row.number)
            if before != row.number:
                kind = "the same prompt and answer as an earlier row"
                message = f"the same prompt and answer as row {before}; delete one of them"
                bad.setdefault(row.number, []).append(RowProblem(kind, message))


def _find_other_sides(rows: Sequence[Row], bad: dict[int, list[RowProblem]], skip: bool) -> None:
    first: dict[str, Row] = {}
    for row in rows:
        if row.split and not (skip and row.number in bad):
            before = first.setdefault(row.prompt, row)
            if before.split != row.split:
                kind = "split differs from that of an earlier row with the same prompt"
                message = (
                    f"split is {row.split!r}, but row {before.number} has the same prompt and {before.split!r}. Give "
                    "all rows of a prompt the same split"
                )
                bad.setdefault(row.number, []).append(RowProblem(kind, message))


def _find_prompts_without_reference(rows: Sequence[Row], bad: dict[int, list[RowProblem]], skip: bool) -> None:
    """A bad reference counts, because it is reported itself; but not if it is skipped."""
    with_reference = {row.prompt for row in rows if row.score == 1 and not (skip and row.number in bad)}
    if not with_reference:  # a problem of the whole file
        return
    for row in rows:
        if row.prompt not in with_reference and row.number not in bad:
            kind = "the prompt has no row with score 1.0 to score its samples against"
            bad[row.number] = [RowProblem(kind, f"{kind}. Add one, or delete the row")]
