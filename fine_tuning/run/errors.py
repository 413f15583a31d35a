"""The one way to fail: library code raises `UserError`; only the entry point prints it and exits."""

import contextlib
import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType


class UserError(Exception):
    """Problems that the user can mend. Each says what is wrong, where, and what to do."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class DamagedFile(UserError):
    """A file that this project wrote no longer holds what was written."""


class Checks:
    """Collects the problems of several checks, so that one round mends them all:

    checks = Checks()
    with checks:
        rows = read_rows(path)
    with checks:
        check_model(options)
    checks.finish()  # raises one UserError with every problem

    A name that is set inside a `with` is unset after a failed check; use it after `finish`.
    """

    def __init__(self) -> None:
        self.problems: list[str] = []

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if not isinstance(error, UserError):
            return False
        self.problems += error.problems
        return True

    def finish(self) -> None:
        """Raise UserError if any check failed."""
        if self.problems:
            raise UserError(*self.problems)


@contextlib.contextmanager
def about(subject: str | Path) -> Iterator[None]:
    """Put what a problem is about, such as a file or a flag, in front of every problem raised inside."""
    try:
        yield
    except UserError as error:
        raise UserError(*(f"{subject}: {problem}" for problem in error.problems)) from error


def explain(error: BaseException) -> str | None:
    """What happened and what helps if the machine is at fault; None if the program is."""
    text = str(error)
    if "C compiler" in text or isinstance(error, subprocess.CalledProcessError):  # Triton calls one
        return (
            f"a kernel of the GPU could not be compiled ({text.splitlines()[0]}). Install a C compiler and Python's "
            "headers; on Debian and Ubuntu: sudo apt install build-essential python3-dev"
        )
    if isinstance(error, OSError) and error.errno is not None:
        place = error.filename or "writing a file"
        return f"{place}: {os.strerror(error.errno)}. {_remedy(error.errno)}"
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):  # safetensors raises its own errors
        if f"os error {number})" in text:
            return f"writing weights: {os.strerror(number)}. {_remedy(number)}"
    if "PytorchStreamWriter" in text or "inline_container" in text:  # so does torch
        return f"a checkpoint could not be written. {_remedy(errno.ENOSPC)}"
    if not isinstance(error, RuntimeError | MemoryError):
        return None
    if is_out_of_memory(error):
        return (
            "out of memory. Close other programs that use the same memory. If they must stay, load the weights "
            "smaller, with --dtype bfloat16 or --load-in-4bit (and --restart, because that changes the run)"
        )
    if any(words in text for words in ("CUDA error", "CUDA driver", "No CUDA GPUs", "cuDNN error")):
        return f"the GPU no longer answers ({text.splitlines()[0]}). Check that nvidia-smi lists it"
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """True if the memory of the machine or of its GPU ran out. CUDA's libraries have words of their own for it."""
    words = ("out of memory", "can't allocate memory", "ALLOC_FAILED")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    )


def _remedy(number: int) -> str:
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "Make room there"
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "Make it readable and writable for you, or choose another --workspace"
    return "Check that it can be read and written"
