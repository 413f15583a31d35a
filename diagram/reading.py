"""Read one line of a diagram, as tolerantly as is safe.

Nothing is executed: `ast.literal_eval` reads the line, which must be a Python list of literals. A line that deviates
from the format but has only one possible meaning, such as one with a comma after it or a quoted number, is read, and
the deviation is reported.
"""

import ast
import math
import re
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

from diagram.labels import is_label, read_label, shortened
from diagram.nodes import LINES, MAX_COORDINATE, MAX_LINE_LENGTH, MAX_NUMBER, SHAPES, Node
from diagram.quoting import TEXT, mended

MAX_STRAY = 3  # characters after the closing bracket

# A line as `format` writes it. This pattern takes a tenth of the time of `ast.literal_eval`.
_SMALL, _NUMBER = r"(?:0|[1-9]\d{0,2})", r"(?:0|[1-9]\d{0,3})"
_SIZE, _PLACE = r"([1-9]\d{0,5})", r"(0|-?[1-9]\d{0,5})"
_COLOUR = rf"\(({_SMALL}), ({_SMALL}), ({_SMALL})\)"
_LABEL = r"""(?:('[^'\\]*+'|"[^"\\]*+"), )?"""
_PLAIN = re.compile(
    rf"\[({_NUMBER}), {_LABEL}{_PLACE}, {_PLACE}, '({'|'.join(SHAPES)})', {_SIZE}, {_SIZE}, '({'|'.join(LINES)})', "
    rf"{_COLOUR}, {_COLOUR}, \[((?:{_NUMBER}(?:, {_NUMBER})*)?)\]\]",
    re.ASCII,
)
# A list of at most two levels. Brackets in quotes do not count.
_LIST = re.compile(rf"\[(?:[^\[\]'\"]++|{TEXT}|\[(?:[^\[\]'\"]++|{TEXT})*+\])*+\]")
_QUOTED_NUMBER = re.compile(r"-?\d{1,6}", re.ASCII)
_SHORT_LINES = {"solid": "solid line", "dashed": "dashed line"}


class Value(NamedTuple):
    """A field that was read; `exact` is False if it deviates from the format."""

    value: Any
    exact: bool = True


def read_line(line: str) -> tuple[Node | None, list[str]]:
    """Read a line without spaces around it. Returns the node and how the line deviates from the format.

    If there is no node, the only message says why.
    """
    if len(line) > MAX_LINE_LENGTH:
        return None, [f"longer than {MAX_LINE_LENGTH} characters"]
    if node := _plain_node(line):
        return node, []
    if not line.startswith("["):
        return None, ["not a list"]
    line, deviations, label = mended(line)
    if "#" in line[: label.start] + line[label.stop :]:  # Python would read the rest as a comment
        return None, ["holds a #; colours are written (R, G, B), and comments are not allowed"]
    start = 0
    if line.startswith("[["):
        start = 1
        deviations.append("one [ too many at its start")
    found = _LIST.match(line, start)
    if not found:
        return None, ["not a list of numbers, texts and colours" if line.endswith("]") else "not closed with ]"]
    stray = line[found.end() :].strip()
    if stray:
        if len(stray) > MAX_STRAY or not stray.isprintable() or "[" in stray:
            return None, [f"goes on after its closing ]: {shortened(stray)}"]
        deviations.append("a comma after its closing ]" if stray == "," else f"{stray} after its closing ]")
    if node := _plain_node(found[0]):
        return node, deviations
    fields = _literal(found[0])
    if fields is None:
        return None, ["not a list of numbers, texts and colours"]
    values: list[Any] = []
    wrong: list[str] = []
    is_read = True
    text = None
    expected = len(_FIELDS) + _is_labelled(fields)
    if len(fields) != expected:
        return None, [f"{len(fields)} fields instead of {expected}"]
    if expected > len(_FIELDS):
        text, wrong = read_label(fields.pop(1))
    for (name, read), field in zip(_FIELDS, fields, strict=True):
        value = read(field)
        if value is None or not value.exact:
            wrong.append(f"{name} is {shortened(field)}")
        if value is None:
            is_read = False
        else:
            values.append(value.value)
    if not is_read:
        return None, ["; ".join(wrong)]
    values.append(text)
    return Node(*values), deviations + wrong


