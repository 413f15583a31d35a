"""The one way to fail: library code raises `UserError`; only the entry point prints it and exits."""

import contextlib
import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from fine_tuning.run.commands import has_flag

LONGEST_REASON = 300


class UserError(Exception):
    """Problems that the user can fix. Each says what is wrong, where, and what to do."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class DamagedFile(UserError):
    """A file that this project wrote has been damaged."""


class Checks:
    """Collect the problems of several checks, so the user sees all of them at once:

    checks = Checks()
    with checks:
        rows = read_rows(path)
    with checks:
        check_model(options)
    checks.finish()  # raises one UserError with every problem

    A failed check does not assign the variables of its `with` block; use them only after `finish`.
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
    """Begin every problem raised inside with its subject, such as a file or a flag."""
    try:
        yield
    except UserError as error:
        raise UserError(*(f"{subject}: {problem}" for problem in error.problems)) from error


def explain(error: BaseException) -> str | None:
    """What happened and how to fix it, if the machine caused the error; None if a bug did."""
    text = str(error)
    if "C compiler" in text or isinstance(error, subprocess.CalledProcessError):  # Triton calls one
        return (
            f"a GPU kernel could not be compiled ({text.splitlines()[0]}). Install a C compiler and Python's "
            "headers; on Debian and Ubuntu: sudo apt install build-essential python3-dev"
        )
    if isinstance(error, OSError) and error.errno is not None:
        place = error.filename or "writing a file"
        return f"{place}: {os.strerror(error.errno)}. {_remedy(error.errno)}"
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):  # safetensors raises its own errors
        if f"os error {number})" in text:
            return f"writing weights: {os.strerror(number)}. {_remedy(number)}"
    if "PytorchStreamWriter" in text or "inline_container" in text:  # and so does torch
        return f"a checkpoint could not be written. {_remedy(errno.ENOSPC)}"
    if not isinstance(error, RuntimeError | MemoryError):
        return None
    if is_out_of_memory(error):
        smaller = [words for words in (("--dtype", "bfloat16"), ("--load-in-4bit",)) if not has_flag(*words)]
        if has_flag("--load-in-4bit"):
            return "out of memory. Close other programs that use the same memory, or use a machine with more of it"
        return (
            "out of memory. Close other programs that use the same memory. If you cannot, use smaller weights: add "
            f"{' or '.join(map(' '.join, smaller))} (and --restart, because that changes the run)"
        )
    if any(words in text for words in ("CUDA error", "CUDA driver", "No CUDA GPUs", "cuDNN error")):
        return f"the GPU no longer responds ({text.splitlines()[0]}). Check that nvidia-smi lists it"
    return None


def reason_of(error: BaseException) -> str:
    """What a library's exception says, on one line of at most LONGEST_REASON characters, with its type if that helps.

    A KeyError says only 'model', and the first of several lines often not what is wrong.
    """
    text = " ".join(str(error).split())
    if len(text) > LONGEST_REASON:
        text = text[:LONGEST_REASON].rstrip() + "..."
    return text if text and isinstance(error, OSError | ValueError) else f"{type(error).__name__}: {text}"


def is_out_of_memory(error: BaseException) -> bool:
    """True if the machine or its GPU ran out of memory. CUDA's libraries word this error differently."""
    words = ("out of memory", "can't allocate memory", "ALLOC_FAILED")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    )


def _remedy(number: int) -> str:
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "Free some space there"
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "Make it readable and writable for you, or choose another --workspace"
    return "Check that it can be read and written"
