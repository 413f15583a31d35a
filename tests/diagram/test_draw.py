"""Pictures show what the language says, and no diagram makes drawing fail or take long."""

import time
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops
from wild_diagrams import ANY_DIAGRAM

from diagram.draw import draw, png
from diagram.language import LINES, MAX_COORDINATE, MAX_LINES, SHAPES, Diagram, Node, parse
from diagram.picture_geometry import CANVAS, Box, drawn_box

WHITE = (255, 255, 255)
FILL = (200, 220, 240)
INK = (200, 0, 0)
OTHER_INK = (0, 0, 200)


def node(number: int, x: int, y: int, *targets: int, shape: str = "rectangle", line: str = "solid arrow") -> Node:
    return Node(number, x, y, shape, 120, 80, line, FILL, OTHER_INK, targets)


def connected(line: str, shape: str = "rectangle", end_y: int = 300) -> Diagram:
    """Two shapes 600 pixels apart; horizontally the connection runs from x = 260 to 740 at y = 300."""
    start = replace(node(0, 200, 300, 1, shape=shape, line=line), outline=INK)
    return Diagram((start, node(1, 800, end_y, shape=shape)))


# `pixel` is what getpixel returns for an RGB image; Pillow's type allows for other modes.
def is_white(pixel: Any) -> bool:
    return min(pixel) > 235  # scaling down leaves a faint shadow beside a line


def is_red(pixel: Any) -> bool:
    return pixel[0] > 150 > 80 > max(pixel[1:])


def is_blue(pixel: Any) -> bool:
    return pixel[2] > 150 > 80 > max(pixel[:2])


def column_of_ink(image: Image.Image, x: int) -> int:
    """How many pixels of a column between y = 200 and 400 are the connection's, at least in part."""
    pixels = [image.getpixel((x, y)) for y in range(200, 400)]
    return sum(not is_white(pixel) for pixel in pixels)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_is_filled_and_outlined_in_its_colours(shape):
    image = draw(Diagram((node(0, 500, 300, shape=shape),)))
    assert image.getpixel((500, 300)) == FILL
    for x, y in ((440, 300), (559, 300), (500, 260), (500, 339)):
        assert is_blue(image.getpixel((x, y)))
    for x, y in ((437, 300), (562, 300), (500, 257), (500, 342)):
        assert is_white(image.getpixel((x, y)))


def test_only_a_rectangle_fills_the_corners_of_its_box():
    corners = [draw(Diagram((node(0, 500, 300, shape=shape),))).getpixel((441, 261)) for shape in SHAPES]
    assert [is_blue(corner) for corner in corners] == [True, False, False]
    assert [is_white(corner) for corner in corners] == [False, True, True]


def test_a_round_rectangle_fills_more_of_its_box_than_a_circle():
    point = (455, 270)
    assert draw(Diagram((node(0, 500, 300, shape="round rectangle"),))).getpixel(point) == FILL
    assert draw(Diagram((node(0, 500, 300, shape="circle"),))).getpixel(point) == WHITE


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("line", LINES)
def test_only_an_arrow_widens_and_only_at_its_target(line, shape):
    image = draw(connected(line, shape))
    at_start, at_end = (max(column_of_ink(image, x) for x in xs) for xs in (range(263, 280), range(722, 738)))
    assert at_start in (2, 3, 4)
    assert at_end >= 9 if line == "solid arrow" else at_end == at_start


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("line", LINES)
def test_a_connection_reaches_the_borders_of_both_shapes(line, shape):
    image = draw(connected(line, shape))
    for x in (261, 738):
        red, green, blue = image.getpixel((x, 300))
        assert red > max(green, blue) + 40


@pytest.mark.parametrize("shape", SHAPES)
def test_the_tip_of_a_slanted_arrow_touches_the_border(shape):
    image = draw(connected("solid arrow", shape, end_y=540))
    with_ink = [(x, y) for x in range(700, 760) for y in range(480, 540) if is_red(image.getpixel((x, y)))]
    border = [(x, y) for x in range(700, 800) for y in range(480, 580) if is_blue(image.getpixel((x, y)))]
    nearest = min((a - x) ** 2 + (b - y) ** 2 for a, b in with_ink for x, y in border)
    assert nearest <= 8


