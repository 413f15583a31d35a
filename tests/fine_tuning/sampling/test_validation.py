"""The figures of a validation."""

import pytest

from diagram import score_diagram
from fine_tuning.data.csv_rows import Row
from fine_tuning.sampling.generation import Answer
from fine_tuning.sampling.validation import Validation, validate

REFERENCE = (
    "[0, 100, 300, 'circle', 80, 80, 'solid arrow', (255, 228, 196), (0, 0, 0), [1]]\n"
    "[1, 400, 300, 'rectangle', 80, 80, 'solid arrow', (255, 228, 196), (0, 0, 0), []]"
)
SHARES = (
    "well-formed answers",
    "graph exactly right",
    "layout flawless",
    "layout flawless and complete",
    "flawless answers",
)


def validation_of(*answers: Answer) -> Validation:
    row = Row("draw it", REFERENCE, 1.0, "diagram", {})
    scores = [score_diagram(answer.text, REFERENCE) for answer in answers]
    return Validation([row] * len(answers), answers, scores, seconds=2.0)


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        (REFERENCE, (1, 1, 1, 1, 1)),
        (f"{REFERENCE}\n[2, broken]", (0, 0, 0, 0, 0)),  # all shapes are there, and readable, but so is a broken line
        (REFERENCE.replace("[1]]", "[]]"), (1, 0, 1, 0, 0)),
        (REFERENCE.replace("400", "150"), (1, 1, 0, 0, 0)),
        (REFERENCE.replace("(255", "(0"), (1, 1, 1, 1, 0)),
        ("", (0, 0, 0, 0, 0)),
    ],
    ids=["flawless", "a broken line", "no connection", "an overlap", "other colours", "nothing"],
)
def test_an_answer_counts_in_the_right_shares(text, shares):
    figures = validation_of(Answer(text, tokens=9, ended=True)).figures()
    assert tuple(figures[name] for name in SHARES) == shares


def test_figures_are_means_over_all_answers():
    figures = validation_of(Answer(REFERENCE, tokens=60, ended=True), Answer("", tokens=20, ended=False)).figures()
    assert (figures["prompts"], figures["score"], figures["ended by itself"]) == (2, 0.5, 0.5)
    assert (figures["tokens per answer"], figures["tokens per second"]) == (40, 40)


def test_labels_have_figures_only_where_references_have_them():
    labelled = REFERENCE.replace("[0,", "[0, 'in',").replace("[1,", "[1, 'out',")
    answer = Answer(labelled.replace("'out'", "'our'"), tokens=9, ended=True)
    row = Row("draw it", labelled, 1.0, "diagram", {})
    other = Row("draw another", REFERENCE, 1.0, "diagram", {})
    scores = [score_diagram(answer.text, row.answer) for row in (row, other)]
    figures = Validation([row, other], [answer, answer], scores, seconds=2.0).figures()
    assert (figures["labels right"], figures["graph exactly right"], figures["fits"]) == (0.5, 1, 1)
    assert figures["labels"] == pytest.approx(5 / 6, abs=1e-4)
    assert not {"labels", "labels right", "fits"} & validation_of(answer).figures().keys()


class Echo:
    """Stands for a decoder of `threads` threads: an answer is its limit of tokens."""

    batch_size = 2

    def __init__(self, tokenizer, threads):
        self.tokenizer, self.threads, self.limits = tokenizer, threads, []

    def answer_batches(self, batches, temperature, seed):
        for batch in batches:
            self.limits.append(max(task.limit for task in batch))
            yield [Answer(str(task.limit), ended=True, tokens=1) for task in batch]


def test_the_longest_batch_comes_last_or_where_batches_are_answered_side_by_side_first(tokenizer):
    circle = "[{}, 100, 300, 'circle', 80, 80, 'solid arrow', (255, 228, 196), (0, 0, 0), []]"
    rows = [Row(f"draw {k}", "\n".join(map(circle.format, range(k))), 1.0, "diagram", {}) for k in (3, 1, 5, 2, 4)]
    alone, beside = Echo(tokenizer, 1), Echo(tokenizer, 2)
    answers = [validate(decoder, rows, 7, "validation").answers for decoder in (alone, beside)]
    assert alone.limits == sorted(alone.limits) == beside.limits[::-1] and len(set(alone.limits)) == 3
    assert answers[0] == answers[1] and len({answer.text for answer in answers[0]}) == 5
