"""Preference pairs: same prompt, higher score chosen, no pair without a difference."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tuning.data.csv_rows import Row
from fine_tuning.data.ended import has_ended
from fine_tuning.data.preference_pairs import ROUNDING, Pair, make_pairs


def row(prompt: str, answer: str, score: float, ended: bool = True) -> Row:
    return Row(prompt, answer, score, "diagram", {"ended": str(ended).lower()}, ended=ended)


ROWS = st.lists(
    st.builds(
        row,
        st.sampled_from(["p", "q", "r"]),
        st.sampled_from("abcdefg"),
        st.integers(0, 20).map(lambda k: k / 20) | st.floats(0, 1),
    ),
    max_size=30,
)
MARGINS = st.sampled_from([0.0, 0.05, 0.3, 1.0])


def test_the_best_answer_is_paired_with_each_lower_one():
    rows = [row("p", "good", 0.5), row("p", "best", 1.0), row("p", "bad", 0.0)]
    assert make_pairs(rows, 0.05) == [Pair("p", "best", "good", 0.5), Pair("p", "best", "bad", 1.0)]


def test_answers_to_different_prompts_are_never_paired():
    assert make_pairs([row("p", "best", 1.0), row("q", "bad", 0.0)], 0.05) == []


@pytest.mark.parametrize("margin", [0.0, 0.05])
def test_equal_scores_make_no_pair(margin):
    assert make_pairs([row("p", "one", 0.5), row("p", "other", 0.5)], margin) == []


def test_a_difference_below_the_margin_makes_no_pair():
    rows = [row("p", "best", 1.0), row("p", "near", 0.96), row("p", "at the margin", 0.75)]
    assert make_pairs(rows, 0.25) == [Pair("p", "best", "at the margin", 0.25)]


@pytest.mark.parametrize(("best", "other"), [(0.3, 0.25), (0.15, 0.1), (1.0, 0.95)])
def test_a_margin_that_rounding_made_slightly_smaller_still_counts(best, other):
    rows = [row("p", "best", best), row("p", "other", other)]
    assert make_pairs(rows, 0.05) == [Pair("p", "best", "other", best - other)]


def test_an_answer_drawn_twice_makes_one_pair():
    rows = [row("p", "best", 1.0), row("p", "bad", 0.25), row("p", "best", 1.0), row("p", "bad", 0.25)]
    assert make_pairs(rows, 0.05) == [Pair("p", "best", "bad", 0.75)]


def test_the_first_of_several_best_answers_is_chosen():
    rows = [row("p", "bad", 0.0), row("p", "first", 1.0), row("p", "second", 1.0)]
    assert make_pairs(rows, 0.05) == [Pair("p", "first", "bad", 1.0)]


def test_an_answer_that_never_ended_is_rejected_but_never_chosen():
    rows = [row("p", "endless", 1.0, ended=False), row("p", "best", 0.75), row("p", "bad", 0.25, ended=False)]
    assert make_pairs(rows, 0.05) == [Pair("p", "best", "bad", 0.5, rejected_ended=False)]


def test_without_an_answer_that_ended_there_is_no_pair():
    assert make_pairs([row("p", "one", 0.75, ended=False), row("p", "other", 0.25, ended=False)], 0.05) == []


@pytest.mark.parametrize("ended_first", [True, False])
def test_a_text_drawn_twice_ended_if_it_ended_once(ended_first):
    rows = [row("p", "best", 1.0), *(row("p", "bad", 0.25, ended) for ended in (ended_first, not ended_first))]
    assert make_pairs(rows, 0.05) == [Pair("p", "best", "bad", 0.75, rejected_ended=True)]


LINE = "[0, 100, 300, 'circle', 80, 80, 'solid arrow', (255, 228, 196), (0, 0, 0), []]"


@pytest.mark.parametrize(
    ("text", "score", "fields", "ended"),
    [
        (LINE, 0.5, {}, True),
        (f"{LINE}\n[1, 3", 0.5, {}, False),
        (f"{LINE}\n{LINE}", 0.5, {}, False),  # a line for a second time
        ("", 0.0, {}, False),
        (LINE, 0.5, {"dest_shape_info": '{"ended": false}'}, False),
        ("[1, 3", 0.5, {"dest_shape_info": '{"ended": true}', "ended": ""}, True),
        ("[1, 3", 0.5, {"dest_shape_info": '{"ended": "no"}'}, False),
        ("any text", 1.0, {}, True),
    ],
)
def test_without_the_column_older_workspaces_or_the_last_line_tell_whether_an_answer_ended(text, score, fields, ended):
    assert has_ended(Row("p", text, score, "diagram", fields)) is ended


@given(ROWS, MARGINS)
def test_in_every_pair_the_chosen_answer_scores_higher_by_at_least_the_margin(rows, margin):
    first_score = {}
    for r in rows:
        first_score.setdefault((r.prompt, r.answer), r.score)
    for pair in make_pairs(rows, margin):
        chosen, rejected = first_score[pair.prompt, pair.chosen], first_score[pair.prompt, pair.rejected]
        assert chosen > rejected
        assert pair.margin == chosen - rejected >= margin - ROUNDING


@given(ROWS, MARGINS)
def test_no_pair_occurs_twice_and_each_prompt_has_one_chosen_answer(rows, margin):
    pairs = make_pairs(rows, margin)
    assert len(set(pairs)) == len(pairs)
    assert len({(pair.prompt, pair.chosen) for pair in pairs}) == len({pair.prompt for pair in pairs})


@given(ROWS, MARGINS)
def test_pairs_do_not_depend_on_the_position_of_other_prompts(rows, margin):
    by_prompt = sorted(rows, key=lambda r: r.prompt)  # keeps the order within a prompt
    assert set(make_pairs(rows, margin)) == set(make_pairs(by_prompt, margin))
