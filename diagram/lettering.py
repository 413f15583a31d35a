"""Fit labels into their shapes: where their lines break, and how large the letters are.

No font is needed, so the score, the PNG, the SVG and the draw.io file agree on every machine. All lengths are canvas
pixels. The font size is from SMALLEST to LARGEST pixels; SMALLEST is about 10 points on a slide. The label of a tall
and narrow shape may be turned, to be read from bottom to top. A label that is too long even for the smallest letters
ends in an ellipsis.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import sqrt
from typing import NamedTuple

from diagram.labels import MAX_LABEL, shown
from diagram.nodes import Node
from diagram.picture_geometry import corner_radius
from diagram.text_width import Piece, pieces_of, width_of

LARGEST = 16
SMALLEST = 10
LINE_HEIGHT = 1.2  # of the font size
BASELINE = 0.35  # of the font size, below the middle of a line: capitals look centred
ELLIPSIS = "…"

_EVEN = 12  # all labels of a diagram have the size of the longest one, down to this size
_ONE_LINE = 14  # a label that fits into one line at this size is not wrapped
_MARGIN, _SIDE_MARGIN = 5.0, 7.0  # from the edge of the shape, where the border is, to the letters
_ROUND_SIDE_MARGIN = 8.0  # of an ellipse, whose border comes near the corners of the letters
_NARROW = 2.0  # a shape this much higher than wide may have a turned label
_BALANCES = (0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


class Lettering(NamedTuple):
    """The lines of a label, from top to bottom, and how they are drawn: centred in the shape.

    rooms   the widths that the lines may take
    turned  whether they are read from bottom to top; the lines then go from left to right
    size    the font size
    lost    the share of the label that is not shown, 0 to 1
    whole   whether all of it is shown, and no word is broken where words do not break
    """

    lines: tuple[str, ...]
    rooms: tuple[float, ...]
    turned: bool
    size: int
    lost: float
    whole: bool


def letterings(nodes: Iterable[Node]) -> dict[int, Lettering]:
    """The lettering of each shape with a label, by the shape's number. Labels of one diagram have one size if they can.

    If the label of one narrow shape is turned, those of all others are.
    """
    labelled = {node.number: (node, text) for node in nodes if (text := shown(node.label))}
    found = {number: lettering_of(node, text) for number, (node, text) in labelled.items()}
    if any(lettering.turned for lettering in found.values()):
        for number, (node, text) in labelled.items():
            if _is_narrow(node) and (turned := _letters(node, text, True)).whole:
                found[number] = turned
    even = max(_EVEN, min((lettering.size for lettering in found.values()), default=0))
    for number, (node, text) in labelled.items():
        old = found[number]
        if old.size > even and (new := _letters(node, text, old.turned, even)).whole:
            found[number] = new
    return found


def lettering_of(node: Node, text: str) -> Lettering:
    """The lettering of a shape with this text, with letters as large as possible."""
    upright = _letters(node, text, False)
    if not _is_narrow(node) or (upright.whole and upright.size == LARGEST and len(upright.lines) == 1):
        return upright
    turned = _letters(node, text, True)
    return turned if turned.whole or turned.lost < upright.lost else upright


def _letters(node: Node, text: str, turned: bool, largest: int = LARGEST) -> Lettering:
    return _fitted(_form(node, turned), text, largest)._replace(turned=turned)


def _is_narrow(node: Node) -> bool:
    return node.height >= _NARROW * node.width


class _Form(NamedTuple):
    """The part of a shape where letters may be: half its width and height, and the radius of its corners.

    `round` is True for an ellipse.
    """

    half_width: float
    half_height: float
    radius: float
    round: bool

    def room(self, top: float, bottom: float) -> float:
        """The width between two heights, measured from the centre."""
        y = max(abs(top), abs(bottom))
        if y > self.half_height:
            return 0.0
        if self.round:
            return 2 * self.half_width * sqrt(1 - (y / self.half_height) ** 2)
        into_corner = max(0.0, y - (self.half_height - self.radius))
        return 2 * (self.half_width - self.radius + sqrt(max(0.0, self.radius**2 - into_corner**2)))

    def rooms(self, count: int, size: float) -> list[float]:
        """The widths of `count` lines around the centre, in font sizes; empty if they are too high."""
        top = -((count - 1) * LINE_HEIGHT + 1) * size / 2
        if -top > self.half_height:
            return []
        tops = [top + k * LINE_HEIGHT * size for k in range(count)]
        return [self.room(y, y + size) / size for y in tops]


def _form(node: Node, turned: bool) -> _Form:
    width, height = (node.height, node.width) if turned else (node.width, node.height)
    radius = max(0.0, corner_radius(node) - _MARGIN)
    side = _ROUND_SIDE_MARGIN if node.shape == "circle" else _SIDE_MARGIN
    return _Form(width / 2 - side, height / 2 - _MARGIN, radius, node.shape == "circle")


@lru_cache(maxsize=2**13)
def _fitted(form: _Form, text: str, largest: int) -> Lettering:
    """The largest letters, up to `largest`, with which a text fits into a form. `turned` is False."""
    steps = [
        (range(largest, _EVEN - 1, -1), False),
        (range(largest, _EVEN - 1, -1), True),
        (range(min(largest, _EVEN - 1), SMALLEST - 1, -1), False),
        (range(min(largest, _EVEN - 1), SMALLEST - 1, -1), True),
    ]
    words = pieces_of(text)
    for size in range(largest, _ONE_LINE - 1, -1):
        if found := _lines(words, form, size, most=1):
            return Lettering(*found, False, size, 0.0, True)
    for sizes, within_words in steps:
        pieces = pieces_of(text, within_words)
        for size in sizes:
            if found := _lines(pieces, form, size):
                return Lettering(*found, False, size, 0.0, True)
    letters = pieces_of(text, anywhere=True)
    for size in range(largest, SMALLEST - 1, -1):
        if found := _lines(letters, form, size):
            return Lettering(*found, False, size, 0.0, False)
    return _cut(letters, form)


def _cut(letters: Sequence[Piece], form: _Form) -> Lettering:
    """The longest beginning that fits with an ellipsis in the smallest letters; no lines if not even that fits."""
    ellipsis = Piece(ELLIPSIS, width_of(ELLIPSIS), 0.0)
    best = Lettering((), (), False, SMALLEST, 1.0, False)
    fits, too_many = 0, len(letters)
    while too_many > fits:
        count = (fits + too_many) // 2
        if found := _lines([*letters[:count], ellipsis], form, SMALLEST):
            best = Lettering(*found, False, SMALLEST, 1 - count / len(letters), False)
            fits = count + 1
        else:
            too_many = count
    return best


def _lines(
    pieces: Sequence[Piece], form: _Form, size: int, most: int = MAX_LABEL
) -> tuple[tuple[str, ...], tuple[float, ...]] | None:
    """As few lines as possible, about equally long, and the widths that they may take; None if there is no room."""
    for count in range(1, min(most, len(pieces)) + 1):
        rooms = form.rooms(count, size)
        if not rooms:
            return None
        lines = _wrapped(pieces, rooms)
        if lines and len(lines) == count:
            narrower = (_wrapped(pieces, [share * room for room in rooms]) for share in _BALANCES if count > 1)
            even = next((tried for tried in narrower if tried and len(tried) == count), lines)
            return tuple(even), tuple(size * room for room in rooms)
    return None


def _wrapped(pieces: Sequence[Piece], rooms: Sequence[float]) -> list[str] | None:
    """Fill lines of these widths one after the other; None if that does not work. There may be fewer lines."""
    lines: list[str] = []
    line, width = "", 0.0
    for piece in pieces:
        longer = width + piece.space + piece.width if line else piece.width
        if longer <= rooms[len(lines)]:
            line += " " + piece.text if line and piece.space else piece.text
            width = longer
        elif line and len(lines) + 1 < len(rooms) and piece.width <= rooms[len(lines) + 1]:
            lines.append(line)
            line, width = piece.text, piece.width
        else:
            return None
    return [*lines, line]
