"""Read the CSVs. All problems of a file are raised together."""

import ast
import codecs
import csv
import io
import json
import math
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from diagram import flaw_of
from fine_tuning.run.errors import UserError

MAX_PROBLEMS_SHOWN = 20
ENDED_WORDS = {"": True, "true": True, "false": False}
SPLIT_WORDS = {"": "", "train": "train", "validation": "validation"}
MAX_FAMILY_LENGTH = 60  # characters; families are shown in the log's tables


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a CSV.

    prompt  the whole prompt: request and instruction
    score   of the answer, in [0, 1]
    family  the kind of diagram; every family is split in the same proportion
    fields  all cells by their columns
    number  position in the file: 1 is the first row after the header
    ended   False if the answer was cut off before its end; from the optional column `ended`
    split   "train", "validation" or "" (the split decides); from the optional column `split`
    """

    prompt: str
    answer: str
    score: float
    family: str
    fields: dict[str, str]
    number: int = 0
    ended: bool = True
    split: str = ""


class Problems:
    """The problems of a file: the first MAX_PROBLEMS_SHOWN messages, and the number of all problems."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._shown: list[str] = []

    def add(self, message: str, row: int | None = None) -> None:
        """Add a problem of the file, or of one of its rows."""
        self.count += 1
        if self.count <= MAX_PROBLEMS_SHOWN:
            self._shown.append(f"{self.path}: {message}" if row is None else f"{self.path}, row {row}: {message}")

    def raise_if_any(self) -> None:
        """Raise UserError with the messages and the number of problems not shown."""
        more = self.count - len(self._shown)
        if self._shown:
            raise UserError(*self._shown, *([f"{self.path}: and {more} more problems"] if more else []))


def read_rows(path: Path, scored: bool, remedy: str, unique: bool = False, size: int | None = None) -> list[Row]:
    """The rows of a CSV. Raises UserError with everything that is wrong with it.

    scored   the CSV has a score column; without it every answer counts as a reference, with score 1.0
    remedy   what to do about a missing or empty file
    unique   no reference may occur twice
    size     read only the first `size` bytes

    Answers with score 1.0 are references. They must be flawless diagrams, because other answers are scored against
    them. The file is read line by line; memory holds the rows and little more.
    """
    problems = Problems(path)
    rows: list[Row] = []
    if not path.is_file():
        raise UserError(f"{path}: there is no such file. {remedy}")
    try:
        with open(path, "rb") as file:
            rows += _read_rows(_Lines(file, size), problems, scored, remedy)
    except OSError as error:
        problems.add(f"it cannot be read: {error.strerror}. Change its permissions")
    if unique:
        _find_repeats(rows, problems)
    problems.raise_if_any()
    return rows


class _Lines:
    """The lines of a CSV, decoded one by one; remembers the position of the first byte that is not UTF-8."""

    def __init__(self, file: BinaryIO, size: int | None) -> None:
        self._file, self._size = file, size
        self.wrong_byte: int | None = None

    def __iter__(self) -> Iterator[str]:
        position = 0
        for line in self._file:
            if self._size is not None and position >= self._size:
                return
            if position == 0 and line.startswith(codecs.BOM_UTF8):
                position, line = len(codecs.BOM_UTF8), line.removeprefix(codecs.BOM_UTF8)
            try:
                text = line.decode()
            except UnicodeDecodeError as error:
                text = line.decode(errors="replace")
                if self.wrong_byte is None:
                    self.wrong_byte = position + error.start
            position += len(line)
            if "\r" in text:  # a binary file is split at \n only
                yield from io.StringIO(text, newline="")
            else:
                yield text


