"""Draw a diagram, or the part of the canvas that it uses, as a picture.

A picture is drawn at three times its size and scaled down, which smooths the edges. Connections are drawn first, below
the shapes, and continue under the shapes that they join, so there is no gap at a border.

A diagram comes from a model: its shapes may be huge, far away or on top of one another. The time to draw depends on the
size of the picture, never on a size or distance in the diagram.
"""

from collections.abc import Iterator
from math import floor, hypot, sqrt
from os import PathLike
from typing import NamedTuple

from PIL import Image

from diagram.language import CANVAS_HEIGHT, CANVAS_WIDTH, Diagram, Node
from diagram.pen import CANVAS, STROKE, Box, Pen, corner_radius

_SUPERSAMPLING = 3

# Canvas pixels.
_ARROW_LENGTH = 13.0
_ARROW_HALF_WIDTH = 5.0
_DASH = 8.0
_GAP = 6.0
_HALF_HEAD = 8.0  # half the width of an arrowhead in a small picture, where strokes are wider
_OVERHANG = 20.0  # more than a stroke or an arrowhead extends beyond the middle of its line
_CROP_MARGIN = 16.0
_SAVED_SCALE = 2  # pixels of a saved picture per canvas pixel, sharp enough for slides


def draw(diagram: Diagram, width: int = CANVAS_WIDTH, crop: Box = CANVAS) -> Image.Image:
    """The canvas, or the part of it in `crop`, as an RGB picture `width` pixels wide. The height is in proportion.

    Draws every diagram that `parse` returns, whatever is wrong with it. Clips what lies outside of `crop`. Leaves out
    connections of length 0 and those to missing nodes. Raises ValueError for a width below 1 or a crop without an area.
    """
    if width < 1:
        raise ValueError(f"a picture cannot be {width} pixels wide")
    if not (crop.width > 0 and crop.height > 0):
        raise ValueError(f"a picture of {crop.width:g} x {crop.height:g} canvas pixels has no area")
    height = max(1, round(width * crop.height / crop.width))
    image = _painted(diagram, (width * _SUPERSAMPLING, height * _SUPERSAMPLING), crop, _SUPERSAMPLING)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def drawn_box(diagram: Diagram) -> Box | None:
    """The part of the canvas that shapes and connections take up, with an even margin. None if nothing is visible.

    The margin ends at the edge of the canvas.
    """
    by_number = {node.number: node for node in diagram.nodes}
    connections = (_Connection.between(by_number[start], by_number[end]) for start, end in diagram.edges)
    boxes = [_visible_box(node) for node in diagram.nodes]
    boxes += [connection.visible_box() for connection in connections if connection]
    visible = [box for box in boxes if box]
    if not visible:
        return None
    lefts, tops, rights, bottoms = zip(*visible, strict=True)
    return Box(min(lefts), min(tops), max(rights), max(bottoms)).grown(_CROP_MARGIN).cut(CANVAS)


def save_png(diagram: Diagram, path: str | PathLike[str]) -> None:
    """Write the drawn part of the canvas as a PNG file, two pixels for each canvas pixel.

    An empty diagram is saved as an empty canvas. Raises OSError if the file cannot be written.
    """
    crop = drawn_box(diagram) or CANVAS
    draw(diagram, round(_SAVED_SCALE * crop.width), crop).save(path, format="PNG", optimize=True)


def _painted(diagram: Diagram, size: tuple[int, int], crop: Box, supersampling: int) -> Image.Image:
    image = Image.new("RGB", size, "white")
    pen = Pen(image, crop, supersampling)
    by_number = {node.number: node for node in diagram.nodes}
    for start, end in sorted(diagram.edges):
        _draw_connection(pen, by_number[start], by_number[end])
    for node in diagram.nodes:
        _draw_shape(pen, node)
    return image


def _draw_shape(pen: Pen, node: Node) -> None:
    if _box(node).cut(pen.crop) is None:
        return
    fill = pen.ellipse if node.shape == "circle" else pen.box
    fill(node, 0, node.outline)
    if min(node.width, node.height) > 2 * pen.stroke:
        fill(node, pen.stroke, node.fill)


