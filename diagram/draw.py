"""Draw a diagram as a picture.

Everything is drawn at several times its size and scaled down, which smooths the edges. Connections lie below shapes, so
a line simply runs on under the shapes that it joins and meets their borders without a seam.

A diagram comes from a model: its shapes may be huge, far away or on top of one another. The work is bounded by what is
visible on the canvas, never by a size or a distance that the diagram states.
"""

from collections.abc import Iterator
from math import floor, hypot, sqrt
from os import PathLike

from PIL import Image, ImageDraw

from diagram.language import CANVAS_HEIGHT, CANVAS_WIDTH, Colour, Diagram, Node

_SUPERSAMPLING = 3

# Canvas pixels.
_STROKE = 2.0
_MAX_RADIUS = 16.0
_ARROW_LENGTH = 13.0
_ARROW_HALF_WIDTH = 5.0
_DASH = 8.0
_GAP = 6.0
_MARGIN = 20.0  # more than a stroke or an arrowhead reaches beyond its own line

_MIN_STROKE = 1.25  # pixels of the picture, so that lines keep their colour in a small one


def draw(diagram: Diagram, width: int = CANVAS_WIDTH) -> Image.Image:
    """The canvas as an RGB picture `width` pixels wide, its height in proportion (600 for 1000).

    Draws every diagram that `parse` returns, whatever is wrong with it: what lies off the canvas is cut, a connection
    without a length or to a node that does not exist is left out. Raises ValueError for a width below 1.
    """
    if width < 1:
        raise ValueError(f"a picture cannot be {width} pixels wide")
    height = max(1, round(width * CANVAS_HEIGHT / CANVAS_WIDTH))
    image = Image.new("RGB", (width * _SUPERSAMPLING, height * _SUPERSAMPLING), "white")
    pen = _Pen(image, _SUPERSAMPLING * width / CANVAS_WIDTH)
    by_number = {node.number: node for node in diagram.nodes}
    for start, end in sorted(diagram.edges):
        _draw_connection(pen, by_number[start], by_number[end])
    for node in diagram.nodes:
        _draw_shape(pen, node)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def save_png(diagram: Diagram, path: str | PathLike[str]) -> None:
    """Write the canvas as a PNG file of 1000 x 600 pixels. Raises OSError when the file cannot be written."""
    draw(diagram).save(path, format="PNG", optimize=True)


class _Pen:
    """Fills areas of an image, given in canvas pixels; `scale` is image pixels per canvas pixel."""

    def __init__(self, image: Image.Image, scale: float) -> None:
        self._draw = ImageDraw.Draw(image)
        self._width, self._height = image.size
        self._scale = scale
        self.stroke = max(_STROKE, _MIN_STROKE * _SUPERSAMPLING / scale)

    def line(self, x0: float, y0: float, x1: float, y1: float, colour: Colour) -> None:
        """A line of the pen's stroke; Pillow's own wide lines come out a fifth thinner at some angles."""
        s = self._scale
        dx, dy = x1 - x0, y1 - y0
        length = hypot(dx, dy)
        surplus = abs(dy) / length if dy else 1.0  # a polygon is filled up to and including its last pixels
        half = max(0.5, self.stroke * s - surplus) / (2 * length)
        corners = (
            (x0 * s - half * dy, y0 * s + half * dx),
            (x1 * s - half * dy, y1 * s + half * dx),
            (x1 * s + half * dy, y1 * s - half * dx),
            (x0 * s + half * dy, y0 * s - half * dx),
        )
        self._draw.polygon([(x + 0.5, y + 0.5) for x, y in corners], fill=colour)

    def polygon(self, points: list[tuple[float, float]], colour: Colour) -> None:
        self._draw.polygon([(round(x * self._scale), round(y * self._scale)) for x, y in points], fill=colour)

    def box(self, node: Node, inset: float, colour: Colour) -> None:
        s = self._scale
        x0 = round((node.x - node.width / 2 + inset) * s)
        y0 = round((node.y - node.height / 2 + inset) * s)
        x1 = max(x0, round((node.x + node.width / 2 - inset) * s) - 1)  # Pillow's boxes include their last pixel
        y1 = max(y0, round((node.y + node.height / 2 - inset) * s) - 1)
        radius = max(0.0, _radius(node) - inset) * s
        self._draw.rounded_rectangle((x0, y0, x1, y1), radius, fill=colour)

    def ellipse(self, node: Node, inset: float, colour: Colour) -> None:
        """Row by row: Pillow's own ellipse overflows where a side exceeds some 50,000 pixels."""
        s = self._scale
        x, y = node.x * s, node.y * s
        half_width, half_height = (node.width / 2 - inset) * s, (node.height / 2 - inset) * s
        for row in range(max(0, floor(y - half_height)), min(self._height, floor(y + half_height) + 1)):
            reach = half_width * sqrt(max(0.0, 1 - ((row + 0.5 - y) / half_height) ** 2))
            x0, x1 = max(0, round(x - reach)), min(self._width, round(x + reach)) - 1
            if x0 <= x1:
                self._draw.rectangle((x0, row, x1, row), fill=colour)