def _read_rows(lines: _Lines, problems: Problems, scored: bool, remedy: str) -> Iterator[Row]:
    csv.field_size_limit(sys.maxsize if sys.maxsize < 2**31 else 2**31 - 1)
    number, encoding_is_reported = 0, False
    try:
        records = (record for record in csv.reader(lines, strict=True) if record)  # skip blank lines
        header = next(records, None)
        if header is None:
            problems.add(f"the file is empty. {remedy}")
            return
        if lines.wrong_byte is not None:  # the header is not UTF-8
            problems.add(f"not UTF-8, at byte {lines.wrong_byte}; save the file as UTF-8")
            return
        if not _header_is_good(header, problems, scored):
            return
        for number, record in enumerate(records, start=1):
            if lines.wrong_byte is not None and not encoding_is_reported:
                problems.add(f"not UTF-8, at byte {lines.wrong_byte}; save the file as UTF-8", number)
                encoding_is_reported = True
            try:
                row = _read_row(header, record, scored, number)
            except UserError as error:
                problems.add(str(error), number)
            else:
                yield row
    except csv.Error as error:
        number += 1
        problems.add(
            f"not a valid CSV ({error}). Check the quotes: one may be missing or extra. The rest is not read", number
        )
    if lines.wrong_byte is not None and not encoding_is_reported:
        problems.add(f"not UTF-8, at byte {lines.wrong_byte}; save the file as UTF-8")
    if not number:
        problems.add(f"a header but no rows. {remedy}")


def _header_is_good(header: list[str], problems: Problems, scored: bool) -> bool:
    if len(header) == 1 and (separator := next((s for s in ";\t|" if s in header[0]), None)):
        problems.add(f"its columns are separated by {separator!r}; save it with commas")
        return False
    missing = [name for name in ("input_data", "output_data", *(["score"] if scored else [])) if name not in header]
    if missing:
        has = ", ".join(header)
        problems.add(f"no column {' or '.join(missing)}; it has {has[:200]}. The first line must name the columns")
    for name, count in Counter(header).items():
        if count > 1:
            problems.add(f"{count} columns are named {name[:40]!r}; rename or delete all but one")
    return not problems.count


def _read_row(header: list[str], record: list[str], scored: bool, number: int) -> Row:
    """A row. Raises UserError with what is wrong with it."""
    if record == header:
        raise UserError("a copy of the header; delete the line")
    if len(record) != len(header):
        raise UserError(
            f"the header has {len(header)} fields, this row {len(record)}. Check commas and quotes: one may be missing "
            "or extra"
        )
    fields = dict(zip(header, record, strict=True))
    prompt, answer = fields["input_data"], fields["output_data"]
    if not prompt.strip():
        raise UserError("input_data is empty; every row needs a prompt")
    score = 1.0
    if scored:
        try:
            score = float(fields["score"])
        except ValueError:
            score = math.nan
        if not 0 <= score <= 1:
            raise UserError(f"score is {fields['score'][:40]!r}; it must be a number from 0 to 1, such as 0.75")
    if score == 1:
        flaw = flaw_of(answer)
        if flaw:
            raise UserError(f"output_data is not a flawless diagram: {flaw}. Correct it, or delete the row")
    ended = _word(fields, "ended", ENDED_WORDS)
    split = _word(fields, "split", SPLIT_WORDS)
    return Row(prompt, answer, score, _family(fields), fields, number, ENDED_WORDS[ended], SPLIT_WORDS[split])


def _word(fields: Mapping[str, str], column: str, words: Collection[str]) -> str:
    """The cell of an optional column, in lower case. Raises UserError unless it is one of `words`."""
    word = fields.get(column, "").strip().lower()
    if word not in words:
        raise UserError(f"{column} is {word[:40]!r}; it must be {' or '.join(filter(None, words))}, or empty")
    return word


def _find_repeats(rows: Sequence[Row], problems: Problems) -> None:
    first: dict[tuple[str, str], int] = {}
    for row in rows:
        if row.score == 1:
            before = first.setdefault((row.prompt, row.answer), row.number)
            if before != row.number:
                problems.add(f"the same prompt and answer as row {before}; delete one of them", row.number)


def _family(fields: dict[str, str]) -> str:
    """The task_name in the row's dest_shape_info if a table can show it, else "diagram", the family of all others."""
    name = shape_info(fields).get("task_name")
    fits_table = isinstance(name, str) and name and name.isprintable() and len(name) <= MAX_FAMILY_LENGTH
    return str(name) if fits_table else "diagram"


def shape_info(fields: Mapping[str, str]) -> dict[str, Any]:
    """The row's dest_shape_info, read as JSON or as a Python literal; empty if it is neither."""
    text = fields.get("dest_shape_info") or ""
    for read in (json.loads, ast.literal_eval):
        try:
            info = read(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
        return info if isinstance(info, dict) else {}
    return {}
