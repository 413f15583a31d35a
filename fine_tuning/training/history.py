"""Turn a trainer's history into tables for the log, a line of progress, and the final figures."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fine_tuning.run.log import TrainingLog
from fine_tuning.run.plots import loss_plot

TABLE_ROWS = 40  # at most, in the markdown log; the JSON file holds every step

# The figures of a training step: name in the log, name in the trainer's history.
STEP_FIGURES = {
    "loss": "loss",
    "gradient norm": "grad_norm",
    "learning rate": "learning_rate",
    "token accuracy": "mean_token_accuracy",
    "NLL": "nll",
    "log odds ratio": "log_odds_ratio",
    "chosen preferred": "chosen_preferred",
}


def steps_of(history: Sequence[Mapping[str, float]]) -> list[dict[str, float | None]]:
    """A row for each training step, under the log's names. None replaces a value that is not finite."""
    return [
        {
            "step": entry["step"],
            "epoch": entry["epoch"],
            **{name: _finite(entry[key]) for name, key in STEP_FIGURES.items() if key in entry},
        }
        for entry in history
        if "loss" in entry
    ]


def epochs_of(history: Sequence[Mapping[str, float]]) -> list[dict[str, float | None]]:
    """A row for each validation, with the mean training loss since the previous validation."""
    rows = []
    since = 0.0
    for entry in history:
        if "eval_loss" not in entry:
            continue
        losses = [e["loss"] for e in history if "loss" in e and since < e["step"] <= entry["step"]]
        row: dict[str, float | None] = {"epoch": round(entry["epoch"], 2), "step": entry["step"]}
        if losses:
            row["training loss"] = sum(losses) / len(losses)
        row["validation loss"] = _finite(entry["eval_loss"])
        for name, key in STEP_FIGURES.items():
            if name != "loss" and f"eval_{key}" in entry:
                row[f"validation {name}"] = _finite(entry[f"eval_{key}"])
        rows.append(row)
        since = entry["step"]
    return rows


def thin_out(steps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Reduce many steps to at most TABLE_ROWS rows. Each row is the mean over the steps since the previous row."""
    size = max(1, -(-len(steps) // TABLE_ROWS))
    rows = []
    for start in range(0, len(steps), size):
        chunk = steps[start : start + size]
        row = {"step": chunk[-1]["step"], "epoch": round(chunk[-1]["epoch"], 3)}
        for name in chunk[0]:
            if name not in row:
                values = [entry[name] for entry in chunk if entry[name] is not None]
                row[name] = sum(values) / len(values) if values else None
        rows.append(row)
    return rows


def record(log: TrainingLog, history: Sequence[Mapping[str, float]], plot: bool = True) -> None:
    """Add a trainer's history to the log: a table of epochs, a table of steps and, if `plot`, the loss plot."""
    log.history = steps_of(history)
    log.set("Loss by epoch", epochs_of(history))
    log.set("Loss by step", thin_out(log.history))
    if log.history and plot:
        log.plot(loss_plot(log.history, epochs_of(history), log.title), "loss")


def progress_line(history: Sequence[Mapping[str, Any]], total: int) -> str:
    """The progress of a training of `total` steps, for the log's first line."""
    last = next((entry for entry in reversed(history) if "loss" in entry), None)
    if last is None:
        return f"Training: step 0 of {total:,}"
    return f"Training: step {last['step']:,} of {total:,}, loss {last['loss']:.3g}"


def training_figures(history: Sequence[Mapping[str, float]], epochs: int, tokens: int, steps: int) -> dict[str, float]:
    """The final figures of a training. It may have been interrupted and continued.

    The final average training loss is the mean over all steps. `tokens` is the number of training tokens in all epochs,
    `steps` the number of steps since the last start. The speed is measured over these steps, with the time for
    checkpoints and without that for validation. Without such steps there is no speed.
    """
    losses = [entry["loss"] for entry in history if "loss" in entry]
    last_epoch = losses[-max(1, round(len(losses) / epochs)) :]
    evaluations = [entry["eval_loss"] for entry in history if "eval_loss" in entry]
    seconds = next((entry["train_runtime"] for entry in reversed(history) if "train_runtime" in entry), None)
    figures: dict[str, Any] = {
        "training steps": len(losses),
        "final average training loss": round(sum(losses) / len(losses), 5),
        "training loss in the last epoch": round(sum(last_epoch) / len(last_epoch), 5),
    }
    if evaluations:
        figures["validation loss"] = round(evaluations[-1], 5)
    if seconds and steps:
        first = len(losses) - steps
        seconds -= sum(entry.get("eval_runtime", 0.0) for entry in history if not first or entry["step"] > first)
        figures["seconds per training step"] = round(seconds / steps, 4)
        figures["training tokens per second"] = round(tokens * steps / len(losses) / seconds, 1)
    return figures


def preference_figures(history: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The share of validation pairs in which the chosen answer is preferred, before and after training."""
    shares = [entry["eval_chosen_preferred"] for entry in history if "eval_chosen_preferred" in entry]
    if not shares:
        return {}
    return {"chosen preferred before": round(shares[0], 4), "chosen preferred after": round(shares[-1], 4)}


def _finite(value: float) -> float | None:
    """The value, or None if it is infinite or NaN, which JSON cannot hold."""
    return value if math.isfinite(value) else None
