"""The verdict that opens a finished log: the figures a reader wants first, in four or five lines.

Figures are named as in the section "Result" of the log's JSON file.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MIB_PER_GIB = 1024


@dataclass(frozen=True, slots=True)
class Verdict:
    """The lines, and the names of the result's figures that another table of the log shows."""

    lines: list[str]
    in_other_tables: set[str]


def training_verdict(figures: Mapping[str, Any]) -> Verdict:
    """The verdict on supervised fine-tuning or ORPO. Figures that the run did not measure are left out."""
    average, last = figures["final average training loss"], figures["training loss in the last epoch"]
    loss = f"Final average training loss: {average:g} over {figures['training steps']:,} steps"
    lines = [loss if average == last else f"{loss}, {last:g} in the last epoch"]
    validation = []
    if "validation loss" in figures:
        validation.append(f"Validation loss: {figures['validation loss']:g}")
    if "chosen preferred after" in figures:
        before, after = (_percent(figures[f"chosen preferred {when}"]) for when in ("before", "after"))
        validation.append(f"chosen answer preferred in {before} of pairs before, {after} after")
    if validation:
        lines.append("; ".join(validation))
    if "validation score" in figures:
        scores = _before_and_after(figures, "validation score", "{:g}".format)
        lines.append(f"Score on {figures['validation prompts']:,} held-out prompts (1 is flawless): {scores}")
        lines.append(f"Answers that ended by themselves: {_before_and_after(figures, _ENDED, _percent)}")
    lines.append(_cost(figures))
    elsewhere = {"training steps", "training loss in the last epoch"}
    if average == last:  # one epoch, whose loss the table by epoch shows
        elsewhere.add("final average training loss")
    elsewhere |= {name for name in figures if name.startswith("rejected answers ")}
    elsewhere |= {name for name in figures if name.startswith(("validation ", "chosen preferred "))}
    return Verdict(lines, elsewhere)


def stored_verdict(figures: Mapping[str, Any] | None) -> list[str]:
    """The lines of a finished training's verdict; none if an earlier version stored other figures."""
    try:
        return training_verdict(figures or {}).lines
    except (KeyError, TypeError, ValueError):
        return []


def sampling_verdict(figures: Mapping[str, Any]) -> Verdict:
    """The verdict on step 2, the samples of the tuned model."""
    lines = [
        f"Samples: {figures['samples']:,}; the CSV now holds {figures['rows']:,} rows",
        f"Mean score: {figures['mean score']:g} (1 is flawless); flawless samples: "
        f"{_percent(figures['flawless samples'])}",
    ]
    if "ended by itself" in figures:
        lines.append(f"Samples that ended by themselves: {_percent(figures['ended by itself'])}")
    lines.append(_cost(figures))
    return Verdict(lines, {"rows"})


def wall_time(start: float, continues: bool) -> dict[str, float]:
    """The seconds since `start`, a value of `time.perf_counter`, as a figure of the result.

    If the run continues an earlier start, the figure's name says that it is not the time of the whole run.
    """
    return {_SINCE_START if continues else _SECONDS: round(time.perf_counter() - start, 1)}


_SECONDS, _SINCE_START = "wall seconds", "wall seconds since the last start"
_ENDED = "validation ended by itself"


def _before_and_after(figures: Mapping[str, Any], name: str, shown: Any) -> str:
    if f"{name} before" not in figures:
        return shown(figures[name])
    return f"{shown(figures[f'{name} before'])} before, {shown(figures[name])} after"


def _cost(figures: Mapping[str, Any]) -> str:
    is_whole = _SECONDS in figures
    time_taken = _duration(figures[_SECONDS if is_whole else _SINCE_START])
    return f"Time: {time_taken}{'' if is_whole else ' since the last start'}; peak memory: {_memory(figures)}"


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"  # enough digits for shares of four decimals: only 1.0 is shown as 100 %


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _memory(figures: Mapping[str, Any]) -> str:
    mib = figures["peak memory MiB"]
    return f"{mib} MiB" if mib < MIB_PER_GIB else f"{mib / MIB_PER_GIB:.1f} GiB"
