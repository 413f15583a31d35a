"""The score is 1.0 for a flawless answer only, and each of its parts measures what its name says."""

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

import diagram.score
from diagram import flaw_of, score_diagram

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


def test_the_worked_example_of_the_formula_is_right():
    assert doctest.testmod(diagram.score) == (0, 7)


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
def test_positions_are_free_in_a_clear_layout(positions):
    answer = REFERENCE
    for old, (x, y) in zip(("100, 300", "400, 120", "400, 480", "800, 300"), positions, strict=True):
        answer = answer.replace(f", {old}, '", f", {x}, {y}, '")
    assert total(answer) == 1.0


def test_a_newline_at_the_end_costs_nothing_and_each_blank_line_lowers_the_score():
    scores = [total(REFERENCE + "\n" * count) for count in range(6)]
    assert scores[0] == scores[1] == 1.0
    assert scores[1:] == sorted(set(scores), reverse=True)


DAMAGES = {
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


@pytest.mark.parametrize(("old", "new"), DAMAGES.values(), ids=DAMAGES)
def test_a_single_damage_scores_below_one(old, new):
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
def test_a_damage_lowers_its_own_part(name, part):
    parts = score_diagram(REFERENCE.replace(*DAMAGES[name], 1), REFERENCE).parts()
    assert parts[part] < 1
    assert parts["score"] < 1


def test_a_layout_problem_leaves_structure_and_style_untouched():
    score = score_diagram(REFERENCE.replace("400, 120", "400, -200"), REFERENCE)
    assert (score.structure, score.style, score.well_formed, score.ending, score.numbering) == (1, 1, 1, 1, 1)
    assert score.inside == pytest.approx((3 + 0.2) / 4)


@pytest.mark.parametrize(
    ("old", "new", "tidy"),
    [
        ("", "", True),
        (", [3]]", ", []]", True),  # a missing connection is not untidy
        ("\n" + LINE_3, "", False),  # a connection to a shape that does not exist
        ("400, 120", "400, 20", False),  # off the canvas
        ("400, 120", "400, 470", False),  # on top of another
        ("100, 300", "400, 300", True),
        ("[1, 2]]", "[1, 2, 3]]", True),
        ("400, 120", "400, 290", False),  # on the way of the connection that is added below
        ("rectangle", "triangle", False),
    ],
)
def test_tidy_looks_at_the_drawing_and_not_at_the_reference(old, new, tidy):
    answer = REFERENCE.replace("[1, 2]]", "[1, 2, 3]]") if "290" in new else REFERENCE
    assert score_diagram(answer.replace(old, new, 1), REFERENCE).tidy is tidy


def test_an_empty_answer_is_not_tidy():
    assert not score_diagram("", REFERENCE).tidy


@pytest.mark.parametrize("kept", range(1, len(LINE_3)))
def test_a_last_line_cut_at_any_character_costs_more_than_leaving_it_out(kept):
    assert total(REFERENCE[: len(REFERENCE) - len(LINE_3) + kept]) < total(REFERENCE.removesuffix("\n" + LINE_3))


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
def test_text_without_a_node_scores_zero(text):
    assert total(text) == 0


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("", "no node"),
        ("hello", "line 1: not a list"),
        (LINE_3.replace("[3, ", "[0, ")[:-1], "line 1: not a list"),
        (REFERENCE.replace("[]]", "[9]]"), "line 4: points to node 9"),
        (REFERENCE.replace("[1, 2]]", "[1, 2"), "line 1: not closed"),
    ],
)
def test_a_reference_that_is_not_a_diagram_is_refused(reference, message):
    with pytest.raises(ValueError, match=f"the reference is not a diagram: {message}"):
        score_diagram(REFERENCE, reference)


@pytest.mark.parametrize(
    "reference",
    [
        REFERENCE.replace("[3, ", "[8, ").replace("[3]]", "[8]]"),
        REFERENCE.replace("400, 120", "'400', 120"),
        REFERENCE.replace(LINE_2, LINE_2 + ","),
        REFERENCE.replace("400, 120", "400, 20"),
        REFERENCE.replace("[]]", "[3]]"),
    ],
    ids=["with a gap in the numbers", "a quoted number", "a comma", "a shape off the canvas", "to itself"],
)
def test_a_reference_with_a_small_fault_can_be_scored_against(reference):
    assert flaw_of(reference)
    assert total(REFERENCE, reference) > 0.9


@pytest.mark.parametrize(("old", "new"), DAMAGES.values(), ids=DAMAGES)
def test_a_reference_without_a_flaw_scores_one_against_itself(old, new):
    text = REFERENCE.replace(old, new, 1)
    try:
        own = total(text, text)
    except ValueError:
        own = 0.0
    assert own == 1 or flaw_of(text)


def test_a_connection_that_only_grazes_a_shape_is_not_a_flaw_in_an_answer_or_a_reference():
    # The new connection runs along y = 300. Shape 1 is 60 high and reaches to 304; shrunk to 80 % it reaches to 298.
    grazing = REFERENCE.replace("[1, 2]]", "[1, 2, 3]]").replace("400, 120", "400, 274")
    assert flaw_of(grazing) is None
    assert total(grazing, grazing) == 1.0
    assert flaw_of(grazing.replace("400, 274", "400, 277")) == "a connection runs through a third shape"


def test_parts_have_the_names_that_logs_show():
    assert list(score_diagram(REFERENCE, REFERENCE).parts()) == [
        "score",
        "structure",
        "layout",
        "well-formed",
        "ending",
        "numbering",
        "nodes",
        "connections",
        "style",
        "inside",
        "apart",
        "clear",
    ]


def test_another_look_costs_nothing_if_the_style_is_free():
    answer = REFERENCE.replace("(0, 0, 128)", "(9, 9, 9)").replace("'dashed line'", "'solid line'")
    assert total(answer) < 1
    score = score_diagram(answer, REFERENCE, style_fixed=False)
    assert (score.total, score.style) == (1, 1)
