"""Read CSV text into records. Every record is kept, so that none is lost in silence."""

import csv
import io
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from fine_tuning.run.errors import UserError

NumberedRow = tuple[int, Sequence[Any]]
Recognise = Callable[[Sequence[str]], int]  # how many of a header's columns are known

HEADER_ROWS = 20  # not empty; the header is looked for among them
_SEPARATORS = (",", ";", "\t", "|")
_NO_SEPARATOR = "_-.'\"()/\r\n"


def read_csv(text: str, recognise: Recognise) -> tuple[list[NumberedRow], str]:
    """The numbered records, the header among them, and the separator: the one that gives most known columns.

    Blank lines count, as in a spreadsheet. Raises UserError if a quote is wrong: nothing after it can be trusted.
    """
    csv.field_size_limit(2**31 - 1)
    separator = None
    first, _, rest = text.partition("\n")
    if first.strip().lower().startswith("sep=") and len(first.strip("\r")) <= len("sep=") + 1:  # Excel's own line
        separator, text = first.strip("\r")[len("sep=") :] or None, rest
    if separator is None:
        separator = _separator(text, recognise)
    records, error = _records(text, separator)
    if error or _too_long(records, recognise):  # other ways to write quotes, if they leave no mistake
        for other, skip_spaces in ((text, True), (text.replace('\\"', '""'), False)):
            found, other_error = _records(other, separator, skip_spaces)
            if not other_error and not _too_long(found, recognise):
                return found, separator
    if error:
        row = len(records) - header_index(records, recognise)
        raise UserError(f"row {max(row, 1)}: a wrong quote ({error}). Quotes inside a cell are written twice")
    return records, separator


def header_index(records: Sequence[NumberedRow], recognise: Recognise) -> int:
    """Where the header is: the first record with text, or a later one with more known columns, two at least.

    So titles and comments above the header do no harm.
    """
    filled = (k for k, (_, record) in enumerate(records) if any(str(cell or "").strip() for cell in record))
    best, most = 0, -1
    for k in islice(filled, HEADER_ROWS):
        known = recognise([str(cell) for cell in records[k][1]])
        if most < 0 or known > max(most, 1):
            best, most = k, known
    return best


def _separator(text: str, recognise: Recognise) -> str:
    line = next(filter(str.strip, islice(io.StringIO(text), 100)), "")
    others = sorted({c for c in line if not c.isalnum() and c not in _NO_SEPARATOR} - set(_SEPARATORS))

    def worth(separator: str) -> tuple[int, bool, int]:
        records, _ = _records(text, separator, most=HEADER_ROWS)
        header = [str(cell) for cell in records[header_index(records, recognise)][1]] if records else []
        return recognise(header), separator in _SEPARATORS, len(header)

    return max((*_SEPARATORS, *others), key=worth)


def _records(
    text: str, separator: str, skip_spaces: bool = False, most: int | None = None
) -> tuple[list[NumberedRow], csv.Error | None]:
    """The records up to a wrong quote, at most `most` that are not blank, and the error."""
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=separator,
        strict=True,
        skipinitialspace=skip_spaces or separator == " ",
    )
    records: list[NumberedRow] = []
    filled = 0
    try:
        for number, record in enumerate(reader, start=1):
            records.append((number, record))
            filled += bool(record)
            if filled == most:
                break
    except csv.Error as error:
        return records, error
    return records, None


def _too_long(records: Sequence[NumberedRow], recognise: Recognise) -> bool:
    """True if a row has more cells than the header."""
    if not records:
        return False
    start = header_index(records, recognise)
    width = len(records[start][1])
    return any(any(map(str.strip, record[width:])) for _, record in records[start + 1 :])
