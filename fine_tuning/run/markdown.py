"""Text and tables of a log in markdown. Whatever a text holds, a reader sees it literally."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from tabulate import tabulate


def escape(value: Any) -> str:
    """A value as text that markdown shows literally, on one line: it makes no table, link, HTML or code.

    Floats get six digits; the items of a list or tuple are joined by commas.
    """
    if isinstance(value, float):
        value = f"{value:.6g}"
    elif isinstance(value, list | tuple):
        value = ", ".join(map(str, value))
    text = " ".join(str(value).split())  # an indented line would be a block of code
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = "".join(f"\\{character}" if character in "\\`*_[]|#~!$" else character for character in text)
    # GitHub makes links of bare addresses. A backslash does not stop it for those of mail.
    return text.replace("://", "\\://").replace("www.", "www\\.").replace("@", "&#64;")


def paragraph(text: str) -> str:
    """A paragraph of literal text; its beginning starts no list and draws no line."""
    return re.sub(r"^(\d*)([-+=.)])", r"\1\\\2", escape(text))


def bullets(lines: Iterable[str]) -> str:
    """A list of literal texts."""
    return "\n".join(f"- {paragraph(line)}" for line in lines)


def table(columns: Sequence[Any], rows: Iterable[Sequence[Any]]) -> str:
    """A table of literal cells, each row as long as `columns`. Columns of numbers are aligned right."""
    cells = [[_Cell(escape(cell)) for cell in row] for row in rows]
    sides = ["right" if all(map(_is_number, filter(None, column))) else "left" for column in zip(*cells, strict=True)]
    return tabulate(cells, [escape(name) for name in columns], "pipe", colalign=sides, disable_numparse=True)


class _Cell(str):
    """A text and nothing else: of plain strings, tabulate takes "\x01" for a line between two rows."""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
