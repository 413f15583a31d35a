"""Run a script's `main`: print its errors and end with the right exit status.

Everything on disk is safe against a kill, so an interrupt can end the process at any point.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterable
from types import FrameType
from typing import NoReturn

from fine_tuning.run.commands import continue_command
from fine_tuning.run.errors import UserError, explain

INTERRUPTS = (signal.SIGINT, signal.SIGTERM)


def run(main: Callable[[], None]) -> None:
    """Run `main`. Print errors of the user or the machine as messages; only a bug shows a traceback.

    Exit status: 2 if the user has to do something, 130 after Ctrl-C, 143 after SIGTERM, 141 if the output pipe is
    closed.
    """
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    for number in INTERRUPTS:
        signal.signal(number, interrupted)
    try:
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


def fail(problems: Iterable[str]) -> NoReturn:
    """Print every problem on its own line and exit with status 2."""
    print(_below_bars() + "\n".join(f"error: {one_line(problem)}" for problem in problems), file=sys.stderr)
    raise SystemExit(2)


def interrupted(number: int, _: FrameType | None) -> NoReturn:
    """Signal handler: print how to continue, and end at once. No library can delay it, no file is half-written."""
    for other in INTERRUPTS:
        signal.signal(other, signal.SIG_IGN)
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
