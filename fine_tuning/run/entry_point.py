"""Run a script's `main`: print its errors and end with the right exit status.

Everything on disk is safe against a kill, so an interrupt can end the process at any point.
"""

import contextlib
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterable
from types import FrameType
from typing import NoReturn

from fine_tuning.run.commands import continue_command, set_launcher
from fine_tuning.run.errors import UserError, explain
from fine_tuning.run.processes import Processes, have_met, processes
from fine_tuning.run.watch import watch

INTERRUPTS = (signal.SIGINT, signal.SIGTERM)

_ending = threading.Lock()  # taken by the thread that ends this process


def run(main: Callable[[], None]) -> None:
    """Run `main`. Print errors of the user or the machine as messages; only a bug shows a traceback.

    Exit status: 2 if the user has to do something, 130 after Ctrl-C, 143 after SIGTERM, 141 if the output pipe is
    closed. Of several processes, the main one alone prints, but for errors: see `fail`.
    """
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    for number in INTERRUPTS:
        signal.signal(number, interrupted)
    try:
        _be_one_of_several()
        main()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # drop what is still buffered
        raise SystemExit(141) from None
    except UserError as error:
        fail(error.problems)
    except Exception as error:
        explanation = explain(error)
        if explanation is None:
            raise
        fail([f"{explanation}. Then continue: {continue_command()}"])


def _be_one_of_several() -> None:
    """One of several processes ends with the others, suggests the launcher, and leaves talking to the main one."""
    here = processes()
    if not here.are_several:
        return
    set_launcher(here.launcher)
    watch(INTERRUPTS, _end)
    if not here.is_main:
        os.environ |= {"TQDM_DISABLE": "1", "TRANSFORMERS_VERBOSITY": "error"}
        warnings.simplefilter("ignore")
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # until this process ends


def fail(problems: Iterable[str]) -> NoReturn:
    """Print every problem on its own line and end with status 2.

    Of several processes, one on each machine prints what all of them have met, and each says its number once it may
    have met something of its own.
    """
    try:
        here = processes()
    except UserError:  # that is the problem
        here = Processes()
    which = ""
    if have_met():
        which = f"process {here.rank}: "
    elif here.local_rank:
        raise SystemExit(2)
    print(_below_bars() + "\n".join(f"error: {which}{one_line(problem)}" for problem in problems), file=sys.stderr)
    if here.are_several:  # an orderly end would wait for the other processes
        sys.stderr.flush()
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(2)
    raise SystemExit(2)


def interrupted(number: int, _: FrameType | None) -> NoReturn:
    """Signal handler: print how to continue, and end at once. No library can delay it, no file is half-written."""
    for other in INTERRUPTS:
        signal.signal(other, signal.SIG_IGN)
    _end(number)


def _end(number: int) -> NoReturn:
    """End at once because of a signal. The main process prints how to continue."""
    if not _ending.acquire(blocking=False):
        threading.Event().wait()  # another thread ends this process
    if processes().is_main:
        line = f"{_below_bars()}stopped. To continue: {one_line(continue_command())}\n"
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        with contextlib.suppress(OSError):
            os.write(2, line.encode(errors="backslashreplace"))
    os._exit(128 + number)


def one_line(text: str) -> str:
    """The text on one line, with control characters escaped, so it cannot control the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def printable(text: str) -> str:
    """`one_line` for each line of a text."""
    return "\n".join(map(one_line, text.split("\n")))


def _below_bars() -> str:
    """A line break if a progress bar is on the current line."""
    return "\n" if getattr(getattr(sys.modules.get("tqdm"), "tqdm", None), "_instances", ()) else ""
