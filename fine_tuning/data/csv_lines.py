"""The records of a CSV file: UTF-8, decoded line by line, with the same line ends in every cell."""

import codecs
import csv
import io
import sys
from collections.abc import Iterator
from typing import BinaryIO


class Lines:
    """The lines of a CSV, decoded one by one; remembers the position of the first byte that is not UTF-8.

    With `size`, only the first `size` bytes are read.
    """

    def __init__(self, file: BinaryIO, size: int | None = None) -> None:
        self._file, self._size = file, size
        self._wrong_byte: int | None = None
        self.first = ""  # the first line that is not blank

    def take_wrong_byte(self) -> int | None:
        """The position of the first byte that is not UTF-8 since the last call; None if there is none."""
        position, self._wrong_byte = self._wrong_byte, None
        return position

    def __iter__(self) -> Iterator[str]:
        position = 0
        for line in self._file:
            if self._size is not None and position >= self._size:
                return
            while not self.first and line.startswith(codecs.BOM_UTF8):  # some programs write the mark twice
                position, line = position + len(codecs.BOM_UTF8), line.removeprefix(codecs.BOM_UTF8)
            try:
                text = line.decode()
            except UnicodeDecodeError as error:
                text = line.decode(errors="replace")
                if self._wrong_byte is None:
                    self._wrong_byte = position + error.start
            position += len(line)
            self.first = self.first or text.strip()
            if "\r" in text:  # a binary file is split at \n only
                yield from io.StringIO(text, newline="")
            else:
                yield text


def records(lines: Lines) -> Iterator[list[str]]:
    """The records of a CSV without blank lines, the header first. Raises csv.Error where the quotes are wrong.

    In every cell, a line ends with \\n. Otherwise a model would learn \\r\\n from one copy of a file and \\n from
    another, such as one that git has checked out on Windows.
    """
    csv.field_size_limit(sys.maxsize if sys.maxsize < 2**31 else 2**31 - 1)
    for record in csv.reader(lines, strict=True):
        if record:
            yield [cell.replace("\r\n", "\n").replace("\r", "\n") if "\r" in cell else cell for cell in record]
