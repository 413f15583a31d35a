"""Read Excel and Parquet files into records of plain Python cells."""

import io
import re
import zipfile
from typing import Any

from fine_tuning.data.importing.cells import is_empty
from fine_tuning.data.importing.text_tables import NumberedRow, Recognise, header_index
from fine_tuning.data.problems import count_text
from fine_tuning.run.errors import UserError

KNOWN_FORMATS = "CSV, TSV, XLSX, JSON, JSONL and Parquet"
_NO_RESULT = re.compile(rb"<f\b[^>]*(?:/>|>[^<]*</f>)\s*(?:<v\s*/>|<v></v>)?\s*</c>")


def read_parquet(content: bytes) -> tuple[list[object], list[NumberedRow]]:
    """The columns and the numbered records of a Parquet file. Raises UserError."""
    import pandas as pd

    try:
        frame = pd.read_parquet(io.BytesIO(content), dtype_backend="numpy_nullable")
    except Exception as error:  # pyarrow's errors have no common class that could be imported here
        raise UserError(f"it cannot be read as Parquet: {_first_line(error)}") from None
    return list(frame.columns), _records(frame)


def read_excel(content: bytes, recognise: Recognise, sheet: str | None) -> tuple[list[NumberedRow], str]:
    """The numbered records of a sheet, the header among them, and what was read, for the user. Raises UserError."""
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

    def has_known_columns(name: str) -> bool:
        header = filled[name][header_index(filled[name], recognise)][1]
        return recognise([str(cell) for cell in header]) > 0

    name = max(filled, key=has_known_columns)
    others = [other for other, rows in records.items() if other != name and rows]
    kind = f"Excel, sheet {name!r}"
    if others:
        kind += f"; not read: {', '.join(map(repr, others))} (choose with --sheet)"
    if formulas := _formulas_without_result(content):
        words = count_text(formulas, "formula has", "formulas have")
        kind += f"; {words} no stored result (read as empty cells; to get the results, save the file in Excel)"
    return filled[name], kind


def _formulas_without_result(content: bytes) -> int:
    """How many formulas of an Excel file have no result. Programs that write such files often do not compute them."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        sheets = [archive.read(name) for name in archive.namelist() if name.startswith("xl/worksheets/sheet")]
    return sum(len(_NO_RESULT.findall(sheet)) for sheet in sheets)


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
