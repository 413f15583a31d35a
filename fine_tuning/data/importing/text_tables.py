"""Read CSV and JSON text into records. Every record is kept or reported, so that none is lost in silence."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

from fine_tuning.data.importing.cells import messages_in
from fine_tuning.run.errors import UserError

NumberedRow = tuple[int, Sequence[Any]]
NumberedObject = tuple[int, dict[str, Any]]

_SEPARATORS = (",", ";", "\t", "|")
_NO_SEPARATOR = " _-.'\"()/\r\n"


def read_csv(text: str, recognise: Callable[[Sequence[str]], int]) -> tuple[list[str], list[NumberedRow], str]:
    """The header, the numbered rows, and the separator: the one that gives most known columns, then most columns.

    Rows are numbered as a spreadsheet does: blank lines after the header count. Raises UserError if a quote is wrong:
    nothing after it can be trusted.
    """
    csv.field_size_limit(2**31 - 1)
    named = None
    first, _, rest = text.partition("\n")
    if first.strip().lower().startswith("sep=") and len(first.strip("\r")) <= len("sep=") + 1:  # Excel's own line
        named, text = first.strip("\r")[len("sep=") :] or None, rest

    def header_with(separator: str) -> list[str]:
        try:
            return next(filter(None, csv.reader(io.StringIO(text, newline=""), delimiter=separator)), [])
        except csv.Error:
            return []

    if named is None:
        line = next(filter(str.strip, islice(io.StringIO(text), 100)), "")
        others = sorted({c for c in line if not c.isalnum() and c not in _NO_SEPARATOR} - set(_SEPARATORS))
        headers = {separator: header_with(separator) for separator in (*_SEPARATORS, *others)}
        named = max(headers, key=lambda s: (recognise(headers[s]), s in _SEPARATORS, len(headers[s])))
    header: list[str] = []
    rows: list[NumberedRow] = []
    number = 0
    try:
        for record in csv.reader(io.StringIO(text, newline=""), delimiter=named, strict=True):
            if header:
                number += 1
                rows.append((number, record))
            elif any(map(str.strip, record)):
                header = record
    except csv.Error as error:
        raise UserError(f"row {number + 1}: a wrong quote ({error}). Quotes inside a cell are written twice") from None
    return header, rows, named


def read_json(text: str) -> tuple[list[str], list[NumberedObject], list[tuple[int, str]], str]:
    """The columns, the numbered objects, what could not be read, and the kind: JSON or JSONL."""
    try:
        whole = json.loads(text)
    except RecursionError:
        raise UserError("it is nested too deeply") from None
    except ValueError as error:
        if text.lstrip().startswith("[") and not _is_lines(text):
            raise UserError(f"it is not valid JSON: {error}") from None
        return *_objects(_lines(text)), "JSONL"
    rows = _rows_of(whole)
    if rows is None:
        raise UserError("it is JSON, but not a list of objects, one for each row")
    return *_objects(enumerate(rows, start=1)), "JSON"


def _is_lines(text: str) -> bool:
    """True if the first line is JSON by itself, as in JSONL."""
    first = text.lstrip().partition("\n")[0]
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return False
    return True


def _lines(text: str) -> Iterable[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                reason = getattr(error, "msg", "nested too deeply")
                yield number, UserError(f"its line is not valid JSON ({reason})")


def _rows_of(whole: Any) -> list[Any] | None:
    """The rows in a JSON text: a list, a list in an object, or columns as pandas writes them."""
    if isinstance(whole, list):
        return whole
    if not isinstance(whole, dict):
        return None
    values = [list(value.values()) if isinstance(value, dict) else value for value in whole.values()]
    lists = [value for value in values if isinstance(value, list) and value and not messages_in(value)]
    if len(lists) == 1 and all(isinstance(item, dict) for item in lists[0]):
        return list(lists[0])
    if lists and len(lists) == len(values) and len(set(map(len, lists))) == 1:
        return [dict(zip(whole, cells, strict=True)) for cells in zip(*lists, strict=True)]
    return [whole]


def _objects(
    values: Iterable[tuple[int, Any]],
) -> tuple[list[str], list[NumberedObject], list[tuple[int, str]]]:
    columns: dict[str, None] = {}
    rows: list[NumberedObject] = []
    unread: list[tuple[int, str]] = []
    for number, value in values:
        if isinstance(value, UserError):
            unread.append((number, str(value)))
        elif isinstance(value, dict):
            columns |= dict.fromkeys(value)
            rows.append((number, value))
        else:
            unread.append((number, "not a JSON object with named fields"))
    return list(columns), rows, unread
