"""A trainer's history in the log: final figures, the table of steps, and the line of progress."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tuning.run.log import TrainingLog
from fine_tuning.training.history import (
    TABLE_ROWS,
    preference_figures,
    progress_line,
    record,
    thin_out,
    training_figures,
)


def history(first: int, last: int) -> list[dict[str, float]]:
    """Steps of 0.5 s, in epochs of two steps, up to `last`. The last start did the steps after `first`."""
    losses = [{"step": step, "loss": 1.0 / step} for step in range(1, last + 1)]
    evaluations = [{"step": step, "eval_loss": 0.1 * step, "eval_runtime": 3.0} for step in range(0, last + 1, 2)]
    entries = sorted([*losses, *evaluations], key=lambda entry: (entry["step"], "eval_loss" in entry))
    waits = 3.0 * sum(e["step"] > first or not first for e in evaluations)
    return [*entries, {"step": last, "train_runtime": 0.5 * (last - first) + waits}]


@pytest.mark.parametrize(
    "first",
    [0, 1, 2, 3],
    ids=["uninterrupted", "continued within an epoch", "continued after an epoch", "continued near the end"],
)
def test_the_speed_counts_steps_since_the_last_start_and_no_validation(first):
    figures = training_figures(history(first, 4), epochs=2, tokens=4000, steps=4 - first)
    assert figures["seconds per training step"] == 0.5 and figures["training tokens per second"] == 2000
    assert figures["training steps"] == 4 and figures["validation loss"] == 0.4
    assert figures["final average training loss"] == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4, abs=1e-5)
    assert figures["training loss in the last epoch"] == pytest.approx((1 / 3 + 1 / 4) / 2, abs=1e-5)


def test_without_steps_since_the_last_start_there_is_no_speed():
    assert "seconds per training step" not in training_figures(history(4, 4), epochs=2, tokens=4000, steps=0)


def test_chosen_preferred_is_shown_before_the_first_step_and_after_the_last():
    shares = {0: 0.25, 2: 0.5, 4: 0.75}
    entries = [
        {"step": step, "epoch": step / 2, "eval_loss": 1.0, "eval_chosen_preferred": share}
        for step, share in shares.items()
    ]
    assert preference_figures(entries) == {"chosen preferred before": 0.25, "chosen preferred after": 0.75}
    assert preference_figures([]) == {}


@given(st.integers(0, 500))
def test_a_long_history_is_reduced_to_means_over_all_its_steps(steps):
    history = [{"step": step, "epoch": step / 7, "loss": float(step)} for step in range(1, steps + 1)]
    rows = thin_out(history)
    assert len(rows) <= TABLE_ROWS
    assert [row["step"] for row in rows] == sorted({row["step"] for row in rows})
    starts = [0, *(row["step"] for row in rows)]
    assert starts[-1] == steps
    for before, row in zip(starts, rows, strict=False):
        assert row["loss"] == pytest.approx((before + 1 + row["step"]) / 2)
        assert row["epoch"] == pytest.approx(row["step"] / 7, abs=0.0006)


def test_a_short_history_is_shown_step_by_step():
    history = [{"step": step, "epoch": step / 4, "loss": 1 / step} for step in range(1, TABLE_ROWS + 1)]
    assert thin_out(history) == history


def test_the_progress_shows_the_last_step_and_its_loss():
    steps = [{"step": 1_119, "loss": 0.2}, {"step": 1_120, "loss": 0.08123}, {"step": 1_120, "eval_loss": 9.0}]
    assert progress_line(steps, 2_240) == "Training: step 1,120 of 2,240, loss 0.0812"
    assert progress_line([{"step": 0, "eval_loss": 9.0}], 2_240) == "Training: step 0 of 2,240"


@pytest.mark.parametrize("plot", [True, False])
def test_a_recorded_history_is_in_the_log_and_plotted_only_if_asked(tmp_path, plot):
    log = TrainingLog(tmp_path, "log", "Training")
    steps = [{"step": step, "epoch": step / 2, "loss": 1 / step, "grad_norm": float("inf")} for step in (1, 2, 3)]
    record(log, [*steps, {"step": 3, "epoch": 1.5, "eval_loss": 0.4}], plot)
    log.write()
    stored = json.loads((tmp_path / "log.json").read_text("utf-8"))
    assert [row["loss"] for row in stored["history"]] == [1, 1 / 2, 1 / 3]
    assert stored["history"][0]["gradient norm"] is None
    assert stored["Loss by epoch"] == [
        {"epoch": 1.5, "step": 3, "training loss": pytest.approx(11 / 18), "validation loss": 0.4}
    ]
    assert len(stored["Loss by step"]) == 3 and (tmp_path / "log_loss.png").exists() == plot
