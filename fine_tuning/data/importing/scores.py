"""Read the scores of answers, from 0 to 1."""

import math
import re
from collections.abc import Iterable

from fine_tuning.data.importing.cells import Refused, is_empty, text_of
from fine_tuning.run.errors import UserError

MAX_OUTSIDE = 0.25  # of the scores; if more are outside 0 to 1, the column has another scale
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
_LABELS = {"true": 1.0, "false": 0.0}


def score_of(cell: object) -> float:
    """The score in a cell: 0.25, 0,25, 25 %, or true and false for 1 and 0. Raises Refused."""
    text = text_of(cell, "score")
    if not text:
        raise Refused("no score")
    score = _number(text)
    if not 0 <= score <= 1:
        raise Refused("the score is not a number from 0 to 1", repr(text[:40]))
    return score


def check_scale(cells: Iterable[object], column: str) -> None:
    """Raise UserError if a column of scores goes beyond 0 to 1. On a scale from 1 to 5, a 1 would be read as the best.

    A few scores outside are taken for mistakes.
    """
    numbers = [number for cell in cells if math.isfinite(number := _number_in(cell))]
    outside = sum(not 0 <= number <= 1 for number in numbers)
    if outside > MAX_OUTSIDE * len(numbers):
        low, high = min(numbers), max(numbers)
        example = f", for example by dividing them by {high:g}" if low >= 0 else ""
        raise UserError(
            f"the scores in column {column!r} go from {low:g} to {high:g}. Bring them to the scale from 0 to 1, where "
            f"1 is a perfect answer{example}"
        )


def are_labels(cells: Iterable[object]) -> bool:
    """True if all cells say true or false, as for answers that are marked as good or bad. Empty cells do not count."""
    words = {str(cell).strip().lower() for cell in cells if not is_empty(cell)}
    return bool(words) and words <= set(_LABELS)


def _number_in(cell: object) -> float:
    try:
        return _number(text_of(cell, "score"))
    except Refused:
        return math.nan


def _number(text: str) -> float:
    """The number in a text; nan if there is none."""
    if text.lower() in _LABELS:
        return _LABELS[text.lower()]
    if _DECIMAL_COMMA.fullmatch(text.removesuffix("%").strip()):
        text = text.replace(",", ".")
    try:
        return float(text.removesuffix("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return math.nan
