"""The geometry agrees with shapely. Shapely works on polygons, so cases close to a border are not compared."""

from dataclasses import replace
from itertools import combinations, permutations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from shapely import LineString, Point, Polygon, affinity, box

from diagram.geometry import CORE, crossings, is_inside_canvas, overlap, overlaps, runs_through, share_outside
from diagram.language import SHAPES, Node

TOLERANCE = 0.004  # of a shape's size
POSITIONS = st.integers(-300, 1300)


def node(x: int, y: int, shape: str = "rectangle", width: int = 100, height: int = 60) -> Node:
    return Node(0, x, y, shape, width, height, "solid arrow", (255, 255, 255), (0, 0, 0), ())


def outline(shape: Node, scale: float = 1.0) -> Polygon:
    half_width, half_height = scale * shape.width / 2, scale * shape.height / 2
    if shape.shape != "circle":
        return box(shape.x - half_width, shape.y - half_height, shape.x + half_width, shape.y + half_height)
    circle = Point(0, 0).buffer(1, quad_segs=64)
    return affinity.translate(affinity.scale(circle, half_width, half_height), shape.x, shape.y)


SIZES = st.one_of(st.integers(1, 400), st.integers(1, 3000))
NODES = st.builds(node, POSITIONS, POSITIONS, st.sampled_from(SHAPES), SIZES, SIZES)


@given(NODES, NODES)
@settings(max_examples=300)
def test_overlap_agrees_with_shapely(a, b):
    surely = outline(a, 1 - TOLERANCE).intersects(outline(b, 1 - TOLERANCE))
    perhaps = outline(a, 1 + TOLERANCE).intersects(outline(b, 1 + TOLERANCE))
    assume(surely == perhaps)
    assert overlap(a, b) is surely


@given(NODES, NODES)
def test_overlap_is_symmetric_for_boxes_and_boxes_with_ellipses(a, b):
    assume("circle" not in (a.shape, b.shape) or a.shape != b.shape)
    assert overlap(a, b) is overlap(b, a)


@given(NODES, NODES, NODES)
@settings(max_examples=300)
def test_runs_through_agrees_with_shapely(start, end, third):
    line = LineString([(start.x, start.y), (end.x, end.y)])
    for core in (CORE, 1.0):
        surely = outline(third, core * (1 - TOLERANCE)).intersects(line)
        perhaps = outline(third, core * (1 + TOLERANCE)).intersects(line)
        assume(surely == perhaps)
        assert runs_through(start, end, third, core) is surely


def numbered(shapes: list[Node]) -> list[Node]:
    return [replace(shape, number=number) for number, shape in enumerate(shapes)]


@given(st.lists(NODES, max_size=8).map(numbered))
def test_all_overlaps_at_once_agree_with_pair_by_pair(shapes):
    found = overlaps(shapes)
    pairs = {frozenset((a.number, b.number)) for a, b, _ in found}
    assert len(pairs) == len(found)
    for a, b in combinations(shapes, 2):
        assert ({a.number, b.number} in pairs) is overlap(a, b) or a.shape == b.shape == "circle"  # to within 0.2 %
    for a, b, area in found:
        assert area == pytest.approx(outline(box_of(a)).intersection(outline(box_of(b))).area, rel=1e-6, abs=1e-6)


def box_of(shape: Node) -> Node:
    return replace(shape, shape="rectangle")


@given(st.lists(NODES, min_size=3, max_size=8).map(numbered))
def test_all_crossings_at_once_agree_with_one_by_one(shapes):
    edges = list(permutations(range(len(shapes)), 2))
    assert crossings(shapes, edges) == {
        (a, b): sum(runs_through(shapes[a], shapes[b], third) for third in shapes if third.number not in (a, b))
        for a, b in edges
    }