def _plain_node(text: str) -> Node | None:
    match = _PLAIN.fullmatch(text)
    if not match:
        return None
    number, label, x, y, shape, width, height, line, *channels, targets = match.groups()
    if label is not None and not is_label(label := label[1:-1]):
        return None
    colours = [int(channel) for channel in channels]
    place_and_size = int(x), int(y), int(width), int(height)
    if max(colours) > 255 or max(map(abs, place_and_size)) > MAX_COORDINATE:
        return None
    red, green, blue, red_line, green_line, blue_line = colours
    return Node(
        int(number),
        *place_and_size[:2],
        shape,
        *place_and_size[2:],
        line,
        (red, green, blue),
        (red_line, green_line, blue_line),
        tuple(map(int, targets.split(", "))) if targets else (),
        label,
    )


def _is_labelled(fields: list[object]) -> bool:
    """True if the second field can only be a label."""
    if len(fields) == len(_FIELDS):
        return isinstance(fields[1], str) and not isinstance(fields[3], str)  # a later field is missing
    if len(fields) == len(_FIELDS) + 1:
        return True
    return len(fields) > 1 and isinstance(fields[1], str) and not _QUOTED_NUMBER.fullmatch(fields[1].strip())


def _literal(text: str) -> list[object] | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as "invalid escape sequence", which the caller cannot mend
            value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, OverflowError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, list) else None


def _whole(low: int, high: int) -> Callable[[object], Value | None]:
    """Make a reader of whole numbers from `low` to `high`, which may be quoted."""

    def read(field: object) -> Value | None:
        exact = type(field) is int  # True is an int to isinstance
        if isinstance(field, str) and _QUOTED_NUMBER.fullmatch(field.strip()):
            field = int(field)
        return Value(field, exact) if type(field) is int and low <= field <= high else None

    return read


def _pixels(low: int) -> Callable[[object], Value | None]:
    """Make a reader of whole numbers from `low` to MAX_COORDINATE, which may be quoted or have a fraction."""
    whole = _whole(low, MAX_COORDINATE)

    def read(field: object) -> Value | None:
        if isinstance(field, float) and math.isfinite(field):
            rounded = whole(round(field))
            return rounded and Value(rounded.value, exact=False)
        return whole(field)

    return read


def _shape(field: object) -> Value | None:
    return Value(field) if isinstance(field, str) and field in SHAPES else None


def _line(field: object) -> Value | None:
    if not isinstance(field, str):
        return None
    if field in _SHORT_LINES:
        return Value(_SHORT_LINES[field], exact=False)
    return Value(field) if field in LINES else None


def _items(field: object, kind: type, item: Callable[[object], Value | None]) -> Value | None:
    """Read a list or a tuple with `item`; `kind` is the type that the format asks for."""
    if not isinstance(field, list | tuple):
        return None
    items = [item(part) for part in field]
    values = tuple(part.value for part in items if part)
    if len(values) < len(items):
        return None
    return Value(values, exact=type(field) is kind and all(part.exact for part in items if part))


_number = _whole(0, MAX_NUMBER)
_channel = _whole(0, 255)


def _colour(field: object) -> Value | None:
    colour = _items(field, tuple, _channel)
    return colour if colour and len(colour.value) == 3 else None


def _targets(field: object) -> Value | None:
    return _items(field, list, _number)


_FIELDS: tuple[tuple[str, Callable[[object], Value | None]], ...] = (
    ("node number", _number),
    ("x", _pixels(-MAX_COORDINATE)),
    ("y", _pixels(-MAX_COORDINATE)),
    ("shape", _shape),
    ("width", _pixels(1)),
    ("height", _pixels(1)),
    ("line", _line),
    ("background colour", _colour),
    ("line colour", _colour),
    ("targets", _targets),
)
