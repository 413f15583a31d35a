"""Text and tables of a log in markdown, escaped: a reader sees every text literally."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from tabulate import tabulate

from fine_tuning.run.entry_point import one_line


def escape(value: Any) -> str:
    """A value as one line of text that markdown shows literally: no part of it becomes a table, link, HTML or code.

    What cannot be seen is shown as a code, such as \\u202e: it could hide text or turn it around. Floats get six
    digits; the items of a list or tuple are joined by commas.
    """
    if isinstance(value, float):
        value = f"{value:.6g}"
    elif isinstance(value, list | tuple):
        value = ", ".join(map(str, value))
    text = one_line(" ".join(str(value).split()))  # an indented line would be a code block
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = "".join(f"\\{character}" if character in "\\`*_[]|#~!$" else character for character in text)
    # GitHub turns bare URLs and mail addresses into links. In a mail address, a backslash does not prevent that.
    return text.replace("://", "\\://").replace("www.", "www\\.").replace("@", "&#64;")


def paragraph(text: str) -> str:
    """A paragraph of literal text. Its first characters cannot start a list or a horizontal rule."""
    return re.sub(r"^(\d*)([-+=.)])", r"\1\\\2", escape(text))


def bullets(lines: Iterable[str]) -> str:
    """A bullet list of literal texts."""
    return "\n".join(f"- {paragraph(line)}" for line in lines)


def table(columns: Sequence[Any], rows: Iterable[Sequence[Any]]) -> str:
    """A table of literal cells. Each row is as long as `columns`; columns of numbers are aligned right."""
    cells = [[_Cell(escape(cell)) for cell in row] for row in rows]
    sides = ["right" if all(map(_is_number, filter(None, column))) else "left" for column in zip(*cells, strict=True)]
    return tabulate(cells, [escape(name) for name in columns], "pipe", colalign=sides, disable_numparse=True)


class _Cell(str):
    """A cell that tabulate always shows as text. It takes a plain string "\x01" for a line between two rows."""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
