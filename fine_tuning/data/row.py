"""One row of a CSV: what it holds, and what is wrong with it."""

import ast
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from diagram import examine_reference

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


class RowProblem(NamedTuple):
    """A problem of a row: its kind, which is true of all such rows, and the message for this row."""

    kind: str
    message: str


class FoundRow(NamedTuple):
    """A row as far as it could be read, its problems, and what is less than perfect in a reference."""

    row: Row
    problems: list[RowProblem]
    oddities: tuple[str, ...] = ()


def read_row(header: Sequence[str], record: Sequence[str], scored: bool, number: int, family: str) -> FoundRow:
    """Read a row and find all its problems.

    `family` is that of the row before: a row whose own cells are unknown stands for one of the same family, with a
    prompt of its own.
    """
    problems: list[RowProblem] = []

    def add(kind: str, message: str = "") -> None:
        problems.append(RowProblem(kind, message or kind))

    unknown = f"\0row {number}"
    if record == header:
        add("a copy of the header; delete the line")
    elif len(record) != len(header):
        check = "Check commas and quotes: one may be missing or extra"
        message = f"the header has {len(header)} fields, this row {len(record)}. {check}"
        add("more or fewer fields than the header", message)
    if problems:
        return FoundRow(Row(unknown, "", math.nan, family, {}, number), problems)
    fields = dict(zip(header, record, strict=True))
    prompt, answer = fields["input_data"], fields["output_data"]
    if not prompt.strip():
        add("input_data is empty; every row needs a prompt")
        prompt = unknown
    score = _score(fields["score"]) if scored else 1.0
    if math.isnan(score):
        message = f"score is {fields['score'][:40]!r}; it must be a number from 0 to 1, such as 0.75"
        add("score is not a number from 0 to 1", message)
    oddities: tuple[str, ...] = ()
    if score == 1:
        fault, oddities = examine_reference(answer)
        if fault:
            what, remedy = "output_data is not a valid diagram", "Correct it, or delete the row"
            add(what, f"{what}: {fault}. {remedy}")
    words = {}
    for column, allowed in (("ended", ENDED_WORDS), ("split", SPLIT_WORDS)):
        words[column] = fields.get(column, "").strip().lower()
        if words[column] not in allowed:
            choices = " or ".join(filter(None, allowed))
            message = f"{column} is {words[column][:40]!r}; it must be {choices}, or empty"
            add(f"{column} is not {choices}, or empty", message)
            words[column] = ""
    ended, split = ENDED_WORDS[words["ended"]], SPLIT_WORDS[words["split"]]
    return FoundRow(Row(prompt, answer, score, _family(fields), fields, number, ended, split), problems, oddities)


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


def _score(text: str) -> float:
    """The number in a cell; nan unless it is from 0 to 1."""
    try:
        score = float(text)
    except ValueError:
        return math.nan
    return score if 0 <= score <= 1 else math.nan


def _family(fields: dict[str, str]) -> str:
    """The task_name in the row's dest_shape_info if a table can show it, else "diagram", the family of all others."""
    name = shape_info(fields).get("task_name")
    fits_table = isinstance(name, str) and name and name.isprintable() and len(name) <= MAX_FAMILY_LENGTH
    return str(name) if fits_table else "diagram"
