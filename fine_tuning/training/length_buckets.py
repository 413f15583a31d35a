"""Lengths of examples, rounded up so that few CUDA graphs serve all examples.

A graph is for one shape. With the committed rows these roundings give 6 shapes in step 1 and some 30 in step 3, and a
tenth is padding.
Finer ones would need more graphs, each of which takes a second or two to capture; coarser ones more padding.
"""

from collections.abc import Iterable
from typing import NamedTuple

ROW, REJECTED, PROMPT = 192, 128, 384  # multiples that the lengths are rounded up to


class Lengths(NamedTuple):
    """The tokens of an example's prompt, of its chosen answer (in step 1 its completion) and of its rejected answer."""

    prompt: int
    chosen: int
    rejected: int = 0  # in step 1


class Bucket(NamedTuple):
    """The lengths that examples are padded to: prompt and chosen answer together, the rejected answer, and prompt and
    rejected answer together. The last two are 0 in step 1.
    """

    row: int
    rejected: int = 0
    second_row: int = 0

    @property
    def tokens(self) -> int:
        """The tokens that the model computes, the prompt once."""
        return self.row + self.rejected


def bucket_of(lengths: Lengths) -> Bucket:
    """The bucket of an example. All examples of a bucket can be laid out in the same buffers."""
    row = _round_up(lengths.prompt + lengths.chosen, ROW)
    if not lengths.rejected:
        return Bucket(row)
    rejected = _round_up(lengths.rejected, REJECTED)
    return Bucket(row, rejected, _round_up(lengths.prompt, PROMPT) + rejected)


def buckets_of(examples: Iterable[Lengths]) -> tuple[dict[Bucket, int], float]:
    """The buckets of all examples, each with the number of its examples, and the share of padding in all tokens."""
    counts: dict[Bucket, int] = {}
    tokens = 0
    for lengths in examples:
        tokens += sum(lengths)
        bucket = bucket_of(lengths)
        counts[bucket] = counts.get(bucket, 0) + 1
    padded = sum(bucket.tokens * count for bucket, count in counts.items())
    return counts, (padded - tokens) / padded if padded else 0.0


def _round_up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple
