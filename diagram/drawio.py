"""Write a diagram as a draw.io file, to edit it by hand. draw.io is at https://www.drawio.com and in many other tools.

Positions and sizes are the language's pixels; the page is the canvas. A connection is a connector with a source and a
target, so it follows a shape that is moved. It has no fixed ends: draw.io ends it where the line between the centres
meets the borders, as in the PNG. A label is the text of its shape, which draw.io wraps; font size and direction are
those of the PNG.

Source: https://www.drawio.com/docs/reference/diagram-generation/style-reference
"""

from html import escape
from math import floor
from xml.etree.ElementTree import Element, SubElement

from diagram.contrast import ink_on
from diagram.labels import shown
from diagram.lettering import Lettering, letterings
from diagram.nodes import CANVAS_HEIGHT, CANVAS_WIDTH, Diagram, Node
from diagram.picture_geometry import DASH, GAP, STROKE, box_of, corner_radius
from diagram.xml_file import hexadecimal, number, xml_file

_LAYER = "1"

# draw.io adds the width of the stroke and its pointed corners: this looks as long as the arrowhead in the PNG.
_HEAD_SIZE = 8

_LINES = {
    "solid arrow": f"endArrow=blockThin;endFill=1;endSize={_HEAD_SIZE};",
    "solid line": "endArrow=none;",
    "dashed line": f"endArrow=none;dashed=1;fixDash=1;dashPattern={DASH:g} {GAP:g};",
}


def drawio(diagram: Diagram) -> bytes:
    """The diagram as an uncompressed draw.io file; a diagram without shapes is an empty page.

    Writes every diagram that `parse` returns, with all its shapes, also those off the canvas. Leaves out what no
    picture shows: connections of a shape with itself and those to missing nodes.
    """
    root = Element("mxfile", {"compressed": "false"})
    page = SubElement(root, "diagram", {"id": "diagram", "name": "Diagram"})
    size = {"pageWidth": str(CANVAS_WIDTH), "pageHeight": str(CANVAS_HEIGHT)}
    model = SubElement(page, "mxGraphModel", {"page": "1", "pageScale": "1", **size})
    cells = SubElement(model, "root")
    SubElement(cells, "mxCell", {"id": "0"})
    SubElement(cells, "mxCell", {"id": _LAYER, "parent": "0"})
    by_number = {node.number: node for node in diagram.nodes}
    for start, end in sorted(diagram.edges):  # first, so that they are below the shapes
        if start != end:
            _add_connector(cells, by_number[start], by_number[end])
    found = letterings(diagram.nodes)
    for node in diagram.nodes:
        _add_shape(cells, node, found.get(node.number))
    return xml_file(root)


def _add_shape(cells: Element, node: Node, lettering: Lettering | None) -> None:
    if node.shape == "circle":
        shape = "ellipse;"
    elif node.shape == "round rectangle":
        shape = f"rounded=1;absoluteArcSize=1;arcSize={number(2 * corner_radius(node))};"  # the size is a diameter
    else:
        shape = "rounded=0;"
    colours = f"strokeWidth={STROKE:g};fillColor={hexadecimal(node.fill)};strokeColor={hexadecimal(node.outline)};"
    # draw.io wraps a text only if it reads it as HTML.
    text = _text_style(node, lettering) if lettering else ""
    style = {"value": escape(shown(node.label)), "style": f"{shape}whiteSpace=wrap;html=1;{colours}{text}"}
    cell = SubElement(cells, "mxCell", {"id": _id(node), **style, "vertex": "1", "parent": _LAYER})
    box = box_of(node)
    place = {"x": box.left, "y": box.top, "width": box.width, "height": box.height}
    SubElement(cell, "mxGeometry", {key: number(value) for key, value in place.items()} | {"as": "geometry"})


def _text_style(node: Node, lettering: Lettering) -> str:
    """The look of a label. Its lines are as wide as in the PNG; what has no room is hidden."""
    style = f"fontSize={lettering.size};fontColor={hexadecimal(ink_on(node.fill))};"
    along = node.height if lettering.turned else node.width
    margin = (along - max(lettering.rooms, default=along)) / 2
    sides = ("Top", "Bottom") if lettering.turned else ("Left", "Right")
    style += "spacing=0;" + "".join(f"spacing{side}={max(0, floor(margin))};" for side in sides)
    return style + "horizontal=0;" * lettering.turned + "overflow=hidden;" * (lettering.lost > 0)


def _add_connector(cells: Element, start: Node, end: Node) -> None:
    look = f"edgeStyle=none;rounded=0;html=1;strokeWidth={STROKE:g};strokeColor={hexadecimal(start.outline)};"
    ends = {"source": _id(start), "target": _id(end)}
    name = f"connection-{start.number}-{end.number}"
    attributes = {"id": name, "value": "", "style": look + _LINES[start.line], "edge": "1", "parent": _LAYER, **ends}
    cell = SubElement(cells, "mxCell", attributes)
    SubElement(cell, "mxGeometry", {"relative": "1", "as": "geometry"})


def _id(node: Node) -> str:
    return f"node-{node.number}"
