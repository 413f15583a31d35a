"""Scoring takes milliseconds, also for the largest answers."""

import ast
import time
from random import Random

import pytest

from diagram import score_diagram
from diagram.language import LINES, MAX_COORDINATE, MAX_LINES, SHAPES


def large(edges: int, place: str) -> str:
    rng = Random(7)
    pairs = rng.sample([(a, b) for a in range(MAX_LINES) for b in range(MAX_LINES) if a != b], edges)
    lines = []
    for k in range(MAX_LINES):
        x, y, size = {
            "apart": (k % 10 * 98 + 50, k // 10 * 58 + 30, 40),
            "together": (k, k, 500),
            "anywhere": (rng.randint(0, 1000), rng.randint(0, 600), rng.randint(20, 90)),
            "far": (-k * 999, MAX_COORDINATE, MAX_COORDINATE - 1),
        }[place]
        look = SHAPES[k % 3], size, size + 1, LINES[k % 2], (k, 0, 0), (0, 0, k)
        lines.append(repr([k, x, y, *look, sorted(end for start, end in pairs if start == k)]))
    return "\n".join(lines)


def renumbered(text: str) -> str:
    """The same shapes, numbered and sorted from the last to the first."""
    nodes = [ast.literal_eval(line) for line in text.split("\n")]
    last = len(nodes) - 1
    return "\n".join(
        repr([last - number, *rest, sorted(last - t for t in targets)]) for number, *rest, targets in reversed(nodes)
    )


@pytest.mark.parametrize(
    ("edges", "place", "seconds"),
    [
        (200, "apart", 0.03),
        (200, "anywhere", 0.03),
        (2_000, "apart", 0.25),
        (2_000, "anywhere", 0.25),
        (2_000, "together", 0.25),
        (2_000, "far", 0.25),
    ],
)
@pytest.mark.parametrize("other", ["the same", "renumbered", "unlike"])
def test_a_hundred_shapes_are_scored_in_30_ms_with_200_connections_and_250_ms_with_2000(edges, place, seconds, other):
    """Measures processor time, because other programs may run at the same time."""
    answer = large(edges, place)
    reference = {"the same": answer, "renumbered": renumbered(answer), "unlike": large(edges + 7, "apart")}[other]
    times = []
    for _ in range(5):
        start = time.process_time()
        score_diagram(answer, reference)
        times.append(time.process_time() - start)
    assert min(times) < seconds