@given(NODES)
def test_the_share_outside_agrees_with_shapely(shape):
    whole = outline(box_of(shape))
    outside = whole.difference(box(0, 0, 1000, 600)).area / whole.area
    assert share_outside(shape) == pytest.approx(outside, abs=1e-6)


@given(NODES)
def test_inside_the_canvas_agrees_with_shapely(shape):
    left, top, right, bottom = outline(node(shape.x, shape.y, "rectangle", shape.width, shape.height)).bounds
    assert is_inside_canvas(shape) is box(0, 0, 1000, 600).covers(box(left, top, right, bottom))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_may_touch_the_edge_of_the_canvas_but_not_cross_it_by_one_pixel(shape):
    assert is_inside_canvas(node(50, 30, shape))
    assert is_inside_canvas(node(950, 570, shape))
    assert not is_inside_canvas(node(49, 30, shape))
    assert not is_inside_canvas(node(50, 29, shape))
    assert not is_inside_canvas(node(951, 570, shape))
    assert not is_inside_canvas(node(950, 571, shape))


@pytest.mark.parametrize("a", SHAPES)
@pytest.mark.parametrize("b", SHAPES)
def test_shapes_overlap_when_they_touch_but_not_one_pixel_apart(a, b):
    assert overlap(node(100, 100, a), node(200, 100, b))
    assert not overlap(node(100, 100, a), node(201, 100, b))


def test_circles_may_share_the_corners_of_their_boxes():
    assert not overlap(node(100, 100, "circle", 100, 100), node(180, 180, "circle", 100, 100))
    assert overlap(node(100, 100, "round rectangle", 100, 100), node(180, 180, "rectangle", 100, 100))


@pytest.mark.parametrize("inner", SHAPES)
@pytest.mark.parametrize("outer", SHAPES)
def test_a_shape_within_another_overlaps_it_in_either_order(inner, outer):
    small, large = node(510, 300, inner, 20, 10), node(500, 300, outer, 400, 300)
    assert overlap(small, large)
    assert overlap(large, small)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_connection_that_ends_before_the_shrunk_shape_does_not_run_through_it(shape):
    third = node(300, 100, shape)  # from 250 to 350, shrunk from 260 to 340
    assert not runs_through(node(0, 100), node(259, 100), third)
    assert runs_through(node(0, 100), node(260, 100), third)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_connection_along_the_border_of_a_shape_only_grazes_it(shape):
    third = node(300, 100, shape)  # 60 high, shrunk 48
    assert not runs_through(node(0, 130), node(900, 130), third)
    assert not runs_through(node(0, 125), node(900, 125), third)
    assert runs_through(node(0, 124), node(900, 124), third)


@pytest.mark.parametrize(("shape", "meets"), [("rectangle", True), ("round rectangle", True), ("circle", False)])
def test_a_connection_may_cut_the_corner_of_a_circles_box(shape, meets):
    assert runs_through(node(240, 100), node(275, 60), node(300, 100, shape)) is meets


def test_a_connection_without_a_length_is_a_point():
    assert runs_through(node(300, 100), node(300, 100), node(320, 110, "circle"))
    assert not runs_through(node(300, 100), node(300, 100), node(400, 110, "circle"))


@pytest.mark.parametrize(("shift", "meets"), [(0, True), (1, False)])
@pytest.mark.parametrize(("width", "height", "corner_y"), [(100, 100, 40), (100, 200, 80)])
def test_a_box_meets_an_ellipse_when_its_corner_does(width, height, corner_y, shift, meets):
    ellipse = node(300, 300, "circle", width, height)
    assert overlap(node(330 + 50 + shift, 300 + corner_y + 30, "rectangle"), ellipse) is meets


@pytest.mark.parametrize(("shift", "meets"), [(0, True), (1, False)])
def test_circles_meet_when_their_centres_are_as_far_apart_as_their_radii_together(shift, meets):
    assert overlap(node(300, 300, "circle", 80, 80), node(360 + shift, 380, "circle", 120, 120)) is meets
