"""Rows of a static cache: each has its own place, idle ones do no harm, and the cache has the size that is planned."""

import pytest
import torch

from fine_tuning.sampling.batches import Task
from fine_tuning.sampling.generation import cache_bytes_per_token
from fine_tuning.sampling.rows import Rows, read_prompts

PROMPTS = [[0, 9, 8, 7, 6], [0, 5, 4], [0, 11, 12, 13]]


@pytest.fixture(scope="module")
def read(model):
    return read_prompts(model, PROMPTS)


@pytest.fixture
def rows(model, read):
    """Four rows; the first and the third have a task."""
    rows = Rows(model, [1], read[0], size=4, length=32, most_new=16)
    rows.begin(1.0, False)
    for row, k in ((0, 0), (2, 1)):
        rows.admit([row], [k], [Task(PROMPTS[k], 10)], read[k], seed=1)
    rows.keeps_scores = True
    return rows


def step(rows, count=4, length=32):
    with torch.inference_mode():
        rows.step(count, length, False)
    rows.advance(1)


def test_prompts_read_together_are_read_as_alone(model, read):
    for prompt, together in zip(PROMPTS, read, strict=True):
        (alone,) = read_prompts(model, [prompt])
        assert torch.allclose(together.scores, alone.scores, atol=1e-4)
        assert [keys.shape for keys, _ in together.layers] == [keys.shape for keys, _ in alone.layers]
        assert all(torch.allclose(a[1], b[1], atol=1e-4) for a, b in zip(together.layers, alone.layers, strict=True))


def test_each_row_sees_its_own_tokens_and_nothing_else(model, rows):
    for _ in range(3):
        before = [rows.answers[row, : rows.counts[row]].tolist() for row in (0, 2)]
        step(rows)
        for row, k, answer in zip((0, 2), (0, 1), before, strict=True):
            with torch.inference_mode():
                expected = model(torch.tensor([[*PROMPTS[k], *answer]])).logits[0, -1]
            assert torch.allclose(rows.scores[row], expected, atol=1e-4)


def test_a_row_without_a_task_gives_numbers_and_not_nan(rows):
    step(rows)
    assert rows.scores.isfinite().all()
    assert rows.counts[1] == rows.places[1] == 0  # and it stays where it is


def test_a_place_that_was_used_before_leaves_no_trace(model, read, rows):
    for _ in range(6):
        step(rows)
    rows.begin(1.0, False)
    rows.admit([0], [0], [Task(PROMPTS[1], 10)], read[1], seed=1)  # a shorter prompt than the one before
    first = rows.answers[0, :1].tolist()
    step(rows)
    with torch.inference_mode():
        expected = model(torch.tensor([[*PROMPTS[1], *first]])).logits[0, -1]
    assert torch.allclose(rows.scores[0], expected, atol=1e-4)


def test_rows_that_are_moved_together_go_on_as_before(model, read, rows):
    other = Rows(model, [1], read[0], size=4, length=32, most_new=16)
    other.begin(1.0, False)
    for row, k in ((0, 0), (3, 1)):
        other.admit([row], [k], [Task(PROMPTS[k], 10)], read[k], seed=1)
    step(rows)
    step(other)
    other.gather_in(2)
    assert other.tasks == [0, 1, None, None]
    found = []
    for decoded, count in ((rows, 4), (other, 2)):
        found.append({})
        while decoded.active:
            step(decoded, count)
            found[-1] |= dict(decoded.collect())
    assert found[0] == found[1] and len(found[0]) == 2


def test_the_cache_has_the_bytes_that_are_planned_for_a_token(model, rows):
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in rows.cache.rows)
    assert held == cache_bytes_per_token(model) * rows.size * rows.length