def _box(node: Node) -> Box:
    half_width, half_height = node.width / 2, node.height / 2
    return Box(node.x - half_width, node.y - half_height, node.x + half_width, node.y + half_height)


def _visible_box(node: Node) -> Box | None:
    """The box around the part of a shape that is on the canvas. None if no part is."""
    box = _box(node)
    if node.shape == "circle":  # the canvas may overlap the ellipse's box but not the ellipse
        x, y = min(max(node.x, 0), CANVAS_WIDTH), min(max(node.y, 0), CANVAS_HEIGHT)
        half_width = box.width / 2 * sqrt(max(0.0, 1 - ((y - node.y) / (box.height / 2)) ** 2))
        half_height = box.height / 2 * sqrt(max(0.0, 1 - ((x - node.x) / (box.width / 2)) ** 2))
        box = Box(node.x - half_width, node.y - half_height, node.x + half_width, node.y + half_height)
    return box.cut(CANVAS)


class _Connection(NamedTuple):
    """A line from one shape to another. Points on it are distances from the first shape's centre."""

    start: Node
    dx: float
    dy: float
    length: float
    leave: float  # at the first shape's border
    arrive: float  # at the other's

    @classmethod
    def between(cls, start: Node, end: Node) -> "_Connection | None":
        """The connection of two shapes. None if there is no room for a line between them."""
        length = hypot(end.x - start.x, end.y - start.y)
        if length == 0:
            return None
        dx, dy = (end.x - start.x) / length, (end.y - start.y) / length
        leave, arrive = _reach(start, dx, dy), length - _reach(end, dx, dy)
        return cls(start, dx, dy, length, leave, arrive) if leave < arrive else None

    def point(self, distance: float) -> tuple[float, float]:
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

    def visible_box(self) -> Box | None:
        """The box around the part that is on the canvas, arrowhead included. None if no part is."""
        low, high = self.within(CANVAS.grown(_HALF_HEAD), 0.0, self.length)
        if low >= high:
            return None
        (x0, y0), (x1, y1) = self.point(low), self.point(high)
        return Box(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)).grown(_HALF_HEAD).cut(CANVAS)


def _draw_connection(pen: Pen, start: Node, end: Node) -> None:
    connection = _Connection.between(start, end)
    if connection is None:
        return
    length, leave, arrive = connection.length, connection.leave, connection.arrive
    low, high = connection.within(pen.crop.grown(_OVERHANG), 0.0, length)
    if low >= high:
        return

    def stroke(a: float, b: float) -> None:
        a, b = max(a, low), min(b, high)
        if a < b:
            pen.line(*connection.point(a), *connection.point(b), start.outline)

    if start.line == "dashed line":
        for a, b in _dashes(leave, arrive, low, high):
            stroke(a, b)
    elif start.line == "solid line":
        stroke(0.0, length)
    else:
        head = min(_ARROW_LENGTH * pen.stroke / STROKE, 0.7 * (arrive - leave))
        half = head * _ARROW_HALF_WIDTH / _ARROW_LENGTH
        base = arrive - head
        stroke(0.0, base + head / 4)
        if low <= arrive and base <= high:
            x, y = connection.point(base)
            tip = connection.point(arrive + pen.stroke / 4)  # slightly under the border: a tip fades out
            dx, dy = connection.dx, connection.dy
            pen.polygon([tip, (x - half * dy, y + half * dx), (x + half * dy, y - half * dx)], start.outline)


def _dashes(leave: float, arrive: float, low: float, high: float) -> Iterator[tuple[float, float]]:
    """The dashes between `low` and `high`. All are stretched a little, so that the line begins and ends with a dash."""
    count = max(1, round((arrive - leave + _GAP) / (_DASH + _GAP)))
    stretch = (arrive - leave + _GAP) / (count * (_DASH + _GAP)) if count > 1 else (arrive - leave) / _DASH
    period = stretch * (_DASH + _GAP)
    first, last = max(0, floor((low - leave) / period)), min(count - 1, floor((high - leave) / period))
    for k in range(first, last + 1):
        a = leave + k * period
        b = a + stretch * _DASH
        # The first and the last continue a little under their shapes: a square end leaves a gap at a slanted border.
        yield a - (STROKE if k == 0 else 0.0), b + (STROKE if k == count - 1 else 0.0)


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
