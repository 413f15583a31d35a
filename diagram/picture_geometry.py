"""Where a picture has its shapes, lines, dashes and arrowheads, in every file format. All lengths are canvas pixels.

A connection is a straight line between two centres. It is drawn below the shapes, so only the part between the two
borders shows.
"""

from collections.abc import Iterator
from math import hypot, sqrt
from typing import NamedTuple

from diagram.nodes import CANVAS_HEIGHT, CANVAS_WIDTH, Diagram, Node

STROKE = 2.0
ARROW_LENGTH = 13.0
ARROW_HALF_WIDTH = 5.0
DASH = 8.0
GAP = 6.0

_MAX_RADIUS = 16.0
_HALF_HEAD = 8.0  # half the width of an arrowhead in a small picture, where strokes are wider
_OVERHANG = 20.0  # more than a stroke or an arrowhead extends beyond the middle of its line
_CROP_MARGIN = 16.0

Point = tuple[float, float]


class Box(NamedTuple):
    """A rectangle."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top

    def grown(self, margin: float) -> "Box":
        """The box enlarged by a margin on every side."""
        return Box(self.left - margin, self.top - margin, self.right + margin, self.bottom + margin)

    def cut(self, other: "Box") -> "Box | None":
        """The intersection of two boxes. None if it has no area."""
        left, top = max(self.left, other.left), max(self.top, other.top)
        right, bottom = min(self.right, other.right), min(self.bottom, other.bottom)
        return Box(left, top, right, bottom) if left < right and top < bottom else None


CANVAS = Box(0, 0, CANVAS_WIDTH, CANVAS_HEIGHT)


class Arrowhead(NamedTuple):
    """A triangle. `shaft`, `base` and `tip` are distances from the first shape's centre: where the line ends, below the
    triangle, and where the triangle begins and ends."""

    shaft: float
    base: float
    tip: float
    half_width: float


class Dashes(NamedTuple):
    """A line of dashes. `period` is the length of a dash with the gap after it."""

    number: int
    dash: float
    period: float


class Connection(NamedTuple):
    """A line from one shape to another. Points on it are distances from the first shape's centre."""

    start: Node
    dx: float
    dy: float
    length: float
    leave: float  # at the first shape's border
    arrive: float  # at the other's

    @classmethod
    def between(cls, start: Node, end: Node) -> "Connection | None":
        """The connection of two shapes. None if there is no room for a line between them."""
        length = hypot(end.x - start.x, end.y - start.y)
        if length == 0:
            return None
        dx, dy = (end.x - start.x) / length, (end.y - start.y) / length
        leave, arrive = _reach(start, dx, dy), length - _reach(end, dx, dy)
        return cls(start, dx, dy, length, leave, arrive) if leave < arrive else None

    def point(self, distance: float) -> Point:
        return self.start.x + distance * self.dx, self.start.y + distance * self.dy

    def within(self, box: Box, low: float, high: float) -> tuple[float, float]:
        """Clip the part from `low` to `high` to a box. If nothing is left, the first number is not below the second."""
        sides = ((self.start.x, self.dx, box.left, box.right), (self.start.y, self.dy, box.top, box.bottom))
        for start, step, first, last in sides:
            if step == 0:
                if not first <= start <= last:
                    return low, low
                continue
            near, far = sorted(((first - start) / step, (last - start) / step))
            low, high = max(low, near), min(high, far)
        return low, high

    def shown(self, crop: Box) -> tuple[float, float] | None:
        """The part of the whole line that a picture of the crop needs. None if it needs none."""
        low, high = self.within(crop.grown(_OVERHANG), 0.0, self.length)
        return (low, high) if low < high else None

    def visible_box(self) -> Box | None:
        """The box around the part that is on the canvas, arrowhead included. None if no part is."""
        low, high = self.within(CANVAS.grown(_HALF_HEAD), 0.0, self.length)
        if low >= high:
            return None
        (x0, y0), (x1, y1) = self.point(low), self.point(high)
        return Box(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)).grown(_HALF_HEAD).cut(CANVAS)

    def arrowhead(self, stroke: float) -> Arrowhead:
        """The arrowhead at the other shape's border, in proportion to the stroke; shorter if there is little room."""
        head = min(ARROW_LENGTH * stroke / STROKE, 0.7 * (self.arrive - self.leave))
        base = self.arrive - head
        # The tip is slightly under the border, because a tip fades out.
        return Arrowhead(base + head / 4, base, self.arrive + stroke / 4, head * ARROW_HALF_WIDTH / ARROW_LENGTH)

    def corners(self, head: Arrowhead) -> list[Point]:
        """The corners of an arrowhead, its tip first."""
        (x, y), half, dx, dy = self.point(head.base), head.half_width, self.dx, self.dy
        return [self.point(head.tip), (x - half * dy, y + half * dx), (x + half * dy, y - half * dx)]


