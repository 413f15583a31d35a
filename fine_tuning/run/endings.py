"""How a run ends before its time: in words, with an exit status, and with the command that goes on.

Everything on disk is safe against a kill, so that an interrupt simply ends the process where it is.
"""

import contextlib
import errno
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import NoReturn

from fine_tuning.run.files import DamagedFile

# In the environment of a step that run_all starts: the command that goes on with all steps, before and after this step
# has thrown its earlier run away.
COMMAND, COMMAND_ONCE_RESTARTED = "TEXT_TO_DIAGRAM_COMMAND", "TEXT_TO_DIAGRAM_COMMAND_ONCE_RESTARTED"
INTERRUPTS = (signal.SIGINT, signal.SIGTERM)

_restart_is_done = False


def run(main: Callable[[], None]) -> None:
    """Run a script's `main`, and turn what is no mistake in the program into a message without a traceback.

    Exit status 130 after Ctrl-C, 143 after SIGTERM, 141 where nobody reads the output any more, 2 where the user has to
    do something.
    """
    sys.stdout.reconfigure(errors="backslashreplace")
    for number in INTERRUPTS:
        signal.signal(number, interrupted)
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered goes nowhere
        raise SystemExit(141) from None
    except DamagedFile as error:
        stop([str(error)])
    except Exception as error:
        told = explain(error)
        if told is None:
            raise
        stop([f"{told}. Then go on: {go_on_command()}"])


def stop(problems: Sequence[str]) -> NoReturn:
    """Print every problem, a line for each, and end with exit status 2."""
    print(_below_bars() + "\n".join(f"error: {one_line(problem)}" for problem in problems), file=sys.stderr)
    raise SystemExit(2)


def explain(error: BaseException) -> str | None:
    """What happened and what helps, where the machine and not the program is at fault; else None."""
    text = str(error)
    if "C compiler" in text or isinstance(error, subprocess.CalledProcessError):  # triton calls one
        return (
            f"a kernel of the GPU could not be compiled ({text.splitlines()[0]}). Install a C compiler and Python's "
            "headers; on Debian and Ubuntu: sudo apt install build-essential python3-dev"
        )
    if isinstance(error, OSError) and error.errno is not None:
        place = error.filename or "writing a file"
        return f"{place}: {os.strerror(error.errno)}. {_remedy(error.errno)}"
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):  # safetensors has errors of its own
        if f"os error {number})" in text:
            return f"writing weights: {os.strerror(number)}. {_remedy(number)}"
    if "PytorchStreamWriter" in text or "inline_container" in text:  # and so has torch
        return f"a checkpoint could not be written. {_remedy(errno.ENOSPC)}"
    if not isinstance(error, RuntimeError | MemoryError):
        return None
    if is_out_of_memory(error):
        return (
            "out of memory. End other programs that use the same memory or, where they are larger now, load the "
            "weights smaller, with --dtype bfloat16 or --load-in-4bit (and --restart, for that changes the run)"
        )
    if any(words in text for words in ("CUDA error", "CUDA driver", "No CUDA GPUs", "cuDNN error")):
        return f"the GPU does not answer any more ({text.splitlines()[0]}). See that nvidia-smi lists it"
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """True where memory ran out, of the machine or of its GPU; CUDA's libraries have words of their own for it."""
    words = ("out of memory", "can't allocate memory", "ALLOC_FAILED")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    )


def _remedy(number: int) -> str:
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "Make room there"
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "Make it readable and writable for you, or take another --workspace"
    return "See that it can be read and written"


def go_on_command() -> str:
    """The command that goes on: what the user typed, without --restart once that is done, or what run_all has named."""
    if COMMAND in os.environ:
        return os.environ[COMMAND_ONCE_RESTARTED if _restart_is_done else COMMAND]
    return shlex.join(word for word in ["python", *sys.argv] if not (_restart_is_done and word == "--restart"))


def restart_command() -> str:
    """The command that throws this step's run away and does the step again; of run_all it would be all steps."""
    return shlex.join(["python", *(word for word in sys.argv if word != "--restart"), "--restart"])


def restart_is_done() -> None:
    """From here on the same command with --restart would throw this run away."""
    global _restart_is_done
    _restart_is_done = True


def one_line(text: str) -> str:
    """Text that a terminal shows on one line and takes no orders from."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def printable(text: str) -> str:
    """The same for text of several lines."""
    return "\n".join(map(one_line, text.split("\n")))


def _below_bars() -> str:
    """A line's end where a progress bar has been drawn on this one."""
    return "\n" if getattr(getattr(sys.modules.get("tqdm"), "tqdm", None), "_instances", ()) else ""


def interrupted(number: int, _: FrameType | None) -> NoReturn:
    """Say how to go on and end at once: no library can hold this up, and nothing is half written that matters."""
    for other in INTERRUPTS:
        signal.signal(other, signal.SIG_IGN)
    line = f"{_below_bars()}stopped. To go on: {one_line(go_on_command())}\n"
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    with contextlib.suppress(OSError):
        os.write(2, line.encode(errors="backslashreplace"))
    os._exit(128 + number)
