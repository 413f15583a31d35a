"""Samples are drawn for every request, or only where the greedy answer has a flaw, and never too many at once."""

import pytest
from helpers import Answer

from fine_tuning.data.prompt_frame import PromptFrame
from fine_tuning.data.scoring import Scoring
from fine_tuning.sampling import asker as module
from fine_tuning.sampling.asker import Asker

LINE = "[{}, {}, 300, 'circle', 80, 80, 'solid arrow', (255, 255, 255), (0, 0, 0), []]"
GOOD = "\n".join([LINE.format(0, 100), LINE.format(1, 400)])
FLAWED = "\n".join([LINE.format(0, 100), LINE.format(1, 120)])


@pytest.fixture
def calls(monkeypatch):
    """What is generated: the prompts and the number of samples. Prompt [1] has a flawed greedy answer."""
    calls = []

    def several_answers(decoder, prompts, samples, limit, seed, grammar):
        calls.append((list(prompts), samples))
        return [[Answer(FLAWED if prompt == [1] else GOOD), *[Answer(GOOD)] * samples] for prompt in prompts]

    monkeypatch.setattr(module, "several_answers", several_answers)
    return calls


def asker(samples, always, batch_size=8):
    return Asker(None, PromptFrame(), Scoring(), samples, always, batch_size, seed=1)


def test_samples_are_drawn_only_where_the_greedy_answer_has_a_flaw(calls):
    found = asker(samples=3, always=False).candidates([[0], [1], [2]])
    assert calls == [([[0], [1], [2]], 0), ([[1]], 3)]
    assert [candidates[0].text for candidates in found] == [GOOD] * 3
    assert [len(candidates) for candidates in found] == [1, 4, 1]


def test_samples_are_drawn_for_every_request_if_the_user_wants_them(calls):
    found = asker(samples=3, always=True).candidates([[0], [1]])
    assert calls == [([[0], [1]], 3)]
    assert [len(candidates) for candidates in found] == [4, 4]


def test_without_samples_the_greedy_answer_stays_as_it_is(calls):
    (candidates,) = asker(samples=0, always=True).candidates([[1]])
    assert [candidate.text for candidate in candidates] == [FLAWED] and calls == [([[1]], 0)]


def test_no_more_answers_are_generated_at_once_than_the_batch_size(calls):
    prompts = [[1]] * 5
    asker(samples=3, always=False).candidates(prompts)
    assert [(len(batch), samples) for batch, samples in calls] == [(5, 0), (2, 3), (2, 3), (1, 3)]
    calls.clear()
    asker(samples=20, always=True).candidates(prompts)
    assert [(len(batch), samples) for batch, samples in calls] == [(1, 20)] * 5


@pytest.mark.parametrize(("samples", "always", "expected"), [(3, True, 2), (20, True, 1), (3, False, 8)])
def test_requests_are_read_in_lists_that_fill_a_batch(samples, always, expected):
    assert asker(samples, always).requests_at_once == expected
