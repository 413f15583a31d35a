"""An SVG file shows what the PNG shows: shapes, colours, arrowheads, dashes, and the part of the canvas."""

from dataclasses import replace
from math import hypot
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from wild_diagrams import ANY_DIAGRAM

from diagram.language import LINES, MAX_COORDINATE, MAX_LINES, SHAPES, Diagram, Node, parse
from diagram.picture_geometry import CANVAS, drawn_box
from diagram.svg import svg

FILL, INK, OTHER_INK = (200, 220, 240), (200, 0, 9), (0, 0, 200)


def node(number: int, x: int, y: int, *targets: int, shape: str = "rectangle", line: str = "solid arrow") -> Node:
    return Node(number, x, y, shape, 121, 80, line, FILL, INK if number == 0 else OTHER_INK, targets)


def read(diagram: Diagram) -> ElementTree.Element:
    return ElementTree.fromstring(svg(diagram))


def found(diagram: Diagram, name: str) -> list[dict[str, str]]:
    """The attributes of all elements with a name."""
    return [element.attrib for element in read(diagram).iter(f"{{http://www.w3.org/2000/svg}}{name}")]


def pair(line: str, shape: str = "rectangle", end_y: int = 300) -> Diagram:
    return Diagram((node(0, 200, 300, 1, shape=shape, line=line), node(1, 800, end_y, shape=shape)))


def number(attributes: dict[str, str], *names: str) -> list[float]:
    return [float(attributes[name]) for name in names]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_has_its_place_size_and_colours(shape):
    name = "ellipse" if shape == "circle" else "rect"
    (attributes,) = found(Diagram((node(0, 500, 300, shape=shape),)), name)
    expected = {
        "rectangle": {"x": "439.5", "y": "260", "width": "121", "height": "80"},
        "round rectangle": {"x": "439.5", "y": "260", "width": "121", "height": "80", "rx": "16"},
        "circle": {"cx": "500", "cy": "300", "rx": "60.5", "ry": "40"},
    }[shape]
    assert attributes == expected | {"fill": "#c8dcf0", "stroke": "#c80009"}


@pytest.mark.parametrize("line", LINES)
def test_only_a_solid_arrow_has_a_head_and_only_a_dashed_line_has_dashes(line):
    diagram = pair(line)
    (drawn,) = found(diagram, "line")
    assert drawn["stroke"] == "#c80009"  # the source's
    assert len(found(diagram, "polygon")) == (line == "solid arrow")
    assert ("stroke-dasharray" in drawn) == (line == "dashed line")


@pytest.mark.parametrize("shape", SHAPES)
def test_an_arrowhead_points_at_the_border_of_its_target(shape):
    diagram = pair("solid arrow", shape)
    (head,) = found(diagram, "polygon")
    tip, *base = [tuple(map(float, point.split(","))) for point in head["points"].split()]
    assert tip == (740, 300)  # the border is at 739.5
    assert sorted(base) == [(726.5, 295), (726.5, 305)]
    assert head["fill"] == "#c80009"


def test_dashes_begin_and_end_at_the_borders():
    (drawn,) = found(pair("dashed line", "circle", end_y=500), "line")
    x1, y1, x2, y2 = number(drawn, "x1", "y1", "x2", "y2")
    dash, gap = map(float, drawn["stroke-dasharray"].split())
    for x, y, centre_y in ((x1 - 200, y1, 300), (x2 - 800, y2, 500)):
        assert hypot(x / 60.5, (y - centre_y) / 40) == pytest.approx(1, abs=0.001)
    periods = (hypot(x2 - x1, y2 - y1) + gap) / (dash + gap)
    assert periods == pytest.approx(round(periods), abs=0.01)
    assert "stroke-dashoffset" not in drawn


