"""Group prompts into batches, and limit the length of answers. Imports no torch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

MAX_NEW_TOKENS = 1280  # of an answer to a request without a reference


@dataclass(frozen=True, slots=True)
class Task:
    """An answer to generate.

    prompt  token ids
    limit   the most tokens of the answer
    sample  the number of the sample among those of this prompt; None: greedy decoding
    """

    prompt: Sequence[int]
    limit: int
    sample: int | None = None


def plan_batches(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Indices of `lengths` in batches of `batch_size`, shortest first. A batch takes as long as its longest answer."""
    order = sorted(range(len(lengths)), key=lambda k: (lengths[k], k))
    return [order[k : k + batch_size] for k in range(0, len(order), batch_size)]


def token_limit(reference_tokens: int) -> int:
    """The most tokens that an answer may have if its reference has `reference_tokens`.

    There is room for one layer too many, so that such an answer is wrong but complete.
    """
    return math.ceil(1.5 * reference_tokens) + 16
