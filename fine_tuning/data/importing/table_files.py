"""Read a file of rows, whatever its format: the content decides, not the name."""

import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fine_tuning.data.importing.binary_tables import read_excel, read_parquet
from fine_tuning.data.importing.cells import is_empty
from fine_tuning.data.importing.encodings import SURE, decode
from fine_tuning.data.importing.json_tables import is_json, read_json
from fine_tuning.data.importing.text_tables import NumberedRow, Recognise, header_index, read_csv
from fine_tuning.data.problems import count_text
from fine_tuning.run.errors import UserError, about


@dataclass(slots=True)
class Table:
    """The rows of a file, each with its number: 1 is the first row after the header, or the first line of a JSONL file.

    columns   as the file names them
    rows      cells by column; a cell is text, a number, a list, a dict, or None
    unread    rows that could not be read, and why
    format    what was read, for the user: "CSV, separated by ';', in cp1252"
    """

    path: Path
    columns: list[str]
    rows: list[tuple[int, dict[str, Any]]]
    unread: list[tuple[int, str]] = field(default_factory=list)
    format: str = ""


def read_table(path: Path, recognise: Recognise, encoding: str | None = None, sheet: str | None = None) -> Table:
    """Read a file. Raises UserError if it cannot be read, or has no rows.

    recognise   counts the known columns of a header; used to find the separator and the sheet
    encoding    of a text file; None to find it out
    sheet       of an Excel file; None for the first one with known columns
    """
    with about(path):
        content = _content_of(path)
        if not content.strip():
            raise UserError("the file is empty")
        if content.startswith(b"PAR1"):
            table = _tabular(path, *read_parquet(content), "Parquet")
        elif content.startswith(b"PK\x03\x04"):
            records, kind = read_excel(content, recognise, sheet)
            table = _under_header(path, records, recognise, kind)
        elif content.startswith(b"\xd0\xcf\x11\xe0"):
            raise UserError("an Excel file of the old format, or one with a password. Save it as .xlsx or CSV")
        elif content.startswith(b"version https://git-lfs"):
            raise UserError("a git-lfs pointer, not the file itself. Get the file: git lfs pull")
        elif content.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
            raise UserError("a web page, not the file itself. Download the file again")
        else:
            table = _read_text(path, content, recognise, encoding)
        if not table.rows and not table.unread:
            raise UserError("a header but no rows")
        return table


def _content_of(path: Path) -> bytes:
    if path.is_dir():
        raise UserError("this is a folder. Give the files in it")
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError("there is no such file") from None
    except OSError as error:
        raise UserError(f"it cannot be read: {error.strerror}") from None
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error):
        raise UserError("its gzip compression is damaged or cut off. Get the file again") from None


def _read_text(path: Path, content: bytes, recognise: Recognise, encoding: str | None) -> Table:
    text, used = decode(content, encoding)
    if not text.strip():
        raise UserError("the file is empty")
    named_json = bool({suffix.lower() for suffix in path.suffixes} & {".json", ".jsonl", ".ndjson"})
    if is_json(text) or (named_json and not _has_header(text, recognise)):
        columns, rows, unread, kind = read_json(text)
        return Table(path, columns, rows, unread, f"{kind}, in {used}")
    records, separator = read_csv(text, recognise)
    kind = f"CSV, separated by {_name(separator)}, in {used}"
    if not encoding and used not in SURE:
        kind += " (a guess; if letters are wrong, name another with --encoding)"
    return _under_header(path, records, recognise, kind)


def _has_header(text: str, recognise: Recognise) -> bool:
    """True if the text is a CSV whose header has two known columns."""
    if text.lstrip()[0] in "[{":
        return False
    try:
        records, _ = read_csv(text, recognise)
    except UserError:
        return False
    return recognise([str(cell) for cell in records[header_index(records, recognise)][1]]) > 1


def _name(separator: str) -> str:
    return {",": "commas", "\t": "tabs", ";": "semicolons", " ": "spaces"}.get(separator, repr(separator))


def _under_header(path: Path, records: Sequence[NumberedRow], recognise: Recognise, kind: str) -> Table:
    """The table whose header is one of the records. Rows are numbered from it on."""
    start = header_index(records, recognise)
    above = sum(not all(map(is_empty, record)) for _, record in records[:start])
    if above:
        kind += f" ({count_text(above, 'line', 'lines')} above the header not read)"
    first, header = records[start]
    rows = [(number - first, record) for number, record in records[start + 1 :]]
    if _are_numbered(rows, len(header)):
        header = ["", *header]
    return _tabular(path, header, rows, kind)


def _are_numbered(rows: Sequence[NumberedRow], columns: int) -> bool:
    """True if each row has one cell more than the header, a number of its own in front. R writes tables in this way."""
    filled = [record for _, record in rows if not all(map(is_empty, record))]
    if not filled or any(len(record) != columns + 1 for record in filled):
        return False
    numbers = {str(record[0]) for record in filled}
    return len(numbers) == len(filled) and all(map(str.isdecimal, numbers))


def _tabular(path: Path, header: Sequence[object], rows: Sequence[NumberedRow], kind: str) -> Table:
    """A table of records in which cells belong to columns by their position. Empty rows at the end are dropped."""
    columns = ["" if is_empty(name) else str(name) for name in header]
    while columns and not columns[-1].strip() and all(map(is_empty, _column(rows, len(columns) - 1))):
        columns.pop()
    table = Table(path, columns, [], format=kind)
    last = max((number for number, record in rows if not all(map(is_empty, record))), default=0)
    for number, record in rows:
        if number > last:
            break
        if any(not is_empty(cell) for cell in record[len(columns) :]):
            table.unread.append((number, "more cells than the header has: a quote or a separator may be missing"))
        elif all(map(is_empty, record)):
            table.unread.append((number, "an empty row"))
        elif [str(cell) for cell in record] == columns:
            table.unread.append((number, "a copy of the header"))
        else:
            cells = [*record, *[None] * len(columns)]
            table.rows.append((number, dict(zip(columns, cells, strict=False))))
    return table


def _column(rows: Sequence[NumberedRow], k: int) -> list[object]:
    """The cells at position `k` of the rows that have as many."""
    return [record[k] for _, record in rows if len(record) > k]
