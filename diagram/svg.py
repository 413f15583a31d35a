"""Write a diagram as an SVG file that shows the same as the PNG.

It has one rect or ellipse for each shape, one line for each connection, one polygon for each arrowhead, and one text
for each line of a label, all in canvas pixels. A shape with a label has it whole as its title, which browsers show as a
tooltip. There are no scripts, no style sheets and no links in it. Borders are centred on the edge of a shape, so
a shape looks one pixel larger on each side than in the PNG.

Source: Scalable Vector Graphics (SVG) 1.1, https://www.w3.org/TR/SVG11/
"""

from xml.etree.ElementTree import Element, SubElement

from diagram.contrast import ink_on
from diagram.labels import is_right_to_left, shown
from diagram.lettering import BASELINE, LINE_HEIGHT, Lettering, letterings
from diagram.nodes import Diagram, Node
from diagram.picture_geometry import (
    CANVAS,
    STROKE,
    Box,
    Connection,
    box_of,
    connections,
    corner_radius,
    dashes_of,
    drawn_box,
)
from diagram.text_width import is_known, width_of
from diagram.xml_file import hexadecimal, number, xml_file

_FONTS = "Helvetica, Arial, 'Liberation Sans', sans-serif"


def svg(diagram: Diagram) -> bytes:
    """The drawn part of the canvas as an SVG file. All of the canvas if nothing is visible.

    Writes every diagram that `parse` returns. A shape off the canvas is in the file, outside of its view. Connections
    end at the edge of the view: browsers would take long to dash a line of 200,000 pixels.
    """
    view = drawn_box(diagram) or CANVAS
    left, top, width, height = (number(value) for value in (view.left, view.top, view.width, view.height))
    root = Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "width": width,
            "height": height,
            "viewBox": f"{left} {top} {width} {height}",
            "stroke-width": number(STROKE),
        },
    )
    SubElement(root, "title").text = "Diagram"
    # The white background is a path, so that every rect is a shape.
    SubElement(root, "path", {"d": f"M{left} {top}h{width}v{height}h-{width}z", "fill": "#ffffff"})
    for connection in connections(diagram):
        _add_connection(root, connection, view)
    found = letterings(diagram.nodes)
    for node in diagram.nodes:
        shape = _add_shape(root, node)
        if node.number in found:
            SubElement(shape, "title").text = shown(node.label)
            _add_label(root, node, found[node.number])
    return xml_file(root)


def _add_shape(root: Element, node: Node) -> Element:
    box = box_of(node)
    if node.shape == "circle":
        name = "ellipse"
        place = {"cx": node.x, "cy": node.y, "rx": box.width / 2, "ry": box.height / 2}
    else:
        name = "rect"
        place = {"x": box.left, "y": box.top, "width": box.width, "height": box.height}
        radius = corner_radius(node)
        if radius:
            place["rx"] = radius
    colours = {"fill": hexadecimal(node.fill), "stroke": hexadecimal(node.outline)}
    return SubElement(root, name, {key: number(value) for key, value in place.items()} | colours)


def _add_label(root: Element, node: Node, lettering: Lettering) -> None:
    """Add a text for each line. Its length is given, so that it stays in the shape in any font."""
    look = {
        "font-family": _FONTS,
        "font-size": number(lettering.size),
        "text-anchor": "middle",
        "fill": hexadecimal(ink_on(node.fill)),
    }
    if is_right_to_left(shown(node.label)):
        look["direction"] = "rtl"
    if lettering.turned:
        look["transform"] = f"rotate(-90 {number(node.x)} {number(node.y)})"
    for k, line in enumerate(lettering.lines):
        below = (k - (len(lettering.lines) - 1) / 2) * LINE_HEIGHT + BASELINE
        place = {"x": number(node.x), "y": number(node.y + below * lettering.size)}
        if is_known(line):
            place |= {"textLength": number(width_of(line) * lettering.size), "lengthAdjust": "spacingAndGlyphs"}
        SubElement(root, "text", place | look).text = line


def _add_connection(root: Element, connection: Connection, view: Box) -> None:
    shown = connection.shown(view)
    if shown is None:
        return
    (low, high), colour = shown, hexadecimal(connection.start.outline)
    if connection.start.line == "dashed line":
        leave, arrive = connection.leave, connection.arrive
        _, dash, period = dashes_of(arrive - leave)
        dashes = {"stroke-dasharray": f"{number(dash)} {number(period - dash)}"}
        if low > leave:
            dashes["stroke-dashoffset"] = number((low - leave) % period)
        _add_line(root, connection, max(leave, low), min(arrive, high), colour, dashes)
    elif connection.start.line == "solid line":
        _add_line(root, connection, low, high, colour)
    else:
        head = connection.arrowhead(STROKE)
        _add_line(root, connection, low, min(head.shaft, high), colour)
        if low <= connection.arrive and head.base <= high:
            points = " ".join(f"{number(x)},{number(y)}" for x, y in connection.corners(head))
            SubElement(root, "polygon", {"points": points, "fill": colour})


def _add_line(
    root: Element, connection: Connection, a: float, b: float, colour: str, more: dict[str, str] | None = None
) -> None:
    """Add the part of a connection from `a` to `b`, distances from its beginning, if there is one."""
    if a < b:
        (x1, y1), (x2, y2) = connection.point(a), connection.point(b)
        ends = {"x1": number(x1), "y1": number(y1), "x2": number(x2), "y2": number(y2)}
        SubElement(root, "line", ends | {"stroke": colour} | (more or {}))
