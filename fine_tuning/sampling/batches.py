"""Decide which prompts are answered together, and how long an answer may be. Imports no torch."""

import math
from collections.abc import Sequence


def plan_batches(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Indices in batches of `batch_size`, shortest first: a batch takes as long as its longest answer."""
    order = sorted(range(len(lengths)), key=lambda k: (lengths[k], k))
    return [order[k : k + batch_size] for k in range(0, len(order), batch_size)]


def token_limit(reference_tokens: int) -> int:
    """How many tokens an answer may have if its reference has `reference_tokens`.

    The limit lets an answer with one layer too many end by itself: it is then wrong but complete.
    """
    return math.ceil(1.5 * reference_tokens) + 16