@pytest.mark.parametrize(("line", "gaps"), [("solid arrow", 0), ("solid line", 0), ("dashed line", 34)])
def test_a_dashed_line_has_even_gaps_and_a_solid_one_has_none(line, gaps):
    image = draw(connected(line))
    row = [is_white(image.getpixel((x, 300))) for x in range(262, 738)]
    starts = [k for k in range(1, len(row)) if row[k] and not row[k - 1]]
    distances = [b - a for a, b in zip(starts, starts[1:], strict=False)]
    assert abs(len(starts) - gaps) <= 1 and (gaps or not starts)
    assert all(12 <= distance <= 16 for distance in distances)


def test_a_connection_has_the_outline_colour_of_its_source():
    assert is_red(draw(connected("solid line")).getpixel((500, 300)))


def test_a_connection_is_drawn_below_a_shape_in_its_way():
    diagram = connected("solid line")
    image = draw(Diagram((*diagram.nodes, node(2, 500, 300))))
    assert image.getpixel((500, 300)) == FILL


def test_slanted_edges_are_smooth():
    image = draw(connected("solid line", "circle", end_y=500))
    levels = {image.getpixel((x, y))[1] for x in range(300, 700) for y in range(300, 500)}
    assert len(levels) > 10


@pytest.mark.parametrize(("width", "size"), [(1000, (1000, 600)), (400, (400, 240)), (333, (333, 200)), (1, (1, 1))])
def test_a_picture_keeps_the_canvas_ratio(width, size):
    image = draw(connected("solid arrow"), width)
    assert (image.size, image.mode) == (size, "RGB")


def test_a_small_picture_shows_the_same_diagram():
    image = draw(connected("solid line"), 250)
    assert image.getpixel((50, 75)) == image.getpixel((200, 75)) == FILL
    assert image.getpixel((125, 75)) != WHITE
    assert image.getpixel((125, 65)) == WHITE


def test_a_width_below_one_is_refused():
    with pytest.raises(ValueError, match="0 pixels wide"):
        draw(connected("solid arrow"), 0)


def test_an_empty_diagram_is_a_white_picture():
    assert draw(parse("")).getcolors() == [(600_000, WHITE)]


def test_a_png_file_shows_the_drawn_part_of_the_canvas_at_twice_its_size():
    file = png(connected("solid arrow"))  # shapes of 120 x 80 at x = 200 and 800, and a margin of 16
    with Image.open(BytesIO(file)) as image:
        assert image.format == "PNG"
        assert image.size == (2 * (720 + 2 * 16), 2 * (80 + 2 * 16))
        assert image.tobytes() == draw(connected("solid arrow"), 1504, Box(124, 244, 876, 356)).tobytes()


def test_the_png_file_of_an_empty_diagram_is_an_empty_canvas():
    with Image.open(BytesIO(png(parse("")))) as image:
        assert image.getcolors() == [(2000 * 1200, WHITE)]


@given(ANY_DIAGRAM, st.sampled_from([30, 100]))
@settings(max_examples=150, deadline=2000)
def test_any_diagram_can_be_drawn(diagram, width):
    assert draw(diagram, width).width == width


def test_a_cropped_picture_shows_the_same_as_that_part_of_the_canvas():
    diagram = connected("dashed line", "circle", end_y=500)
    crop = Box(150, 200, 850, 560)
    difference = ImageChops.difference(draw(diagram, 700, crop), draw(diagram).crop(tuple(map(int, crop))))
    assert sum(k * count for k, count in enumerate(difference.convert("L").histogram())) / (700 * 360) < 0.5


