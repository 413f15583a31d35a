"""What counts as the same answer, what as a tie by rounding, and what refuses an export."""

import math

import pytest
from helpers import problems_of

from fine_tuning.exporting.alike import LARGEST_GAP, Comparison, Difference, Verdict, first_difference


def compared(*gaps, limit=0.01):
    """20 prompts, of which the first ones differ by these gaps."""
    comparison = Comparison("merged", limit)
    for number in range(1, 21):
        gap = gaps[number - 1 : number]
        comparison.add([7, 8, 9], [Difference(number, 2, " 4", " 5", each) for each in gap])
    return comparison


def test_equal_answers_are_counted():
    comparison = compared()
    comparison.check()
    assert comparison.figures() == {"prompts": 20, "identical": 20, "tokens": 60, "ties": []}
    (line,) = Verdict("held-out prompts", 20, [comparison]).lines()
    assert "20 of 20 held-out prompts have the same answer" in line and "60 tokens" in line


def test_a_tie_by_rounding_is_named_with_its_place_and_gap():
    comparison = compared(0.002)
    comparison.check()
    assert comparison.figures()["ties"] == [{"prompt": 1, "token": 2, "logit gap": 0.002}]
    first, tie = Verdict("held-out prompts", 20, [comparison]).lines()
    assert "19 of 20" in first
    assert tie == "merged: a tie by rounding in prompt 1, token 2: ' 4' instead of ' 5' (logit gap 0.002)"


@pytest.mark.parametrize("gap", [0.011, 3.0, math.inf, math.nan])
def test_a_difference_that_rounding_does_not_explain_is_refused(gap):
    (problem,) = problems_of(compared(0.002, gap).check)
    assert "1 of 20 answers differ" in problem and "prompt 2, token 2" in problem and "--compare 0" in problem


def test_many_differences_are_shown_in_part():
    (problem,) = problems_of(compared(*[1.0] * 8).check)
    assert "8 of 20 answers" in problem and "prompt 5," in problem and "prompt 6," not in problem
    assert "and 3 more" in problem


def test_coarser_numbers_allow_larger_gaps():
    assert LARGEST_GAP["float32"] < LARGEST_GAP["f16"] < LARGEST_GAP["q8_0"]


def test_a_comparison_that_ran_out_of_time_says_how_far_it_came():
    lines = Verdict("held-out prompts", 30, [compared()]).lines()
    assert lines[1] == "merged: only 20 of 30 prompts in 10 minutes"


def test_the_reason_for_not_comparing_is_in_text_and_figures():
    verdict = Verdict("held-out prompts", 20, not_compared="llama.cpp ended with SIGILL")
    assert verdict.lines() == ["not compared with base model + adapter: llama.cpp ended with SIGILL"]
    assert verdict.figures() == {"compared": {}, "not compared": "llama.cpp ended with SIGILL"}


@pytest.mark.parametrize(
    ("answer", "place"), [([1, 2, 3], None), ([1, 9, 3], 1), ([1, 2], 2), ([1, 2, 3, 4], 3), ([], 0)]
)
def test_the_first_difference_may_be_an_early_or_a_late_end(answer, place):
    assert first_difference(answer, [1, 2, 3]) == place
