"""Which prompts are answered together, and how long answers may get. Needs no torch."""

import math
from collections.abc import Sequence


def plan_batches(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Indices in batches of `batch_size`, shortest first, so that no batch waits long for one answer."""
    order = sorted(range(len(lengths)), key=lambda k: (lengths[k], k))
    return [order[k : k + batch_size] for k in range(0, len(order), batch_size)]


def token_limit(reference_tokens: int) -> int:
    """How many tokens an answer may have whose reference has `reference_tokens`.

    Enough for an answer with a layer too many to end by itself, as it then is wrong but whole.
    """
    return math.ceil(1.5 * reference_tokens) + 16
