"""The plots of the logs, as matplotlib figures."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure


def loss_plot(history: Sequence[Mapping[str, Any]], evaluations: Sequence[Mapping[str, Any]], title: str) -> Figure:
    """The training loss, of each step and smoothed, and the validation loss after each epoch.

    Both arguments are rows of the log: `history` has a row for each step, with "step" and "loss", `evaluations` one for
    each epoch, with "step" and "validation loss". A loss that was not finite is None.
    """
    figure = Figure(figsize=(9, 4.5), layout="constrained", dpi=110)
    axes = figure.add_subplot()
    known = [entry for entry in history if entry["loss"] is not None]
    steps, losses = [entry["step"] for entry in known], [entry["loss"] for entry in known]
    width = max(1, len(losses) // 50)
    smooth = [sum(losses[max(0, k - width + 1) : k + 1]) / min(width, k + 1) for k in range(len(losses))]
    label = f"mean of {width} steps" if width > 1 else "training"
    axes.plot(steps, losses, color="#bdd7e7", linewidth=0.6, label="each step")
    axes.plot(steps, smooth, color="#2171b5", linewidth=1.6, label=label)
    if evaluations:
        axes.plot(
            [entry["step"] for entry in evaluations],
            [entry["validation loss"] for entry in evaluations],
            "o-", color="#d94801", linewidth=1.6, label="validation",
        )  # fmt: skip
    axes.set(xlabel="step", ylabel="loss", title=title)
    if losses and min(losses) > 0:
        axes.set_yscale("log")
    axes.grid(alpha=0.3, which="both")
    axes.legend(frameon=False)
    return figure


def score_plot(scores: Sequence[float], title: str) -> Figure:
    """A histogram of scores in [0, 1]."""
    figure = Figure(figsize=(9, 4), layout="constrained", dpi=110)
    axes = figure.add_subplot()
    axes.hist(scores, bins=[k / 20 for k in range(21)], color="#6baed6", edgecolor="white")
    axes.set(xlabel="score", ylabel="samples", title=title, xlim=(0, 1))
    axes.grid(alpha=0.3, axis="y")
    return figure
