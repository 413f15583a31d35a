"""Every diagram of the committed CSVs is readable, in the house style, and runs in one direction."""

import re
from collections import Counter, defaultdict
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
import shapely
from committed_rows import FLOWCHARTS, ORPO, ROWS, SFT, edges_of, family, request_of, shapes_in, shapes_of
from shapely import affinity

from create_dataset.house_style import HOUSE_STYLE
from create_dataset.names import KIND_OF_NOUN
from diagram import parse
from diagram.readability import readability_of

FLOWCHART_KINDS = set(KIND_OF_NOUN.values())
CANVAS = shapely.box(0, 0, 1000, 600)
MOST_SIDE_BY_SIDE = 5  # flowchart shapes that the canvas has room for above one another
HOUSE_LOOKS = {
    (look.shape, look.width, look.height, look.line, look.fill, look.outline): kind
    for kind, straight in HOUSE_STYLE.items()
    for look in ([straight, straight.turned()] if kind.endswith(" layer") else [straight])
}


@cache
def outlines_in(text: str) -> np.ndarray:
    return np.array([outline(shape) for shape in shapes_in(text)])


def look(shape: list) -> tuple:
    return tuple(shape[4:10])


def outline(shape: list) -> shapely.Polygon:
    """The area of a shape. For a circle it is a polygon that encloses the whole circle."""
    _, _, x, y, form, width, height, *_ = shape
    if form == "circle":
        corners = 4 * 16
        around = 0.5 / np.cos(np.pi / corners)
        return affinity.scale(shapely.Point(x, y).buffer(1, quad_segs=16), width * around, height * around)
    return shapely.box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)


class Flow(NamedTuple):
    """Which way a diagram runs, and each shape's centre: its place along the flow, and across it."""

    down: bool
    centres: list[tuple[int, int]]


def flow_of(row: dict[str, str]) -> Flow:
    shapes = shapes_of(row)
    right = sum(shapes[end][2] > shapes[start][2] for start, end in edges_of(row))
    below = sum(shapes[end][3] > shapes[start][3] for start, end in edges_of(row))
    assert right != below, row["input_data"]
    return Flow(below > right, [(shape[3], shape[2]) if below > right else (shape[2], shape[3]) for shape in shapes])


def test_every_shape_is_inside_the_canvas():
    assert all(shapely.covers(CANVAS, outlines_in(row["output_data"])).all() for row in ROWS)


def test_no_two_shapes_overlap_or_touch():
    for row in ROWS:
        outlines = outlines_in(row["output_data"])
        assert shapely.intersects(outlines[:, None], outlines[None, :]).sum() == len(outlines), row["input_data"]


def test_no_connection_runs_through_a_third_shape():
    for row in ROWS:
        shapes = shapes_of(row)
        edges = np.array(edges_of(row))
        outlines = outlines_in(row["output_data"])
        centres = np.array([shape[2:4] for shape in shapes], dtype=float)
        meets = shapely.intersects(shapely.linestrings(centres[edges])[:, None], outlines[None, :])
        meets[np.arange(len(edges)), edges[:, 0]] = False
        meets[np.arange(len(edges)), edges[:, 1]] = False
        assert not meets.any(), row["input_data"]


def test_the_score_finds_no_flaw_in_any_layout_and_every_label_fits_its_shape():
    for row in ROWS:
        diagram = parse(row["output_data"])
        readability = readability_of(diagram.nodes, diagram.edges)
        assert readability.is_flawless and len(readability.fits) == len(diagram.nodes), row["input_data"]


def test_every_diagram_has_one_main_direction():
    """All connections run along it, but for one or two in a flowchart with a loop."""
    loops = 0
    for row in ROWS:
        _, centres = flow_of(row)
        back = sum(centres[start][0] >= centres[end][0] for start, end in edges_of(row))
        assert back <= (2 if family(row) == "flowchart" else 0), row["input_data"]
        loops += back > 0
    assert 40 < loops < 120


def test_the_steps_of_a_diagram_are_centred_and_use_most_of_the_canvas():
    shares = []
    for row in ROWS:
        (down, centres), steps = flow_of(row), defaultdict(list)
        for along, across in centres:
            steps[along].append(across)
        room, middle = (600, 500) if down else (1000, 300)
        assert all(min(places) + max(places) == 2 * middle for places in steps.values()), row["input_data"]
        first, last = min(steps), max(steps)
        assert last - first >= (0.4 if len(steps) == 2 else 0.6) * room, row["input_data"]
        shares.append((last - first + 2 * first) / room)  # with a margin after the last step like that before the first
    assert min(shares) > 0.75 and max(shares) < 1.01 and np.mean(shares) > 0.9


def test_requests_ask_for_both_directions_and_get_them():
    asked = Counter()
    for row in ROWS:
        opening = request_of(row).split("\n")[0]
        down = flow_of(row).down
        if re.search(r"top to bottom|top down|vertical|downwards", opening, re.IGNORECASE):
            assert down, row["input_data"]
            asked["down"] += 1
        elif re.search(r"left to right|horizontal", opening):
            assert not down, row["input_data"]
            asked["right"] += 1
    assert asked["down"] > 60 and asked["right"] > 60, asked


def test_a_flowchart_whose_request_names_no_direction_runs_right_unless_only_the_other_one_fits():
    found = Counter()
    for row in FLOWCHARTS:
        opening = request_of(row).split("\n")[0]
        if not re.search(r"\b(top|bottom|vert|runn?in|down|left|right|hori)", opening):
            down, centres = flow_of(row)
            widest = max(Counter(along for along, _ in centres).values())
            assert down == (widest > MOST_SIDE_BY_SIDE), row["input_data"]
            found["down" if down else "right"] += 1
    assert found["right"] > 200 and found["down"] > 5, found


def test_every_shape_has_a_look_of_the_house_style_and_no_two_kinds_look_alike():
    assert len(set(HOUSE_LOOKS.values())) == len(HOUSE_STYLE)
    for row in ROWS:
        kinds = {HOUSE_LOOKS[look(shape)] for shape in shapes_of(row)}
        assert (family(row) == "flowchart") == (kinds <= FLOWCHART_KINDS)


def test_the_noun_of_a_name_decides_the_look_of_its_shape():
    seen = Counter()
    for row in ROWS:
        if family(row) == "flowchart":
            for shape in shapes_of(row):
                assert HOUSE_LOOKS[look(shape)] == KIND_OF_NOUN[shape[1].split()[-1]], shape
                seen[KIND_OF_NOUN[shape[1].split()[-1]]] += 1
    assert set(seen) == FLOWCHART_KINDS and min(seen.values()) > 100, seen


@pytest.mark.parametrize("rows", [SFT, ORPO], ids=["sft", "orpo"])
def test_all_kinds_of_the_house_style_occur(rows):
    assert {HOUSE_LOOKS[look(shape)] for row in rows for shape in shapes_of(row)} == set(HOUSE_STYLE)
