"""Choose rows by prompt: limit their number, find the references, split 80 % for training and 20 % for validation.

All rows of one prompt are on the same side of the split, and every family is split in the same proportion.
"""

from collections.abc import Callable, Container, Iterable, Sequence
from functools import partial
from random import Random
from typing import Protocol

from fine_tuning.data.csv_rows import Row
from fine_tuning.run.errors import UserError

VALIDATION_SHARE = 0.2


class HasPrompt(Protocol):
    """A row or a preference pair."""

    @property
    def prompt(self) -> str: ...


def limit_prompts(rows: Sequence[Row], max_prompts: int | None) -> list[Row]:
    """The rows of at most `max_prompts` prompts, in the file's order. Families keep their proportions."""
    prompts = _prompts_by_family(rows)
    total = sum(map(len, prompts.values()))
    if max_prompts is None or max_prompts >= total:
        return list(rows)
    kept: set[str] = set()
    sizes = [len(names) for names in prompts.values()]
    for names, share in zip(prompts.values(), _share_out(max_prompts, sizes, range(len(sizes))), strict=True):
        kept.update(names[:share])
    return [row for row in rows if row.prompt in kept]


def limit_to(max_prompts: int | None) -> Callable[[Sequence[Row]], list[Row]] | None:
    """`limit_prompts` for a given number of prompts; None if there is no limit."""
    return None if max_prompts is None else partial(limit_prompts, max_prompts=max_prompts)


def references_of(rows: Sequence[Row]) -> list[Row]:
    """The first row with score 1.0 of each prompt."""
    first: dict[str, Row] = {}
    for row in rows:
        if row.score == 1:
            first.setdefault(row.prompt, row)
    return list(first.values())


def split_prompts(rows: Sequence[Row], seed: int) -> tuple[set[str], set[str]]:
    """The prompts for training and those for validation, 80/20 in every family.

    Raises UserError if there are fewer than two prompts.
    """
    prompts = _prompts_by_family(rows)
    total = sum(map(len, prompts.values()))
    if total < 2:
        raise UserError("at least 2 different prompts are needed, one for training and one for validation")
    wanted = min(total - 1, max(1, round(VALIDATION_SHARE * total)))
    sizes = [len(names) for names in prompts.values()]
    # Small families may get no validation prompt. The seed decides which ones do.
    shares = _share_out(wanted, sizes, order=Random(seed).sample(range(len(sizes)), len(sizes)))
    rng = Random(seed)
    validation: set[str] = set()
    for names, share in zip(prompts.values(), shares, strict=True):
        validation.update(rng.sample(names, share))
    return {row.prompt for row in rows} - validation, validation


def held_out_rows(rows: Sequence[Row], trained: Container[str]) -> list[Row]:
    """The first reference of each prompt that is not in `trained`, the prompts that a step trains on."""
    return [row for row in references_of(rows) if row.prompt not in trained]


def _prompts_by_family(rows: Iterable[Row]) -> dict[str, list[str]]:
    """The distinct prompts of each family; a prompt belongs to the family of its first row."""
    family_of: dict[str, str] = {}
    for row in rows:
        family_of.setdefault(row.prompt, row.family)
    prompts: dict[str, list[str]] = {}
    for prompt, family in family_of.items():
        prompts.setdefault(family, []).append(prompt)
    return prompts


def _share_out(total: int, sizes: Sequence[int], order: Sequence[int]) -> list[int]:
    """Divide `total` in proportion to `sizes` (largest remainder method; equal remainders rank by `order`)."""
    exact = [total * size / sum(sizes) for size in sizes]
    shares = [int(share) for share in exact]
    for k in sorted(order, key=lambda k: shares[k] - exact[k])[: total - sum(shares)]:
        shares[k] += 1
    return shares
