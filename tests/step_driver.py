"""Run all three steps for several models, importing the libraries once: each step is a fork of this process.

    python tests/step_driver.py MODEL WORKSPACE [MODEL WORKSPACE ...]

Prints a JSON object for each model: the exit status of every step that ran, and their last line.
"""

import importlib
import io
import json
import os
import sys
from contextlib import redirect_stdout

from helpers import STEP_1, STEP_2, STEP_3, STEPS

os.environ |= {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}


def main() -> None:
    import_libraries()
    for model, workspace in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
        statuses = []
        for step, script in zip(STEPS, (STEP_1, STEP_2, STEP_3), strict=True):
            statuses.append(run_step(step, [script, "--model", model, "--workspace", workspace]))
            if statuses[-1]:
                break
        print(json.dumps({"model": model, "statuses": statuses}), flush=True)


def import_libraries() -> None:
    for name in ("trl", "datasets", "peft", "fine_tuning.training.orpo_trainer", "fine_tuning.training.sft_trainer"):
        importlib.import_module(name)


def run_step(step: str, argv: list[str]) -> int:
    """Run a step in a fork, as the command does. Returns its exit status."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    sys.argv, status = argv, 1
    try:
        from fine_tuning.run.entry_point import run

        with redirect_stdout(io.TextIOWrapper(io.BytesIO())):
            run(importlib.import_module(f"fine_tuning.{step}").main)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    finally:
        os._exit(status)


if __name__ == "__main__":
    main()