def connections(diagram: Diagram) -> Iterator[Connection]:
    """The connections that have room for a line, in the order of their numbers."""
    by_number = {node.number: node for node in diagram.nodes}
    for start, end in sorted(diagram.edges):
        connection = Connection.between(by_number[start], by_number[end])
        if connection:
            yield connection


def dashes_of(length: float) -> Dashes:
    """The dashes of a line. All are stretched a little, so that the line begins and ends with a dash."""
    number = max(1, round((length + GAP) / (DASH + GAP)))
    stretch = (length + GAP) / (number * (DASH + GAP)) if number > 1 else length / DASH
    return Dashes(number, stretch * DASH, stretch * (DASH + GAP))


def drawn_box(diagram: Diagram) -> Box | None:
    """The part of the canvas that shapes and connections take up, with an even margin. None if nothing is visible.

    The margin ends at the edge of the canvas.
    """
    boxes = [_visible_box(node) for node in diagram.nodes]
    boxes += [connection.visible_box() for connection in connections(diagram)]
    visible = [box for box in boxes if box]
    if not visible:
        return None
    lefts, tops, rights, bottoms = zip(*visible, strict=True)
    return Box(min(lefts), min(tops), max(rights), max(bottoms)).grown(_CROP_MARGIN).cut(CANVAS)


def box_of(node: Node) -> Box:
    """The box around a shape."""
    half_width, half_height = node.width / 2, node.height / 2
    return Box(node.x - half_width, node.y - half_height, node.x + half_width, node.y + half_height)


def corner_radius(node: Node) -> float:
    """The radius of the shape's corners: 0 unless it is a round rectangle."""
    return min(_MAX_RADIUS, min(node.width, node.height) / 5) if node.shape == "round rectangle" else 0.0


def _visible_box(node: Node) -> Box | None:
    """The box around the part of a shape that is on the canvas. None if no part is."""
    box = box_of(node)
    if node.shape == "circle":  # the canvas may overlap the ellipse's box but not the ellipse
        x, y = min(max(node.x, 0), CANVAS_WIDTH), min(max(node.y, 0), CANVAS_HEIGHT)
        half_width = box.width / 2 * sqrt(max(0.0, 1 - ((y - node.y) / (box.height / 2)) ** 2))
        half_height = box.height / 2 * sqrt(max(0.0, 1 - ((x - node.x) / (box.width / 2)) ** 2))
        box = Box(node.x - half_width, node.y - half_height, node.x + half_width, node.y + half_height)
    return box.cut(CANVAS)


def _reach(node: Node, dx: float, dy: float) -> float:
    """The distance from the centre to the border in the direction (dx, dy), a unit vector."""
    half_width, half_height = node.width / 2, node.height / 2
    dx, dy = abs(dx), abs(dy)
    if node.shape == "circle":
        return 1 / hypot(dx / half_width, dy / half_height)
    to_box = min(half_width / dx if dx else float("inf"), half_height / dy if dy else float("inf"))
    radius = corner_radius(node)
    corner_x, corner_y = half_width - radius, half_height - radius
    if to_box * dx <= corner_x or to_box * dy <= corner_y or radius == 0:
        return to_box
    along, squared = corner_x * dx + corner_y * dy, corner_x**2 + corner_y**2
    return along + sqrt(max(0.0, along * along - squared + radius * radius))
