"""Among several answers the one wins whose graph most of them have, and of these the tidiest. No model is needed."""

import pytest
from helpers import Answer

from fine_tuning.sampling.vote import best_different, ranked

LOOK = "'circle', 80, 80, 'solid arrow', (255, 255, 255), (0, 0, 0)"


def row(*targets, y=300, gap=200):
    """Circles side by side; the arguments are the targets of each."""
    return "\n".join(f"[{k}, {100 + gap * k}, {y}, {LOOK}, {list(to)}]" for k, to in enumerate(targets))


CHAIN = row([1], [2], [])
FORK = row([1, 2], [], [], gap=300).replace("[2, 700, 300", "[2, 700, 100")
LOWER_CHAIN = row([1], [2], [], y=400)
OVERLAPPING = row([1], [2], [], gap=60)
OFF_CANVAS = row([1], [2], [], y=580)


def best(*answers, **free):
    return ranked([Answer(a) if isinstance(a, str) else a for a in answers], **free)[0]


def test_the_graph_that_most_answers_have_wins():
    chosen = best(FORK, CHAIN, LOWER_CHAIN, FORK, CHAIN)
    assert (chosen.text, chosen.votes) == (CHAIN, 3)


@pytest.mark.parametrize(
    "untidy", [OVERLAPPING, OFF_CANVAS, CHAIN + ",", row([1], [2], [], y=300).replace("\n", "\n\n")]
)
def test_of_the_answers_with_one_graph_the_tidiest_wins(untidy):
    assert best(untidy, untidy, CHAIN).text == CHAIN


def test_votes_count_more_than_tidiness():
    assert best(OVERLAPPING, OFF_CANVAS, FORK).text == OVERLAPPING


def test_a_flaw_in_fewer_shapes_is_tidier():
    one_out = CHAIN.replace("[2, 500, 300", "[2, 980, 300")
    assert best(OFF_CANVAS, one_out).text == one_out


def test_the_greedy_answer_wins_ties():
    assert best(LOWER_CHAIN, CHAIN, CHAIN, CHAIN).text == LOWER_CHAIN
    assert best(FORK, CHAIN).text == FORK


@pytest.mark.parametrize(
    "broken",
    [Answer(CHAIN, ended=False), Answer(row([1], [5], [])), Answer(CHAIN + "\n[3, 7"), Answer(""), Answer("no idea")],
)
def test_a_broken_answer_has_no_vote_and_never_wins_over_a_whole_one(broken):
    candidates = ranked([broken, broken, broken, Answer(OVERLAPPING)])
    assert candidates[0].text == OVERLAPPING
    assert [candidate.votes for candidate in candidates] == [1, 0, 0, 0]
    assert all(candidate.broken for candidate in candidates[1:])


def test_the_greedy_answer_is_shown_if_no_answer_can_be_read():
    assert best("hello", "", "a diagram").text == "hello"


def test_a_broken_answer_with_a_shape_is_shown_before_one_with_none():
    assert best("hello", CHAIN + "\n[3, 7").text == CHAIN + "\n[3, 7"


def test_a_shape_that_points_to_itself_is_neither_broken_nor_a_flaw():
    chosen = best(row([1], [1]))
    assert (chosen.votes, chosen.remarks) == (1, ())


def test_looks_do_not_part_a_graph_but_the_most_frequent_look_wins_if_the_style_is_fixed():
    white, black = row([1], []), row([1], []).replace("(255, 255, 255)", "(9, 9, 9)")
    assert (best(FORK, white, black, black).text, best(FORK, white, black, black).votes) == (black, 3)
    assert best(FORK, white, black, black, style_fixed=False).text == white


def test_two_numberings_of_one_graph_agree_only_if_the_order_is_free():
    other_way = "\n".join(row([], [0]).split("\n"))
    assert best(FORK, row([1], []), other_way).text == FORK
    assert best(FORK, row([1], []), other_way, order_fixed=False).text == row([1], [])


def test_the_best_different_answers_show_each_graph_once_before_any_second_drawing():
    candidates = ranked([Answer(text) for text in (CHAIN, CHAIN, LOWER_CHAIN, FORK, "nothing")])
    assert [c.text for c in best_different(candidates, 3)] == [CHAIN, FORK, "nothing"]
    assert [c.text for c in best_different(candidates, 9)] == [CHAIN, FORK, "nothing", LOWER_CHAIN]


def test_remarks_name_what_is_wrong_in_words():
    (candidate,) = ranked([Answer(OVERLAPPING + "\n[3, 7", ended=False)])
    assert candidate.remarks == ("did not end", "lines that cannot be read", "overlapping shapes")


def test_the_label_that_most_answers_have_wins():
    def labelled(label):
        return f"[0, {label!r}, 100, 300, 'circle', 90, 40, 'solid arrow', (255, 228, 196), (0, 0, 0), []]"

    best, *_ = ranked([Answer(labelled(label)) for label in ("sails", "Sales", "sales", "sales ")])
    assert best.diagram.nodes[0].label == "Sales" and (best.votes, best.remarks) == (3, ())


def test_a_label_that_does_not_fit_is_a_flaw():
    text = "[0, 'a label of many words', 100, 300, 'circle', 40, 40, 'solid arrow', (255, 228, 196), (0, 0, 0), []]"
    (candidate,) = ranked([Answer(text)])
    assert (candidate.remarks, candidate.untidiness) == (("labels that do not fit their shapes",), 1)
