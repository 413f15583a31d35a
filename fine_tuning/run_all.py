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

from fine_tuning.data.orpo_csv import read_references
from fine_tuning.run.endings import COMMAND, COMMAND_ONCE_RESTARTED, INTERRUPTS, interrupted, restart_is_done, run, stop
from fine_tuning.run.options import parse_options

STEPS = ("sft_fine_tuning", "orpo_create_dataset", "orpo_fine_tuning")


def main() -> None:
    start = time.perf_counter()
    # Step 1 may take hours, and what step 2 would refuse is known before.
    _, _, problems = read_references(parse_options(__doc__))
    if problems:
        stop(problems)
    figures = {}
    os.environ |= {"PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"}
    for number, step in enumerate(STEPS, start=1):
        print(f"step {number} of {len(STEPS)}: {step}", flush=True)
        command = [sys.executable, str(Path(__file__).with_name(f"{step}.py")), *sys.argv[1:]]
        os.environ[COMMAND], os.environ[COMMAND_ONCE_RESTARTED] = ways_on(number)
        last = ""
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8") as process:
            pass_interrupts_to(process)
            for last in process.stdout:
                if not last.startswith("{"):
                    print(f"  {last}", end="", flush=True)
        if process.returncode:
            raise SystemExit(process.returncode if process.returncode > 0 else 128 - process.returncode)
        figures[step] = json.loads(last)
    figures["wall seconds"] = round(time.perf_counter() - start, 1)
    print(json.dumps(figures))


def ways_on(number: int) -> tuple[str, str]:
    """The commands that go on where a step is stopped: before it has thrown an earlier run away, and after that.

    With --restart they are those of the steps that are left: this program's own would do the finished ones again, or
    without the flag leave earlier runs of the others in their way.
    """
    typed = shlex.join(["python", *sys.argv])
    if "--restart" not in sys.argv:
        return typed, typed
    flags = [flag for flag in sys.argv[1:] if flag != "--restart"]
    folder = Path(sys.argv[0]).parent
    left = [["python", str(folder / f"{step}.py"), *flags] for step in STEPS[number - 1 :]]
    this, *others = map(shlex.join, left)
    others = [f"{command} --restart" for command in others]
    before = typed if number == 1 else " && ".join([f"{this} --restart", *others])
    return before, " && ".join([this, *others])


def pass_interrupts_to(process: subprocess.Popen) -> None:
    """Let a step end by itself and say how to go on; its exit status then ends this program too."""

    def pass_on(number: int, frame: FrameType | None) -> None:
        status = process.poll()
        if status is None:
            process.send_signal(number)
        elif status == 0:  # the next one has not begun yet
            restart_is_done()
            interrupted(number, frame)

    for number in INTERRUPTS:
        signal.signal(number, pass_on)


if __name__ == "__main__":
    run(main)
