"""Draw a diagram, or the part of the canvas that it uses, as a picture.

A picture is drawn at three times its size and scaled down, which smooths the edges. Connections are drawn first, below
the shapes, and continue under the shapes that they join, so there is no gap at a border.

A diagram comes from a model: its shapes may be huge, far away or on top of one another. The time to draw depends on the
size of the picture, never on a size or distance in the diagram.
"""

from collections.abc import Iterator
from io import BytesIO
from math import floor

from PIL import Image

from diagram.nodes import CANVAS_WIDTH, Diagram, Node
from diagram.pen import Pen
from diagram.picture_geometry import CANVAS, STROKE, Box, Connection, box_of, connections, dashes_of, drawn_box
from diagram.words import Words

_SUPERSAMPLING = 3
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


def png(diagram: Diagram) -> bytes:
    """The drawn part of the canvas as a PNG file, two pixels for each canvas pixel. All of it if nothing is visible."""
    crop = drawn_box(diagram) or CANVAS
    file = BytesIO()
    draw(diagram, round(_SAVED_SCALE * crop.width), crop).save(file, format="PNG", optimize=True)
    return file.getvalue()


def _painted(diagram: Diagram, size: tuple[int, int], crop: Box, supersampling: int) -> Image.Image:
    image = Image.new("RGB", size, "white")
    pen, words = Pen(image, crop, supersampling), Words(diagram)
    for connection in connections(diagram):
        _draw_connection(pen, connection)
    for node in diagram.nodes:
        _draw_shape(pen, node, words)
    return image


def _draw_shape(pen: Pen, node: Node, words: Words) -> None:
    if box_of(node).cut(pen.crop) is None:
        return
    pen.shape(node, 0, node.outline)
    if min(node.width, node.height) > 2 * pen.stroke:
        pen.shape(node, pen.stroke, node.fill)
        words.draw(pen, node)


def _draw_connection(pen: Pen, connection: Connection) -> None:
    shown = connection.shown(pen.crop)
    if shown is None:
        return
    (low, high), colour = shown, connection.start.outline

    def stroke(a: float, b: float) -> None:
        a, b = max(a, low), min(b, high)
        if a < b:
            pen.line(*connection.point(a), *connection.point(b), colour)

    if connection.start.line == "dashed line":
        for a, b in _dashes(connection, low, high):
            stroke(a, b)
    elif connection.start.line == "solid line":
        stroke(0.0, connection.length)
    else:
        head = connection.arrowhead(pen.stroke)
        stroke(0.0, head.shaft)
        if low <= connection.arrive and head.base <= high:
            pen.polygon(connection.corners(head), colour)


def _dashes(connection: Connection, low: float, high: float) -> Iterator[tuple[float, float]]:
    """The dashes between `low` and `high`."""
    leave = connection.leave
    count, dash, period = dashes_of(connection.arrive - leave)
    first, last = max(0, floor((low - leave) / period)), min(count - 1, floor((high - leave) / period))
    for k in range(first, last + 1):
        a = leave + k * period
        b = a + dash
        # The first and the last continue a little under their shapes: a square end leaves a gap at a slanted border.
        yield a - (STROKE if k == 0 else 0.0), b + (STROKE if k == count - 1 else 0.0)
