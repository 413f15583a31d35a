"""The final figures of a training, from a trainer's history."""

import pytest

from fine_tuning.training.history import preference_figures, training_figures


def history(first: int, last: int) -> list[dict[str, float]]:
    """Four steps of 0.5 s, in epochs of two, as left by a start that did the steps after `first` up to `last`."""
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
def test_the_speed_counts_the_steps_since_the_last_start_without_validation(first):
    figures = training_figures(history(first, 4), epochs=2, tokens=4000, steps=4 - first)
    assert figures["seconds per training step"] == 0.5 and figures["training tokens per second"] == 2000
    assert figures["training steps"] == 4 and figures["validation loss"] == 0.4
    assert figures["final average training loss"] == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4, abs=1e-5)
    assert figures["training loss in the last epoch"] == pytest.approx((1 / 3 + 1 / 4) / 2, abs=1e-5)


def test_a_start_with_no_steps_left_has_no_speed():
    assert "seconds per training step" not in training_figures(history(4, 4), epochs=2, tokens=4000, steps=0)


def test_the_share_of_preferred_answers_is_that_before_the_first_step_and_after_the_last():
    shares = {0: 0.25, 2: 0.5, 4: 0.75}
    entries = [
        {"step": step, "epoch": step / 2, "eval_loss": 1.0, "eval_chosen_preferred": share}
        for step, share in shares.items()
    ]
    assert preference_figures(entries) == {"chosen preferred before": 0.25, "chosen preferred after": 0.75}
    assert preference_figures([]) == {}
