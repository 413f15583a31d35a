"""Show a training's progress, keep its log up to date, and stop it if a loss or a gradient is not finite."""

import math
from collections.abc import Mapping
from typing import Any

from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from fine_tuning.run.log import TrainingLog
from fine_tuning.training.history import progress_line, record

# Overflows in a row that end a float16 run. The loss scale starts at 65,536 and halves at each; then none would help.
OVERFLOWS = 30


class NotFinite(Exception):
    """A loss or a gradient is infinite or NaN. Further steps would only corrupt the weights."""


class ValidationNotFinite(NotFinite):
    """A validation loss is not finite. No training row is the cause."""


class Reporter(TrainerCallback):
    """Draws a progress bar and updates the log while a trainer runs. Raises NotFinite to stop it."""

    def __init__(self, log: TrainingLog, title: str) -> None:
        self.log, self.title = log, title
        self.bar: tqdm | None = None
        self.first_step = 0
        self.overflows = 0  # in a row

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.first_step = state.global_step
        self.bar = tqdm(total=state.max_steps, initial=state.global_step, desc=self.title, unit="step")

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        last = state.log_history[-1]
        if "loss" in last and self.bar is not None:
            self.bar.set_postfix(loss=f"{last['loss']:.4f}", refresh=False)
            self._check_finite(last, args.fp16)
        if not math.isfinite(last.get("eval_loss", 0.0)):
            raise ValidationNotFinite(f"the validation loss is {last['eval_loss']}")
        if self.log.is_due():
            record(self.log, state.log_history, plot="eval_loss" in last)
            self.log.progress(progress_line(state.log_history, state.max_steps))

    def _check_finite(self, last: Mapping[str, float], is_float16: bool) -> None:
        if not math.isfinite(last["loss"]):
            raise NotFinite(f"the loss is {last['loss']}")
        if math.isfinite(last.get("grad_norm", 0.0)):
            self.overflows = 0
            return
        self.overflows += 1
        if not is_float16:
            raise NotFinite(f"the gradient is {last['grad_norm']}")
        # In float16 a gradient overflows occasionally. The loss scaler skips such a step.
        if self.overflows >= OVERFLOWS:
            raise NotFinite(f"the gradient overflowed in {OVERFLOWS} steps in a row; none of them changed the weights")

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self.bar is not None:
            self.bar.close()