@pytest.mark.parametrize("crop", [Box(10, 10, 10, 60), Box(10, 60, 20, 10)])
def test_a_crop_without_an_area_is_refused(crop):
    with pytest.raises(ValueError, match="no area"):
        draw(connected("solid arrow"), 100, crop)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_drawn_box_encloses_shapes_and_connections_with_an_even_margin(shape):
    assert drawn_box(connected("solid line", shape, end_y=400)) == Box(140 - 16, 260 - 16, 860 + 16, 440 + 16)


def test_the_drawn_box_includes_the_visible_part_of_a_connection_that_leaves_the_canvas():
    far = Diagram((node(0, 500, 300, 1, line="solid line"), node(1, 5000, 300)))
    assert drawn_box(far) == Box(440 - 16, 260 - 16, 1000, 340 + 16)


@pytest.mark.parametrize(
    "nodes",
    [
        (),
        (node(0, 5000, 300),),
        (replace(node(0, -300, -300, shape="circle"), width=800, height=800),),  # only its box overlaps the canvas
    ],
    ids=["nothing", "off the canvas", "an ellipse that passes the corner"],
)
def test_there_is_no_drawn_box_if_nothing_is_visible(nodes):
    assert drawn_box(Diagram(nodes)) is None


@given(ANY_DIAGRAM)
@settings(max_examples=100, deadline=2000)
def test_the_drawn_box_is_on_the_canvas_and_everything_outside_is_white(diagram):
    image = draw(diagram, 500)
    box = drawn_box(diagram)
    if box is not None:
        assert 0 <= box.left < box.right <= CANVAS.right and 0 <= box.top < box.bottom <= CANVAS.bottom
        image.paste(WHITE, (int(box.left / 2), int(box.top / 2), round(box.right / 2), round(box.bottom / 2)))
    assert min(low for low, _ in image.getextrema()) > 200  # scaling down leaves a faint shadow beside a line


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize(("reach", "size"), [(500, 9), (MAX_COORDINATE, 9), (500, MAX_COORDINATE)])
def test_the_largest_diagram_is_drawn_in_five_seconds(line, reach, size):
    everything = tuple(range(MAX_LINES))
    nodes = tuple(
        Node(k, 500 + (-1) ** k * reach, k * 6, SHAPES[k // 2 % 3], size, size, line, FILL, INK, everything)
        for k in range(MAX_LINES)
    )
    start = time.process_time()
    draw(Diagram(nodes), 300, drawn_box(Diagram(nodes)))
    assert time.process_time() - start < 5


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_larger_than_the_canvas_fills_it(shape):
    giant = replace(node(0, -10_000, 300, shape=shape), width=MAX_COORDINATE, height=MAX_COORDINATE)
    assert draw(Diagram((giant,)), 100).getcolors() == [(6_000, FILL)]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_border_of_a_giant_shape_is_where_it_belongs(shape):
    giant = replace(node(0, 50_500, 300, shape=shape), width=MAX_COORDINATE, height=MAX_COORDINATE)
    image = draw(Diagram((giant,)))
    assert image.getpixel((490, 300)) == WHITE
    assert is_blue(image.getpixel((500, 300)))
    assert image.getpixel((510, 300)) == FILL


@pytest.mark.parametrize(("line", "ink"), [("solid line", 1.0), ("dashed line", 8 / 14)])
def test_a_connection_between_far_away_shapes_crosses_the_canvas(line, ink):
    start = replace(node(0, -90_000, 300, 1, line=line), outline=INK)
    image = draw(Diagram((start, node(1, 90_000, 300))))
    drawn = sum(not is_white(image.getpixel((x, 300))) for x in range(1000))
    assert drawn / 1000 == pytest.approx(ink, abs=0.12)


def test_self_loops_missing_targets_and_coinciding_centres_draw_no_connection():
    plain = Diagram((node(0, 300, 300), node(1, 300, 300)))
    tangled = Diagram((node(0, 300, 300, 0, 1, 1, 77), node(1, 300, 300, 0)))
    assert draw(tangled).tobytes() == draw(plain).tobytes()
