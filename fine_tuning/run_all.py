"""Run all three steps in order: supervised fine-tuning, sampling, ORPO. Each step gets the same flags.

    python fine_tuning/run_all.py                                     the real model, on a CUDA GPU
    python fine_tuning/run_all.py --model embedded --workspace demo   a small model, on two CPU cores, in minutes

Stops at the first step that fails. You can stop it at any time. The same command continues.
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

from fine_tuning.common import run
from fine_tuning.data.orpo_csv import read_references
from fine_tuning.data.sft_csv import read_sft_rows
from fine_tuning.run.command_line import parse_options
from fine_tuning.run.commands import (
    COMMAND,
    COMMAND_ONCE_RESTARTED,
    STEPS,
    flags,
    is_console_command,
    program,
    program_of,
    stop_suggesting_restart,
)
from fine_tuning.run.entry_point import INTERRUPTS, interrupted
from fine_tuning.run.errors import Checks, UserError
from fine_tuning.run.model_check import check_model
from fine_tuning.run.options import Options
from fine_tuning.run.processes import processes
from fine_tuning.run.report_to import check_report_to


def main() -> None:
    start = time.perf_counter()
    refuse_several_processes()
    check(parse_options(__doc__))
    figures = {}
    os.environ |= {"PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"}
    for number, step in enumerate(STEPS, start=1):
        print(f"step {number} of {len(STEPS)}: {step}", flush=True)
        os.environ[COMMAND], os.environ[COMMAND_ONCE_RESTARTED] = commands_to_continue(number)
        last = ""
        with subprocess.Popen(
            [*command_of(step), *flags()], stdout=subprocess.PIPE, text=True, encoding="utf-8"
        ) as process:
            pass_interrupts_to(process)
            for last in process.stdout or ():
                if not last.startswith("{"):
                    print(f"  {last}", end="", flush=True)
        if process.returncode:
            raise SystemExit(process.returncode if process.returncode > 0 else 128 - process.returncode)
        figures[step] = json.loads(last)
    figures["wall seconds"] = round(time.perf_counter() - start, 1)
    print(json.dumps(figures))


def refuse_several_processes() -> None:
    """Raise UserError if a launcher has started several processes: it must start each step itself."""
    if processes().are_several:
        commands = " && ".join(shlex.join([*program_of(step), *flags()]) for step in STEPS)
        raise UserError(f"a launcher cannot start the steps through {program()[-1]}. Start them one by one: {commands}")


def check(options: Options) -> None:
    """Raise UserError with everything that a step would refuse, perhaps hours later."""
    checks = Checks()
    for problems_of in (read_sft_rows, read_references, check_model):
        with checks:
            problems_of(options)
    with checks:
        check_report_to(options.report_to)
    with checks:
        options.workspace.check()
    checks.finish()


def command_of(step: str) -> list[str]:
    """The words that start a step: the console command if the user used it, else Python and the script's path."""
    if is_console_command():
        return [sys.argv[0], *program_of(step)[1:]]
    return [sys.executable, str(Path(__file__).with_name(f"{step}.py"))]


def commands_to_continue(number: int) -> tuple[str, str]:
    """The commands that continue after a stop in step `number`: while it still has an earlier run, and afterwards.

    Without --restart, this is the command that the user typed. With --restart, it lists the steps that are left: the
    typed command would repeat finished steps, and without the flag it would be refused, because the later steps still
    have runs with other settings.
    """
    typed = shlex.join([*program(), *flags()])
    if "--restart" not in flags():
        return typed, typed
    kept = [flag for flag in flags() if flag != "--restart"]
    this, *others = (shlex.join([*program_of(step), *kept]) for step in STEPS[number - 1 :])
    others = [f"{command} --restart" for command in others]
    before = typed if number == 1 else " && ".join([f"{this} --restart", *others])
    return before, " && ".join([this, *others])


def pass_interrupts_to(process: subprocess.Popen[str]) -> None:
    """Pass Ctrl-C and SIGTERM on to a step. It prints how to continue, and this program ends with its exit status."""

    def pass_on(number: int, frame: FrameType | None) -> None:
        status = process.poll()
        if status is None:
            process.send_signal(number)
        elif status == 0:  # this step has finished and the next one has not begun
            stop_suggesting_restart()
            interrupted(number, frame)

    for number in INTERRUPTS:
        signal.signal(number, pass_on)


if __name__ == "__main__":
    run(main)
