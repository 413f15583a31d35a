"""Read a file of rows, whatever its format: the content decides, not the name."""

import gzip
import io
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fine_tuning.data.importing.cells import is_empty
from fine_tuning.data.importing.encodings import decode
from fine_tuning.data.importing.text_tables import NumberedRow, read_csv, read_json
from fine_tuning.run.errors import UserError, about

KNOWN_FORMATS = "CSV, TSV, XLSX, JSON, JSONL and Parquet"
Recognise = Callable[[Sequence[str]], int]  # how many of a header's columns are known


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
            table = _tabular(path, *_read_parquet(content), "Parquet")
        elif content.startswith(b"PK\x03\x04"):
            table = _read_excel(path, content, recognise, sheet)
        elif content.startswith(b"\xd0\xcf\x11\xe0"):
            raise UserError("an Excel file of the old format, or one with a password. Save it as .xlsx or CSV")
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
    names = {suffix.lower() for suffix in path.suffixes}
    may_be_json = not names & {".csv", ".tsv"} and text.lstrip()[0] in "[{"
    if may_be_json or names & {".json", ".jsonl", ".ndjson"}:
        columns, rows, unread, kind = read_json(text)
        return Table(path, columns, rows, unread, f"{kind}, in {used}")
    header, numbered, separator = read_csv(text, recognise)
    table = _tabular(path, header, numbered, f"CSV, separated by {_name(separator)}, in {used}")
    if not encoding and used not in ("utf-8", "utf-8-sig"):
        table.format += " (a guess; if letters are wrong, name another with --encoding)"
    return table


def _name(separator: str) -> str:
    return {",": "commas", "\t": "tabs", ";": "semicolons"}.get(separator, repr(separator))


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


def _read_parquet(content: bytes) -> tuple[list[object], list[NumberedRow]]:
    import pandas as pd

    try:
        frame = pd.read_parquet(io.BytesIO(content), dtype_backend="numpy_nullable")
    except Exception as error:  # pyarrow's errors have no common class that could be imported here
        raise UserError(f"it cannot be read as Parquet: {_first_line(error)}") from None
    return list(frame.columns), _records(frame)


def _read_excel(path: Path, content: bytes, recognise: Recognise, sheet: str | None) -> Table:
    if not zipfile.is_zipfile(io.BytesIO(content)):
        raise UserError("a damaged zip archive or Excel file. Get the file again")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if not any(name.startswith("xl/") for name in archive.namelist()):
            raise UserError(f"a zip archive. Unpack it; these files are read: {KNOWN_FORMATS}")
    import pandas as pd

    try:
        sheets: dict[str, Any] = pd.read_excel(
            io.BytesIO(content), sheet_name=None, header=None, dtype=object, na_filter=False, engine="openpyxl"
        )
    except ImportError:
        raise UserError("reading Excel files needs openpyxl. Install it: python -m pip install openpyxl") from None
    except Exception as error:  # openpyxl raises errors of many classes on damaged files
        raise UserError(f"it cannot be read as Excel: {_first_line(error)}. Save it as CSV") from None
    if sheet is not None and sheet not in sheets:
        raise UserError(f"--sheet {sheet}: there is no such sheet. It has {', '.join(sheets)}")
    records = {name: _without_empty_start(_records(frame)) for name, frame in sheets.items()}
    filled = {name: rows for name, rows in records.items() if rows and (sheet is None or name == sheet)}
    if not filled:
        raise UserError("the sheet is empty" if sheet else "all sheets are empty")
    name = max(filled, key=lambda name: recognise([str(cell) for cell in filled[name][0][1]]) > 0)
    others = [other for other, rows in records.items() if other != name and rows]
    kind = f"Excel, sheet {name!r}"
    if others:
        kind += f"; not read: {', '.join(map(repr, others))} (choose with --sheet)"
    (start, header), *rows = filled[name]
    return _tabular(path, header, [(number - start, record) for number, record in rows], kind)


def _without_empty_start(rows: list[NumberedRow]) -> list[NumberedRow]:
    start = next((k for k, (_, record) in enumerate(rows) if not all(map(is_empty, record))), len(rows))
    return rows[start:]


def _records(frame: Any) -> list[NumberedRow]:
    """The rows of a data frame, numbered from 1, with plain Python cells."""
    records = frame.astype(object).itertuples(index=False, name=None)
    return [(number, [_plain(cell) for cell in record]) for number, record in enumerate(records, start=1)]


def _plain(cell: Any) -> Any:
    """A cell without types of NumPy and pandas."""
    if hasattr(cell, "tolist"):
        cell = cell.tolist()
    if isinstance(cell, list | tuple):
        return [_plain(item) for item in cell]
    if isinstance(cell, dict):
        return {name: _plain(item) for name, item in cell.items()}
    if isinstance(cell, str):
        return cell.replace("_x000D_\n", "\n").replace("_x000D_", "\n")  # how Excel stores a carriage return
    return None if type(cell).__name__ in ("NAType", "NaTType") else cell


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
