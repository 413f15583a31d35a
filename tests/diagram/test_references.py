"""What is refused as a reference, what is only noted, and how answers score against a reference with an oddity."""

import pytest

from diagram import examine_reference, flaw_of, score_diagram

DIAGRAM = """\
[0, 100, 300, 'circle', 80, 80, 'solid arrow', (255, 228, 196), (0, 0, 0), [1]]
[1, 400, 300, 'rectangle', 80, 80, 'solid arrow', (255, 228, 196), (0, 0, 0), [2]]
[2, 700, 300, 'rectangle', 80, 80, 'solid arrow', (255, 228, 196), (0, 0, 0), []]"""
FIRST, SECOND, THIRD = DIAGRAM.split("\n")

FAULTS = {
    "empty": "",
    "prose": "hello",
    "an unknown shape": DIAGRAM.replace("circle", "star"),
    "a missing target": DIAGRAM.replace("[1]]", "[7]]"),
    "cut off": DIAGRAM[:-3],
    "a line repeated": f"{DIAGRAM}\n{THIRD}",
    "a comma after a line": DIAGRAM.replace("[1]]", "[1]],"),
    "a quoted number": DIAGRAM.replace("[0, 100,", "[0, '100',"),
    "a fraction": DIAGRAM.replace("[0, 100,", "[0, 100.5,"),
    "prose around it": f"Here it is:\n{DIAGRAM}",
    "more blank lines than are read": FIRST + 1_000 * "\n",
}
ODDITIES = {
    "overlapping shapes": DIAGRAM.replace("[1, 400", "[1, 175"),
    "shapes off the canvas": DIAGRAM.replace("[0, 100", "[0, 30"),
    "connections through a shape": DIAGRAM.replace("[1]]", "[1, 2]]"),
    "shapes that point to themselves": DIAGRAM.replace("[2]]", "[1, 2]]"),
    "shapes that point to a shape twice": DIAGRAM.replace("[2]]", "[2, 2]]"),
    "blank lines": DIAGRAM.replace("\n", "\n\n", 1),
    "numbers other than 0, 1, 2, ... from line to line": DIAGRAM.replace("[0, ", "[9, "),
}


@pytest.mark.parametrize("text", FAULTS.values(), ids=FAULTS)
def test_a_text_that_would_train_on_the_wrong_thing_is_no_reference(text):
    assert examine_reference(text).fault


@pytest.mark.parametrize(("what", "text"), ODDITIES.items(), ids=ODDITIES)
def test_what_is_only_less_than_perfect_is_noted(what, text):
    assert examine_reference(text) == (None, (what,))
    assert flaw_of(text)


@pytest.mark.parametrize("text", [DIAGRAM, f"{DIAGRAM}\n", DIAGRAM.replace("\n", "  \n "), f"  {DIAGRAM}  "])
def test_spaces_around_lines_and_a_newline_at_the_end_are_not_even_noted(text):
    assert examine_reference(text) == (None, ())


def test_all_oddities_of_a_text_are_noted():
    text = DIAGRAM.replace("[1, 400", "[1, 175").replace("[2]]", "[1, 2]]") + "\n\n"
    expected = {"shapes that point to themselves", "blank lines", "overlapping shapes"}
    assert set(examine_reference(text).oddities) == expected


@pytest.mark.parametrize("text", ODDITIES.values(), ids=ODDITIES)
@pytest.mark.parametrize("fixed", [True, False])
def test_an_answer_like_a_reference_with_an_oddity_scores_high_and_a_worse_one_lower(text, fixed):
    alike = score_diagram(text, text, fixed, fixed)
    assert 0.6 < alike.total <= 1 and alike.nodes == alike.connections == alike.style == 1
    worse = [text.rsplit("\n", 1)[0], f"{text}\nmore", text.replace("[2", "[", 1) if "[2" in text else FIRST]
    assert all(score_diagram(other, text, fixed, fixed).total < alike.total for other in worse)


def test_a_connection_of_a_shape_to_itself_is_right_only_where_the_reference_has_it():
    with_loop = ODDITIES["shapes that point to themselves"]
    alike = score_diagram(with_loop, with_loop)
    assert alike.total == alike.clear == alike.connections == 1.0
    assert score_diagram(with_loop, DIAGRAM).total < 1 and score_diagram(DIAGRAM, with_loop).total < 1
    elsewhere = DIAGRAM.replace("[1]]", "[0, 1]]")
    assert score_diagram(elsewhere, with_loop).total < score_diagram(DIAGRAM, with_loop).total