def _draw_shape(pen: _Pen, node: Node) -> None:
    if abs(2 * node.x - CANVAS_WIDTH) > CANVAS_WIDTH + node.width:
        return
    if abs(2 * node.y - CANVAS_HEIGHT) > CANVAS_HEIGHT + node.height:
        return
    fill = pen.ellipse if node.shape == "circle" else pen.box
    fill(node, 0, node.outline)
    if min(node.width, node.height) > 2 * pen.stroke:
        fill(node, pen.stroke, node.fill)


def _draw_connection(pen: _Pen, start: Node, end: Node) -> None:
    length = hypot(end.x - start.x, end.y - start.y)
    if length == 0:
        return
    dx, dy = (end.x - start.x) / length, (end.y - start.y) / length
    # From here on a point of the connection is its distance from the start's centre.
    leave, arrive = _reach(start, dx, dy), length - _reach(end, dx, dy)
    visible = _visible(start.x, start.y, dx, dy, 0.0, length)
    if leave >= arrive or visible is None:
        return
    low, high = visible

    def stroke(a: float, b: float) -> None:
        a, b = max(a, low), min(b, high)
        if a < b:
            pen.line(start.x + a * dx, start.y + a * dy, start.x + b * dx, start.y + b * dy, start.outline)

    if start.line == "dashed line":
        for a, b in _dashes(leave, arrive, low, high):
            stroke(a, b)
    elif start.line == "solid line":
        stroke(0.0, length)
    else:
        head = min(_ARROW_LENGTH * pen.stroke / _STROKE, 0.7 * (arrive - leave))
        half = head * _ARROW_HALF_WIDTH / _ARROW_LENGTH
        base = arrive - head
        stroke(0.0, base + head / 4)
        if low <= arrive and base <= high:
            x, y = start.x + base * dx, start.y + base * dy
            point = arrive + pen.stroke / 4  # under the border, or so sharp a tip would fade out before it
            tip = (start.x + point * dx, start.y + point * dy)
            pen.polygon([tip, (x - half * dy, y + half * dx), (x + half * dy, y - half * dx)], start.outline)


def _dashes(leave: float, arrive: float, low: float, high: float) -> Iterator[tuple[float, float]]:
    """The dashes that show between `low` and `high`; they are stretched a little to begin and end with a whole one."""
    count = max(1, round((arrive - leave + _GAP) / (_DASH + _GAP)))
    stretch = (arrive - leave + _GAP) / (count * (_DASH + _GAP)) if count > 1 else (arrive - leave) / _DASH
    period = stretch * (_DASH + _GAP)
    first, last = max(0, floor((low - leave) / period)), min(count - 1, floor((high - leave) / period))
    for k in range(first, last + 1):
        a = leave + k * period
        b = a + stretch * _DASH
        # The outermost two run on a little under their shapes: a square end leaves a gap at a slanted border.
        yield a - (_STROKE if k == 0 else 0.0), b + (_STROKE if k == count - 1 else 0.0)


def _visible(x: float, y: float, dx: float, dy: float, low: float, high: float) -> tuple[float, float] | None:
    """The part of the ray that lies on the canvas or just beside it, as distances from (x, y)."""
    for start, step, size in ((x, dx, CANVAS_WIDTH), (y, dy, CANVAS_HEIGHT)):
        if step == 0:
            if not -_MARGIN <= start <= size + _MARGIN:
                return None
            continue
        near, far = sorted(((-_MARGIN - start) / step, (size + _MARGIN - start) / step))
        low, high = max(low, near), min(high, far)
    return (low, high) if low < high else None


def _reach(node: Node, dx: float, dy: float) -> float:
    """How far it is from the centre to the border in the direction (dx, dy), whose length is 1."""
    half_width, half_height = node.width / 2, node.height / 2
    dx, dy = abs(dx), abs(dy)
    if node.shape == "circle":
        return 1 / hypot(dx / half_width, dy / half_height)
    to_box = min(half_width / dx if dx else float("inf"), half_height / dy if dy else float("inf"))
    radius = _radius(node)
    corner_x, corner_y = half_width - radius, half_height - radius
    if to_box * dx <= corner_x or to_box * dy <= corner_y or radius == 0:
        return to_box
    along, squared = corner_x * dx + corner_y * dy, corner_x**2 + corner_y**2
    return along + sqrt(max(0.0, along * along - squared + radius * radius))


def _radius(node: Node) -> float:
    """The radius of the shape's corners; 0 for a plain rectangle."""
    return min(_MAX_RADIUS, min(node.width, node.height) / 5) if node.shape == "round rectangle" else 0.0
