"""All three steps in order, with the flags given: supervised fine-tuning, sampling, ORPO.

    python fine_tuning/run_all.py                                     the real model, on a CUDA GPU
    python fine_tuning/run_all.py --model embedded --workspace demo   a small model, on two CPU cores, in minutes

Stops at the first step that fails. Started again, it goes on where it was stopped.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from fine_tuning.endings import COMMAND, INTERRUPTS, interrupted, run
from fine_tuning.options import parse_options

STEPS = ("sft_fine_tuning", "orpo_create_dataset", "orpo_fine_tuning")


def main() -> None:
    parse_options(__doc__)
    start = time.perf_counter()
    figures = {}
    environment = os.environ | {"PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"}
    typed = ["python", *sys.argv]
    for number, step in enumerate(STEPS, start=1):
        print(f"step {number} of {len(STEPS)}: {step}", flush=True)
        command = [sys.executable, str(Path(__file__).with_name(f"{step}.py")), *sys.argv[1:]]
        environment[COMMAND] = shlex.join(typed)  # what a step that is stopped names as the way to go on
        last = ""
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8", env=environment) as process:
            pass_interrupts_to(process)
            for last in process.stdout:
                if not last.startswith("{"):
                    print(f"  {last}", end="", flush=True)
        if process.returncode:
            raise SystemExit(process.returncode if process.returncode > 0 else 128 - process.returncode)
        figures[step] = json.loads(last)
        typed = [word for word in typed if word != "--restart"]  # it would do the finished step again
    figures["wall seconds"] = round(time.perf_counter() - start, 1)
    print(json.dumps(figures))


def pass_interrupts_to(process: subprocess.Popen) -> None:
    """Let a step end by itself and say how to go on; its exit status then ends this program too."""

    def pass_on(number: int, frame: FrameType | None) -> None:
        status = process.poll()
        if status is None:
            process.send_signal(number)
        elif status == 0:  # the next one has not begun yet
            interrupted(number, frame)

    for number in INTERRUPTS:
        signal.signal(number, pass_on)


if __name__ == "__main__":
    run(main)
