"""Answers of falling quality to one request: the score must rank them as a person would."""

import json
import re
from pathlib import Path

import pytest

from diagram import score_diagram

LADDER = json.loads((Path(__file__).parent / "cases" / "score_ladder.json").read_text())
ANSWERS = {answer["what"]: answer["text"] for answer in LADDER["answers"]}
SHAPES = 9
LEFT_OUT = ("first shape left out", "middle shape left out", "last shape left out")
BLEMISHED = (
    "a blank line first",
    "a blank line last",
    "a trailing comma after every line",
    "one stray brace in line 3",
    "line style 'solid' in the first three lines",
)


def score(what: str, order_fixed: bool = True) -> float:
    return score_diagram(ANSWERS[what], LADDER["reference"], order_fixed=order_fixed).total


def test_only_the_flawless_answer_scores_one():
    assert [what for what in ANSWERS if score(what) == 1.0] == ["as it is"]


@pytest.mark.parametrize("what", BLEMISHED)
def test_a_blemish_costs_little_and_less_than_a_shape(what):
    assert 0.95 < score(what) < 1


def test_one_blemish_costs_less_than_one_in_every_line():
    assert score("a trailing comma after every line") < score("one stray brace in line 3")


@pytest.mark.parametrize("what", LEFT_OUT)
def test_leaving_out_a_shape_costs_its_share_wherever_it_stood(what):
    assert 1 - score(what) == pytest.approx(1 / SHAPES, abs=0.015)


def test_other_numbers_cost_less_than_a_shape_and_nothing_if_the_order_is_free():
    assert max(map(score, LEFT_OUT)) < score("numbered from 1") < 1
    assert score("numbered from 1", order_fixed=False) == 1.0


def test_most_of_a_diagram_scores_above_some_of_it_and_some_above_none():
    assert min(map(score, LEFT_OUT)) > 5 * score("only the first line")
    assert score("only the first line") == pytest.approx(1 / SHAPES, abs=0.015)
    assert score("no diagram at all") == 0.0


def test_a_pile_of_the_same_shapes_scores_below_one_of_them():
    assert 0 < score("twice as many shapes, all the same") < score("only the first line")


def test_the_documentation_shows_these_scores():
    page = (Path(__file__).parents[2] / "docs" / "LANGUAGE.md").read_text("utf-8")
    rows = {what: f"{score(what):.3f}" for what in ANSWERS}
    shown = dict(re.findall(r"^\| (.+?) \| ([01]\.\d{3}) \|$", page, re.MULTILINE))
    assert len(shown) == 10
    assert shown.items() <= rows.items()
