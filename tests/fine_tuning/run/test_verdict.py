"""The verdict that opens a log: the figures of a run in a few plain lines."""

import time

import pytest

from fine_tuning.run.verdict import sampling_verdict, training_verdict, wall_time

TRAINING = {
    "training steps": 2240,
    "final average training loss": 0.0623,
    "training loss in the last epoch": 0.00166,
    "validation loss": 0.00461,
    "training tokens per second": 1299.8,
    "validation prompts": 140,
    "validation score": 0.9921,
    "validation ended by itself": 1.0,
    "peak memory MiB": 691,
    "wall seconds": 356.7,
}
BEFORE = {
    "chosen preferred before": 0.9757,
    "chosen preferred after": 0.979,
    "validation score before": 0.9475,
    "validation ended by itself before": 0.9964,
}
SAMPLING = {
    "rows": 800,
    "samples": 600,
    "mean score": 0.4375,
    "flawless samples": 0.165,
    "different answers": 0.955,
    "ended by itself": 0.9983,
    "peak memory MiB": 11_468,
    "wall seconds": 182.9,
}


def test_the_verdict_on_a_training():
    assert training_verdict(TRAINING).lines == [
        "Final average training loss: 0.0623 over 2,240 steps, 0.00166 in the last epoch",
        "Validation loss: 0.00461",
        "Score on 140 held-out prompts (1 is flawless): 0.9921",
        "Answers that ended by themselves: 100 %",
        "Time: 5 min 57 s; peak memory: 691 MiB",
    ]


def test_the_loss_of_a_single_epoch_is_said_once():
    verdict = training_verdict(TRAINING | {"training loss in the last epoch": 0.0623})
    assert verdict.lines[0] == "Final average training loss: 0.0623 over 2,240 steps"
    assert "final average training loss" in verdict.in_other_tables


def test_the_verdict_on_orpo_compares_with_the_model_before():
    assert training_verdict(TRAINING | BEFORE).lines[1:4] == [
        "Validation loss: 0.00461; chosen answer preferred in 97.57 % of pairs before, 97.9 % after",
        "Score on 140 held-out prompts (1 is flawless): 0.9475 before, 0.9921 after",
        "Answers that ended by themselves: 99.64 % before, 100 % after",
    ]


def test_a_verdict_leaves_out_what_was_not_measured():
    measured = {name: value for name, value in TRAINING.items() if not name.startswith("validation")}
    assert [line.split(":")[0] for line in training_verdict(measured).lines] == ["Final average training loss", "Time"]


def test_the_verdict_on_the_samples():
    assert sampling_verdict(SAMPLING).lines == [
        "Samples: 600; the CSV now holds 800 rows",
        "Mean score: 0.4375 (1 is flawless); flawless samples: 16.5 %",
        "Samples that ended by themselves: 99.83 %",
        "Time: 3 min 3 s; peak memory: 11.2 GiB",
    ]


def test_figures_that_other_tables_show_are_named():
    named = training_verdict(TRAINING | BEFORE).in_other_tables
    assert named == {
        name
        for name in TRAINING | BEFORE
        if name.startswith(("validation", "chosen")) or name in ("training steps", "training loss in the last epoch")
    }
    assert sampling_verdict(SAMPLING).in_other_tables == {"rows"}


@pytest.mark.parametrize(
    ("seconds", "text"), [(42.34, "42.3 s"), (59.7, "1 min 0 s"), (3599.6, "1 h 0 min"), (24_660.0, "6 h 51 min")]
)
def test_a_time_is_shown_in_suitable_units(seconds, text):
    assert training_verdict(TRAINING | {"wall seconds": seconds}).lines[-1].startswith(f"Time: {text};")


def test_the_time_of_a_continued_run_counts_from_its_last_start():
    start = time.perf_counter() - 5
    assert wall_time(start, continues=False) == {"wall seconds": pytest.approx(5, abs=1)}
    figures = {name: value for name, value in TRAINING.items() if name != "wall seconds"}
    figures |= wall_time(start, continues=True)
    assert "s since the last start; peak memory" in training_verdict(figures).lines[-1]
