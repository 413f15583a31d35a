"""The reporter stops a training whose loss or gradient is not finite."""

import math
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from fine_tuning.run.log import TrainingLog
from fine_tuning.training.reporter import OVERFLOWS, NotFinite, Reporter


@pytest.mark.parametrize(
    ("is_float16", "gradients", "message"),
    [
        (True, [math.inf] * (OVERFLOWS - 1) + [1.0] + [math.inf] * (OVERFLOWS - 1), None),
        (True, [math.inf] * OVERFLOWS, "overflowed"),
        (True, [math.nan] * OVERFLOWS, "overflowed"),
        (False, [math.inf], "the gradient is inf"),
    ],
)
def test_float16_may_overflow_sometimes_but_not_in_every_step(tmp_path, is_float16, gradients, message):
    reporter = Reporter(TrainingLog(tmp_path, "log", "training"), "training")
    state = SimpleNamespace(global_step=0, max_steps=len(gradients), log_history=[])
    arguments = SimpleNamespace(fp16=is_float16)
    reporter.on_train_begin(arguments, state, None)
    with pytest.raises(NotFinite, match=message) if message else nullcontext():
        for step, gradient in enumerate(gradients, start=1):
            state.log_history.append({"step": step, "epoch": 1.0, "loss": 0.1, "grad_norm": gradient})
            reporter.on_log(arguments, state, None)
