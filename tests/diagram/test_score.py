"""The score: 1.0 for a flawless answer and for nothing else."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diagram.language import LINES, MAX_COORDINATE, MAX_LINES, SHAPES
from diagram.score import CUT_ENDING, score_diagram

pytestmark = pytest.mark.filterwarnings("error")

LINE_0 = "[0, 100, 300, 'circle', 80, 80, 'solid arrow', (255, 228, 196), (0, 0, 0), [1, 2]]"
LINE_1 = "[1, 400, 120, 'rectangle', 120, 60, 'dashed line', (176, 224, 230), (0, 0, 128), [3]]"
LINE_2 = "[2, 400, 480, 'round rectangle', 120, 60, 'solid line', (152, 251, 152), (0, 100, 0), [3]]"
LINE_3 = "[3, 800, 300, 'rectangle', 100, 100, 'solid arrow', (255, 255, 224), (128, 128, 0), []]"
REFERENCE = "\n".join([LINE_0, LINE_1, LINE_2, LINE_3])


def total(candidate: str, reference: str = REFERENCE) -> float:
    return score_diagram(candidate, reference).total


def test_the_reference_itself_scores_exactly_one():
    assert total(REFERENCE) == 1.0
    assert set(score_diagram(REFERENCE, REFERENCE).parts().values()) == {1.0}


def test_a_single_node_without_connections_scores_exactly_one():
    assert total(LINE_3.replace("[3", "[0"), LINE_3.replace("[3", "[0")) == 1.0


@given(
    st.tuples(
        st.tuples(st.integers(40, 200), st.integers(40, 560)),
        st.tuples(st.integers(320, 440), st.integers(30, 130)),
        st.tuples(st.integers(320, 440), st.integers(470, 570)),
        st.tuples(st.integers(700, 950), st.integers(200, 400)),
    )
)
def test_positions_are_free_as_long_as_the_layout_is_clear(positions):
    answer = REFERENCE
    for old, (x, y) in zip(("100, 300", "400, 120", "400, 480", "800, 300"), positions, strict=True):
        answer = answer.replace(f", {old}, '", f", {x}, {y}, '")
    assert total(answer) == 1.0


def test_a_closing_newline_costs_nothing_and_endless_ones_do():
    assert total(REFERENCE + "\n") == 1.0
    assert total(REFERENCE + "\n" * 40) < 0.2


WORSENINGS = {
    "first node dropped": (LINE_0 + "\n", ""),
    "middle node dropped": (LINE_1 + "\n", ""),
    "last node dropped": ("\n" + LINE_3, ""),
    "node added": (LINE_3, LINE_3 + "\n[4, 900, 500, 'circle', 50, 50, 'solid arrow', (1, 2, 3), (4, 5, 6), []]"),
    "node repeated": (LINE_2, LINE_2 + "\n" + LINE_2),
    "nodes swapped": (LINE_1 + "\n" + LINE_2, LINE_2 + "\n" + LINE_1),
    "wrong number": ("[3, ", "[7, "),
    "two nodes of one number": ("[2, ", "[1, "),
    "connection redirected": ("[1, 2]]", "[1, 3]]"),
    "connection reversed": ("[1, 2]]\n[1, 400", "[2]]\n[1, 400"),
    "connection dropped": ("[1, 2]]", "[1]]"),
    "connection added": ("[]]", "[0]]"),
    "dangling target": ("[]]", "[9]]"),
    "dangling target instead": ("[1, 2]]", "[1, 9]]"),
    "duplicate target": ("[1, 2]]", "[1, 2, 2]]"),
    "self loop": ("[]]", "[3]]"),
    "background colour changed": ("(255, 228, 196)", "(255, 228, 197)"),
    "line colour changed": ("(0, 0, 128)", "(0, 1, 128)"),
    "line changed": ("dashed line", "solid line"),
    "shape changed": ("round rectangle", "rectangle"),
    "width changed": ("120, 60, 'dashed", "121, 60, 'dashed"),
    "height changed": ("120, 60, 'dashed", "120, 59, 'dashed"),
    "width and height swapped": ("120, 60, 'dashed", "60, 120, 'dashed"),
    "moved onto another": ("400, 120", "790, 310"),
    "touching another": ("400, 120", "690, 300"),
    "off the canvas": ("400, 120", "400, -200"),
    "partly off the canvas": ("800, 300", "951, 300"),
    "in the way of a connection": ("400, 120", "250, 390"),
    "text before": (LINE_0, "Here you are:\n" + LINE_0),
    "text after": (LINE_3, LINE_3 + "\nDone."),
    "text between": (LINE_2, "# next\n" + LINE_2),
    "fence around": (REFERENCE, f"```\n{REFERENCE}\n```"),
    "field missing": ("'dashed line', ", ""),
    "field of the wrong type": ("400, 120", "'400', 120"),
    "lines run together": ("\n", " "),
}


@pytest.mark.parametrize(("old", "new"), WORSENINGS.values(), ids=WORSENINGS)
def test_a_single_worsening_scores_below_one(old, new):
    worse = REFERENCE.replace(old, new, 1)
    assert worse != REFERENCE
    assert 0 <= total(worse) < 1


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("node added", "nodes"),
        ("connection redirected", "connections"),
        ("shape changed", "style"),
        ("touching another", "apart"),
        ("partly off the canvas", "inside"),
        ("in the way of a connection", "clear"),
        ("text between", "well-formed"),
        ("text after", "ending"),
    ],
)
def test_a_worsening_lowers_its_own_part(name, part):
    parts = score_diagram(REFERENCE.replace(*WORSENINGS[name], 1), REFERENCE).parts()
    assert parts[part] < 1
    assert parts["score"] < 1


def test_a_layout_problem_leaves_structure_and_style_untouched():
    score = score_diagram(REFERENCE.replace("400, 120", "400, -200"), REFERENCE)
    assert (score.structure, score.style, score.well_formed, score.ending) == (1, 1, 1, 1)
    assert score.inside == 3 / 4


@pytest.mark.parametrize(
    ("old", "new", "tidy"),
    [
        ("", "", True),
        (", [3]]", ", []]", True),  # fewer connections: not what was asked for, but nothing to look at is wrong
        ("\n" + LINE_3, "", False),  # a connection to a shape that is not there
        ("400, 120", "400, 20", False),  # off the canvas
        ("400, 120", "400, 470", False),  # on top of another
        ("100, 300", "400, 300", True),
        ("[1, 2]]", "[1, 2, 3]]", True),
        ("400, 120", "400, 290", False),  # with the next one: a connection through a third shape
        ("rectangle", "triangle", False),
    ],
)
def test_tidy_is_what_is_flawless_to_look_at_whatever_was_asked_for(old, new, tidy):
    answer = REFERENCE.replace("[1, 2]]", "[1, 2, 3]]") if "290" in new else REFERENCE
    assert score_diagram(answer.replace(old, new, 1), REFERENCE).tidy is tidy


def test_nothing_at_all_is_not_tidy():
    assert not score_diagram("", REFERENCE).tidy


@pytest.mark.parametrize("kept", range(1, len(LINE_3)))
def test_a_last_line_that_is_cut_anywhere_costs_at_least_half(kept):
    assert total(REFERENCE[: len(REFERENCE) - len(LINE_3) + kept]) < CUT_ENDING


def test_a_more_complete_answer_scores_higher():
    scores = [total("\n".join([LINE_0, LINE_1, LINE_2, LINE_3][:count])) for count in range(5)]
    assert scores == sorted(set(scores))
    assert scores[0] == 0 and scores[-1] == 1


def test_leaving_out_every_connection_does_not_count_as_clear():
    bare = REFERENCE.replace("[1, 2]]", "[]]").replace("[3]]", "[]]")
    score = score_diagram(bare, REFERENCE)
    assert (score.connections, score.clear) == (0, 0)


@given(st.text() | st.lists(st.sampled_from([LINE_0, LINE_1, LINE_2, LINE_3, "", "x", "[1, 2"])).map("\n".join))
def test_any_text_scores_within_zero_and_one(text):
    parts = score_diagram(text, REFERENCE).parts()
    assert all(0 <= value <= 1 for value in parts.values())


@given(st.text())
def test_text_that_holds_no_node_scores_zero(text):
    assert total(text) == 0


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("", "no node"),
        ("hello", "line 1: not a list"),
        (LINE_3.replace("[3, ", "[0, ")[:-1], "line 1: not a list"),
        (REFERENCE.replace("[]]", "[9]]"), "line 4: points to node 9"),
        (REFERENCE.replace("[]]", "[3]]"), "line 4: points to itself"),
        (LINE_1, "line 1: node 1 stands where node 0 is due"),
    ],
)
def test_a_reference_with_a_problem_is_refused(reference, message):
    with pytest.raises(ValueError, match=f"the reference is not a diagram: {message}"):
        score_diagram(REFERENCE, reference)


@pytest.mark.parametrize("place", ["apart", "together", "far"])
def test_the_largest_diagram_is_scored_in_five_seconds(place):
    lines = []
    for k in range(MAX_LINES):
        x, y, size = {
            "apart": (k % 10 * 90, k // 10 * 55, 7),
            "together": (k, k, 500),
            "far": (-k * 999, MAX_COORDINATE, MAX_COORDINATE - 1),
        }[place]
        shape = SHAPES[k % 3]
        lines.append(repr([k, x, y, shape, size, size + 1, LINES[0], (0, 0, 0), (0, 0, 0), list(range(MAX_LINES))]))
    start = time.perf_counter()
    score = score_diagram("\n".join(lines), REFERENCE)
    assert time.perf_counter() - start < 5
    assert score.nodes > 0
    assert score.total < 0.1
