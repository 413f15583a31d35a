"""The benchmark of the vote compares what the greedy answer and the chosen one are worth."""

import pytest
from helpers import Answer

from benchmarks.vote import best_share, figures
from fine_tuning.data.csv_rows import Row

LINE = "[{}, {}, 300, 'circle', 80, 80, 'solid arrow', (255, 255, 255), (0, 0, 0), {}]"
REFERENCE = "\n".join([LINE.format(0, 100, [1]), LINE.format(1, 400, [])])
OVERLAPPING = "\n".join([LINE.format(0, 100, [1]), LINE.format(1, 120, [])])
OTHER_GRAPH = "\n".join([LINE.format(0, 100, []), LINE.format(1, 400, [])])


@pytest.mark.parametrize(
    ("greedy", "sample", "always", "flawless"),
    [
        (REFERENCE, OTHER_GRAPH, True, 0.0),
        (REFERENCE, OTHER_GRAPH, False, 1.0),
        (OVERLAPPING, REFERENCE, True, 1.0),
        (OVERLAPPING, REFERENCE, False, 1.0),
        (OTHER_GRAPH, REFERENCE, True, 1.0),
        (OTHER_GRAPH, REFERENCE, False, 0.0),  # nothing is wrong with it that can be seen without a reference
    ],
)
def test_samples_count_for_every_request_or_only_where_the_greedy_answer_has_a_flaw(greedy, sample, always, flawless):
    rows = [Row("draw", REFERENCE, 1.0, "", {})]
    answers = [[Answer(greedy), Answer(sample), Answer(sample)]]
    assert figures(rows, answers, 2, always)["flawless answers"] == flawless


def test_without_samples_only_the_greedy_answer_counts():
    rows = [Row("draw", REFERENCE, 1.0, "", {})]
    answers = [[Answer(OVERLAPPING), Answer(REFERENCE)]]
    assert figures(rows, answers, 0, always=True)["layout flawless"] == 0
    assert best_share(rows, answers) == 1
