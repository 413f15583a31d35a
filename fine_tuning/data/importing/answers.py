"""The text of an answer: without a code fence, one line for each shape."""

import ast
import json
import re
from collections.abc import Sequence
from typing import NamedTuple

from fine_tuning.data.importing.cells import text_of

MAX_LIST = 200_000  # characters; a longer text is not read as a list
_ESCAPED_LINE_END = re.compile(r"\]\\n\[")  # as some programs export line ends
_OPENING_FENCE = re.compile(r"(?:`{3,}|~{3,})[^\n`]*(?:\n|\Z)")
_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[^\n`]*\n(.*?)(?<=\n)[ \t]*\1[ \t]*$", re.MULTILINE | re.DOTALL)


class Answer(NamedTuple):
    """The text of an answer, and what was changed to get it."""

    text: str
    fenced: bool  # a code fence was around it
    surrounded: bool  # other text was around the fence
    listed: bool  # it was one list, with all lines in it


def answer_of(cell: object, name: str, text_around: bool = False) -> Answer:
    """The answer in a cell. With `text_around`, text in front of the only code fence and after it is removed too.

    A list is one line for each of its items: lines of text, or shapes as lists; in a text it may be JSON or Python.
    Raises Refused.
    """
    lines = _lines(cell)
    text = text_of(cell if lines is None else lines, name)
    text, fenced, surrounded = _without_fence(text, text_around)
    unpacked = _unpacked(text)
    listed = lines is not None or unpacked != text
    return Answer(_ESCAPED_LINE_END.sub("]\n[", unpacked), fenced, surrounded, listed)


def _without_fence(text: str, text_around: bool) -> tuple[str, bool, bool]:
    blocks = list(_FENCE.finditer(text)) if "```" in text or "~~~" in text else []
    if len(blocks) == 1:
        block = blocks[0]
        is_whole = block[0].strip() == text
        if is_whole or text_around:
            return block[2].strip(), True, not is_whole
    elif not blocks and (opening := _OPENING_FENCE.match(text)):  # never closed
        return re.sub(r"\s*(?:`{3,}|~{3,})\Z", "", text[opening.end() :]).strip(), True, False
    return text, False, False


def _unpacked(text: str) -> str:
    """The lines in a text that is one list, of shapes or of lines; any other text as it is."""
    if not re.match(r"\[\s*(?:\[|[\"']\[)", text) or not text.endswith("]") or len(text) > MAX_LIST:
        return text
    for read in (json.loads, ast.literal_eval):
        try:
            lines = _lines(read(text))
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
        return text if lines is None else lines.strip()
    return text


def _lines(cell: object) -> str | None:
    """The items of a list as lines; None for anything else."""
    if not isinstance(cell, list) or not cell:
        return None
    if all(isinstance(item, str) for item in cell):
        return "\n".join(cell)
    if all(isinstance(item, list) for item in cell):
        return "\n".join(repr(_with_colours(item)) for item in cell)
    return None


def _with_colours(shape: Sequence[object]) -> list[object]:
    """A shape with its two colours as tuples; JSON has only lists. The connections, in the last field, stay a list."""
    return [tuple(field) if isinstance(field, list) and k + 1 < len(shape) else field for k, field in enumerate(shape)]
