"""A draw.io file has each shape in its place, and connectors that are attached to the shapes."""

from dataclasses import replace
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from wild_diagrams import ANY_PARSED

from diagram.drawio import drawio
from diagram.language import LINES, SHAPES, Diagram, Node, parse


def node(number: int, x: int, y: int, *targets: int, shape: str = "rectangle", line: str = "solid arrow") -> Node:
    return Node(number, x, y, shape, 121, 80, line, (200, 220, 240), (200, 0, number), targets)


def cells(diagram: Diagram) -> list[ElementTree.Element]:
    """All cells but the two that every file begins with."""
    root, layer, *others = ElementTree.fromstring(drawio(diagram)).iter("mxCell")
    assert (root.attrib, layer.attrib) == ({"id": "0"}, {"id": "1", "parent": "0"})
    return others


def connectors(diagram: Diagram) -> list[tuple[str | None, str | None]]:
    return [(cell.get("source"), cell.get("target")) for cell in cells(diagram) if cell.get("edge") == "1"]


def style_of(cell: ElementTree.Element) -> dict[str, str]:
    entries = cell.attrib["style"].removesuffix(";").split(";")
    return {key: value for key, _, value in (entry.partition("=") for entry in entries)}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_has_its_place_size_and_colours(shape):
    (cell,) = cells(Diagram((node(0, 500, 300, shape=shape),)))
    assert (cell.attrib["id"], cell.attrib["vertex"], cell.attrib["parent"]) == ("node-0", "1", "1")
    (geometry,) = cell
    assert geometry.attrib == {"x": "439.5", "y": "260", "width": "121", "height": "80", "as": "geometry"}
    style = style_of(cell)
    assert (style["fillColor"], style["strokeColor"]) == ("#c8dcf0", "#c80000")
    assert ("ellipse" in style) == (shape == "circle")
    assert (style.get("rounded") == "1") == (shape == "round rectangle")


def test_a_round_rectangle_has_the_corners_of_the_png():
    (cell,) = cells(Diagram((replace(node(0, 500, 300, shape="round rectangle"), height=50),)))
    style = style_of(cell)
    assert (style["absoluteArcSize"], style["arcSize"]) == ("1", "20")  # a diameter: the radius is 50 / 5


@pytest.mark.parametrize("line", LINES)
def test_a_connection_is_a_straight_connector_in_the_look_of_its_source(line):
    start = node(7, 200, 300, 3, line=line)
    cell = next(cell for cell in cells(Diagram((start, node(3, 800, 300)))) if cell.get("edge"))
    assert (cell.attrib["source"], cell.attrib["target"]) == ("node-7", "node-3")
    (geometry,) = cell
    assert geometry.attrib == {"relative": "1", "as": "geometry"}
    style = style_of(cell)
    assert (style["edgeStyle"], style["strokeColor"]) == ("none", "#c80007")
    assert (style["endArrow"] != "none") == (line == "solid arrow")
    assert (style.get("dashed") == "1") == (line == "dashed line")


def test_connectors_are_below_the_shapes():
    diagram = Diagram((node(0, 200, 300, 1), node(1, 800, 300)))
    assert [cell.get("vertex") for cell in cells(diagram)] == [None, "1", "1"]


def test_self_loops_and_missing_targets_are_left_out():
    assert connectors(Diagram((node(0, 200, 300, 0, 77), node(1, 800, 300)))) == []


def test_connections_in_both_directions_are_two_connectors_and_a_repeated_one_is_one():
    diagram = Diagram((node(0, 200, 300, 1, 1), node(1, 800, 300, 0)))
    assert connectors(diagram) == [("node-0", "node-1"), ("node-1", "node-0")]


def test_shapes_that_overlap_stay_connected_because_they_can_be_moved_apart():
    assert connectors(Diagram((node(0, 300, 300, 1), node(1, 300, 300)))) == [("node-0", "node-1")]


def test_a_shape_off_the_canvas_is_in_its_place():
    (cell,) = cells(Diagram((node(0, -5000, 300),)))
    assert cell[0].attrib["x"] == "-5060.5"


def test_an_empty_diagram_is_an_empty_page():
    assert cells(parse("")) == []


def test_the_page_is_the_canvas():
    model = ElementTree.fromstring(drawio(parse(""))).find("./diagram/mxGraphModel")
    assert model is not None
    assert (model.attrib["pageWidth"], model.attrib["pageHeight"]) == ("1000", "600")


@given(ANY_PARSED)
@settings(max_examples=150, deadline=2000)
def test_ids_are_unique_and_every_end_of_a_connector_is_a_shape(diagram):
    found = cells(diagram)
    ids = [cell.attrib["id"] for cell in found]
    assert len({"0", "1", *ids}) == len(ids) + 2
    shapes = {cell.attrib["id"] for cell in found if cell.get("vertex") == "1"}
    ends = connectors(diagram)
    assert {end for pair in ends for end in pair} <= shapes
    assert len(ends) == sum(start != end for start, end in diagram.edges)
