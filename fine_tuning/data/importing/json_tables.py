"""Read JSON and JSON lines into objects. Every object is kept or reported, so that none is lost in silence."""

import ast
import json
from collections.abc import Iterable
from typing import Any

from fine_tuning.data.importing.cells import messages_in
from fine_tuning.data.importing.words import SPLITS
from fine_tuning.run.errors import UserError

NumberedObject = tuple[int, dict[str, Any]]


def is_json(text: str) -> bool:
    """True if the first line or the whole text is a JSON list or object."""
    return text.lstrip()[:1] in ("[", "{") and (_is_lines(text) or _is_whole(text))


def read_json(text: str) -> tuple[list[str], list[NumberedObject], list[tuple[int, str]], str]:
    """The columns, the numbered objects, what could not be read, and the kind: JSON or JSONL. Raises UserError."""
    try:
        whole = json.loads(text)
    except RecursionError:
        raise UserError("it is nested too deeply") from None
    except ValueError as error:
        if text.lstrip().startswith("[") and not _is_lines(text):
            raise UserError(f"it is not valid JSON: {error}") from None
        columns, rows, unread = _objects(_lines(text))
        if unread and (stream := _stream(text)):
            return *_objects(enumerate(stream, start=1)), "JSON, one object after the other"
        if not rows:
            number, reason = unread[0]
            raise UserError(f"none of its lines is a JSON object; row {number}: {reason}") from None
        return columns, rows, unread, "JSONL"
    values = _rows_of(whole)
    if values is None:
        raise UserError("it is JSON, but not a list of objects, one for each row")
    return *_objects(enumerate(values, start=1)), "JSON"


def _is_whole(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _is_lines(text: str) -> bool:
    """True if the first line is JSON by itself, as in JSONL."""
    return _is_whole(text.lstrip().partition("\n")[0])


def _lines(text: str) -> Iterable[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                value = _python_object(line)
                reason = getattr(error, "msg", "nested too deeply")
                yield number, value or UserError(f"its line is not valid JSON ({reason})")


def _python_object(line: str) -> dict[str, Any] | None:
    """The object in a line that Python wrote, with single quotes; None if there is none."""
    try:
        value = ast.literal_eval(line.strip()) if line.lstrip().startswith("{") else None
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None
    return value if isinstance(value, dict) and all(isinstance(name, str) for name in value) else None


def _stream(text: str) -> list[dict[str, Any]]:
    """Objects of several lines, one after the other, perhaps with commas between them; empty if there is more."""
    found = []
    position, decoder = 0, json.JSONDecoder()
    while position < len(text):
        if text[position].isspace() or text[position] == ",":
            position += 1
            continue
        try:
            value, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            return []
        if not isinstance(value, dict):
            return []
        found.append(value)
    return found


def _rows_of(whole: Any) -> list[Any] | None:
    """The rows in a JSON text: a list, a list in an object, one for each side of a split, or as pandas writes them."""
    if isinstance(whole, list):
        return whole
    if not isinstance(whole, dict):
        return None
    of_objects = {name: value for name, value in whole.items() if _are_objects(value) and not messages_in(value)}
    if len(of_objects) > 1 and all(name.strip().lower() in SPLITS for name in of_objects):
        return [{"split": name, **item} for name, items in of_objects.items() for item in items]
    if len(of_objects) == 1:
        return list(*of_objects.values())
    columns, data = whole.get("columns"), whole.get("data")
    if isinstance(columns, list) and isinstance(data, list) and all(isinstance(cells, list) for cells in data):
        return [dict(zip(map(str, columns), cells, strict=False)) for cells in data]
    if whole and all(isinstance(value, dict) for value in whole.values()) and all(map(str.isdecimal, whole)):
        return list(whole.values())
    values = [list(value.values()) if isinstance(value, dict) else value for value in whole.values()]
    lists = [value for value in values if isinstance(value, list) and value and not messages_in(value)]
    if lists and len(lists) == len(values) and len(set(map(len, lists))) == 1:
        return [dict(zip(whole, cells, strict=True)) for cells in zip(*lists, strict=True)]
    return [whole]


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


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
