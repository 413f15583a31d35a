"""After its first steps a training says how long it will take."""

from types import SimpleNamespace

import pytest

from fine_tuning.training import time_estimate
from fine_tuning.training.time_estimate import TRIAL, WARM_UP, TimeEstimate, duration


def lines(monkeypatch, first=0, buckets=0, captures=lambda step: (0, 0.0), steps=1012):
    """What is said in a training whose steps take half a second each, but for what `captures` says."""
    said = []
    state = SimpleNamespace(global_step=first, max_steps=steps)
    estimate = TimeEstimate("SFT", said.append, lambda: captures(state.global_step), buckets)
    estimate.on_train_begin(None, state, None)
    while state.global_step < steps:
        state.global_step += 1
        now = 0.5 * state.global_step + captures(state.global_step)[1]
        monkeypatch.setattr(time_estimate, "time", SimpleNamespace(perf_counter=lambda now=now: now))
        estimate.on_step_end(None, state, None)
    return said


def test_the_time_that_is_left_is_said_once(monkeypatch):
    (line,) = lines(monkeypatch)
    assert line == (
        "SFT: 0.5 s a step, so the 1,000 steps that are left take about 8 min on this machine, and validation takes "
        "some more"
    )


def test_a_continued_training_counts_its_own_steps(monkeypatch):
    (line,) = lines(monkeypatch, first=500)
    assert "the 500 steps that are left take about 4 min" in line


def test_capturing_is_counted_apart(monkeypatch):
    """Six of 30 graphs have taken two seconds each, so the other 24 take 48 s."""
    (line,) = lines(monkeypatch, buckets=30, captures=lambda step: (min(step, 6), 2.0 * min(step, 6)))
    assert "0.5 s a step" in line and f"about {duration(500 + 48)} " in line


def test_a_training_of_few_steps_says_nothing(monkeypatch):
    assert lines(monkeypatch, steps=WARM_UP + TRIAL - 1) == []


@pytest.mark.parametrize(("seconds", "text"), [(8.4, "8 s"), (99, "99 s"), (750, "12 min"), (9000, "2.5 h")])
def test_durations_are_in_the_unit_that_fits(seconds, text):
    assert duration(seconds) == text