def test_a_dashed_line_that_comes_from_far_away_is_cut_in_step_with_its_dashes():
    start = replace(node(0, -90_000, 300, 1, line="dashed line"), width=100)
    (drawn,) = found(Diagram((start, node(1, 800, 300))), "line")
    x1, x2, offset = number(drawn, "x1", "x2", "stroke-dashoffset")
    dash, gap = map(float, drawn["stroke-dasharray"].split())
    assert -40 < x1 <= 0 and x2 == 739.5
    assert (x2 - x1 + offset + gap) % (dash + gap) == pytest.approx(0, abs=0.1)  # it ends with a whole dash


def test_connections_are_below_the_shapes():
    names = [element.tag.rpartition("}")[2] for element in read(pair("solid arrow"))]
    assert names == ["title", "path", "line", "polygon", "rect", "rect"]


def test_the_view_is_the_drawn_part_of_the_canvas():
    root = read(pair("solid line"))  # shapes of 121 x 80 at x = 200 and 800, and a margin of 16
    assert root.attrib["viewBox"] == "123.5 244 753 112"
    assert (root.attrib["width"], root.attrib["height"]) == ("753", "112")


def test_an_empty_diagram_is_an_empty_canvas():
    root = read(parse(""))
    assert root.attrib["viewBox"] == "0 0 1000 600"
    assert [element.tag.rpartition("}")[2] for element in root] == ["title", "path"]


def test_self_loops_missing_targets_and_coinciding_centres_draw_no_connection():
    tangled = Diagram((node(0, 300, 300, 0, 1, 1, 77), node(1, 300, 300, 0)))
    assert svg(tangled) == svg(Diagram((node(0, 300, 300), node(1, 300, 300))))


def test_a_shape_off_the_canvas_is_in_the_file_outside_of_the_view():
    diagram = Diagram((node(0, 500, 300), node(1, 5000, 300)))
    assert read(diagram).attrib["viewBox"] == read(Diagram(diagram.nodes[:1])).attrib["viewBox"]
    assert [attributes["x"] for attributes in found(diagram, "rect")] == ["439.5", "4939.5"]


def test_the_view_is_all_of_the_canvas_if_everything_is_just_outside_of_it():
    above = tuple(Node(k, 500, -60 + 48 * k, "rectangle", 1, 1, "solid line", FILL, INK, (1,)) for k in (0, 1))
    assert drawn_box(Diagram(above)) is None
    assert read(Diagram(above)).attrib["viewBox"] == "0 0 1000 600"
    (drawn,) = found(Diagram(above), "line")  # in the file like its shapes, above the view
    assert max(number(drawn, "y1", "y2")) < 0


@given(ANY_DIAGRAM)
@settings(max_examples=150, deadline=2000)
def test_no_line_reaches_far_beyond_the_view(diagram):
    box = drawn_box(diagram) or CANVAS
    for drawn in found(diagram, "line"):
        x1, y1, x2, y2 = number(drawn, "x1", "y1", "x2", "y2")
        assert box.left - 21 <= min(x1, x2) and max(x1, x2) <= box.right + 21
        assert box.top - 21 <= min(y1, y2) and max(y1, y2) <= box.bottom + 21


def test_the_largest_file_has_a_few_megabytes():
    everything = tuple(range(MAX_LINES))
    reach = MAX_COORDINATE
    nodes = (
        Node(k, 500 + (-1) ** k * reach, k * 6, "circle", 9, 9, "dashed line", FILL, INK, everything)
        for k in range(MAX_LINES)
    )
    assert len(svg(Diagram(tuple(nodes)))) < 3_000_000


@given(ANY_DIAGRAM)
@settings(max_examples=50, deadline=2000)
def test_nothing_in_it_can_run_or_load_something(diagram):
    used = {name for element in read(diagram).iter() for name in element.attrib}
    geometry = {"x", "y", "width", "height", "rx", "ry", "cx", "cy", "x1", "y1", "x2", "y2", "d", "points", "viewBox"}
    assert used <= geometry | {"fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-dashoffset"}
