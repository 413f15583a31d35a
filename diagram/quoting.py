"""Find the label in a line, and mend what would keep Python from reading it.

A label whose quotes are missing, typographic or not escaped is mended, because the position and the shape behind it
tell where it ends.
"""

import re
from typing import NamedTuple

from diagram.nodes import SHAPES

TEXT = r"""'(?:[^'\\]|\\.)*+'|"(?:[^"\\]|\\.)*+\""""  # in quotes
NOT_ESCAPED = "label holds a quote or a backslash without a \\ in front of it"
NOT_QUOTED = "label is not in quotes"

_PLACE = r"""\s*['"]?-?\d[\d.]*['"]?\s*"""
_AHEAD = re.compile(rf"\[{{1,2}}(?:[^\[\]'\",]*|\s*(?:{TEXT})\s*),\s*")
_LABEL = re.compile(TEXT)
_BEHIND = re.compile(rf",{_PLACE},{_PLACE},\s*['\"](?:{'|'.join(SHAPES)})['\"]\s*,", re.ASCII)
_UNQUOTED = re.compile(r"(?=[^,]*[^\W\d_])\w[^,\[\]'\"#]*|[“”„‘’«»‚‹›][^,\[\]'\"#]*|`[^,\[\]'\"#]*")
_QUOTES = "“”„‘’«»‚‹›` "


class Mended(NamedTuple):
    """A line that Python can read if the rest of it can be read, how its label deviates, and where its label stands."""

    line: str
    wrong: list[str]
    label: slice


def mended(line: str) -> Mended:
    """Find the label of a line and mend it; the slice is empty if the line has none."""
    ahead = _AHEAD.match(line)
    if not ahead:
        return Mended(line, [], slice(0, 0))
    start = ahead.end()
    whole = _LABEL.match(line, start)
    if whole and line[whole.end() :].lstrip()[:1] == ",":
        # A null or a carriage return in the quotes would end the text for Python.
        text = whole[0].replace("\0", "\\x00").replace("\r", "\\r")
        return _put(line, start, whole.end(), text, [])
    behind = _BEHIND.search(line, start)
    raw = line[start : behind.start()].rstrip() if behind else ""
    quote = raw[:1]
    if len(raw) > 1 and quote in "'\"" and raw[-1] == quote and not re.search(rf"{quote}\s*,|,\s*{quote}", raw):
        inner = re.sub(rf"\\.|\\$|{quote}", lambda m: m[0] if len(m[0]) > 1 else f"\\{m[0]}", raw[1:-1])
        return _put(line, start, start + len(raw), f"{quote}{inner}{quote}", [NOT_ESCAPED])
    if raw.strip() == "null":
        return _put(line, start, start + len(raw), "None", [])
    if raw not in ("None", "True", "False") and _UNQUOTED.fullmatch(raw):
        return _put(line, start, start + len(raw), repr(raw.strip(_QUOTES)), [NOT_QUOTED])
    return Mended(line, [], slice(0, 0))


def _put(line: str, start: int, stop: int, text: str, wrong: list[str]) -> Mended:
    return Mended(line[:start] + text + line[stop:], wrong, slice(start, start + len(text)))
