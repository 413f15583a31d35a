"""Read requests from a file or from stdin, one on each line, without holding them all in memory."""

import contextlib
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from fine_tuning.run.errors import UserError

STDIN = "-"


class Request(NamedTuple):
    """A request. If it is from a file, with its line and its number among the requests there, both counted from 1."""

    text: str
    line: int | None = None
    number: int | None = None


def check_requests(source: str) -> int | None:
    """The number of requests in a file; None if only reading them will tell, as with stdin or a pipe.

    Raises UserError if the file does not exist, has no request, or has a line that is not UTF-8.
    """
    if source == STDIN:
        return None
    path = Path(source)
    if not path.exists():
        raise UserError(f"--requests {source}: there is no such file")
    if path.is_dir():
        raise UserError(f"--requests {source}: this is a folder. Name a file with one request on each line")
    if not path.is_file():
        return None
    return sum(1 for _ in read_requests(source))


def read_requests(source: str) -> Iterator[Request]:
    """The requests in a file or, for "-", on stdin. Blank lines are skipped; spaces around a request are dropped.

    Raises UserError for a line that is not UTF-8 and, at the end, if there was no request.
    """
    number = 0
    with contextlib.nullcontext(sys.stdin.buffer) if source == STDIN else open(source, "rb") as file:
        for line_number, line in enumerate(file, start=1):
            try:
                text = line.decode("utf-8-sig" if line_number == 1 else "utf-8").strip()
            except UnicodeDecodeError:
                raise UserError(
                    f"--requests {source}: line {line_number} is not UTF-8. Save the file as UTF-8"
                ) from None
            if text:
                number += 1
                yield Request(text, line_number, number)
    if not number:
        raise UserError(f"--requests {source}: there is no request. Write one on each line")


def batches(requests: Iterator[Request], size: int) -> Iterator[list[Request]]:
    """The requests in lists of `size`. Each list is read only when it is needed."""
    while batch := list(islice(requests, size)):
        yield batch
