"""The bytes of a CSV: where its records end, one more column, shortening it, and the fingerprint of its beginning."""

import codecs
import contextlib
import csv
import hashlib
import io
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from fine_tuning.run.files import write_atomically

CHUNK = 2**20  # bytes


def record_ends(file: BinaryIO) -> list[int]:
    """The byte offset after each complete record of a CSV, the header first.

    Records are what the csv module takes for one. A blank line belongs to the record before it; an incomplete last
    record has no end. The file is read line by line, as latin-1, so that one character is one byte.
    """
    csv.field_size_limit(2**31 - 1)
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 1))
    is_incomplete = file.read() not in (b"\n", b"\r")
    file.seek(0)
    read = len(codecs.BOM_UTF8) if file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8 else 0
    file.seek(read)
    text = io.TextIOWrapper(file, encoding="latin-1", newline="")

    def lines() -> Iterator[str]:
        nonlocal read
        for line in text:
            read += len(line)
            yield line

    ends: list[int] = []
    with contextlib.suppress(csv.Error):  # the file ends inside a quoted cell
        for record in csv.reader(lines(), strict=True):
            if record:
                ends.append(read)
            elif ends:
                ends[-1] = read
    text.detach()
    return [end for end in ends if end < size] if is_incomplete else ends


def ends_of(csv_path: Path) -> list[int]:
    """`record_ends` of a file."""
    with open(csv_path, "rb") as file:
        return record_ends(file)


def columns_of(csv_path: Path) -> list[str]:
    """The names in a CSV's header; empty if there is none."""
    csv.field_size_limit(2**31 - 1)
    with open(csv_path, encoding="utf-8-sig", newline="") as file:
        return next((record for record in csv.reader(file) if record), [])


def add_column(csv_path: Path, name: str) -> None:
    """Give a CSV one more column, empty in every row, if it does not have it. Not a byte of the other cells changes.

    A crash leaves the old or the new file. Every record must end with a line break.
    """
    if name in columns_of(csv_path):
        return
    ends = ends_of(csv_path)

    def records() -> Iterator[bytes]:
        with open(csv_path, "rb") as file:
            for number, (start, end) in enumerate(pairwise([0, *ends])):
                record = file.read(end - start)
                cells = record.rstrip(b"\r\n")
                yield cells + (b"," if number else b"," + name.encode()) + record[len(cells) :]
            yield file.read()  # nothing, in a valid CSV

    write_atomically(csv_path, records())


def cut(csv_path: Path, size: int) -> int:
    """Shorten a file on disk to `size` bytes. Returns how many were cut off."""
    more = csv_path.stat().st_size - size
    if more:
        with open(csv_path, "r+b") as file:
            file.truncate(size)
            os.fsync(file.fileno())
    return more


def sha256_of_start(csv_path: Path, size: int) -> str:
    """The SHA-256 of a file's first `size` bytes."""
    digest = hashlib.sha256()
    with open(csv_path, "rb") as file:
        while chunk := file.read(min(size, CHUNK)):
            digest.update(chunk)
            size -= len(chunk)
    return digest.hexdigest()
