"""Say after the first steps how long a training will take on this machine."""

import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

WARM_UP, TRIAL = 2, 10  # steps that are not timed, and steps that are


class TimeEstimate(TrainerCallback):
    """Prints one line, by `say`, when TRIAL steps have been timed.

    `captured` returns the number of CUDA graphs so far and the seconds that they took, `buckets` how many there can be.
    Capturing is counted apart: the first steps are the ones that capture.
    """

    def __init__(
        self, title: str, say: Callable[[str], Any], captured: Callable[[], tuple[int, float]], buckets: int = 0
    ) -> None:
        self._title, self._say, self._captured, self._buckets = title, say, captured, buckets
        self._first = 0
        self._start = self._before = 0.0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._first = state.global_step

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        done = state.global_step - self._first
        if done not in (WARM_UP, WARM_UP + TRIAL):
            return
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        graphs, capturing = self._captured()
        if done == WARM_UP:
            self._start, self._before = time.perf_counter(), capturing
            return
        step = (time.perf_counter() - self._start - (capturing - self._before)) / TRIAL
        to_capture = capturing / graphs * max(0, self._buckets - graphs) if graphs else 0.0
        left = state.max_steps - state.global_step
        self._say(
            f"{self._title}: {step:.2g} s a step, so the {left:,} steps that are left take about "
            f"{duration(step * left + to_capture)} on this machine, and validation takes some more"
        )


def duration(seconds: float) -> str:
    """A number of seconds as seconds, minutes or hours."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"
