"""Choose rows by their prompts: a few of them, their references, 80 % to train on and 20 % to validate with.

All rows of one prompt fall on the same side, and every family is divided alike.
"""

from collections.abc import Iterable, Sequence
from random import Random

from fine_tuning.data.csv_rows import Row

VALIDATION_SHARE = 0.2


def limit_prompts(rows: Sequence[Row], max_prompts: int | None) -> list[Row]:
    """The rows of at most `max_prompts` prompts, each family in proportion, in the file's order."""
    prompts = _prompts_by_family(rows)
    total = sum(map(len, prompts.values()))
    if max_prompts is None or max_prompts >= total:
        return list(rows)
    kept: set[str] = set()
    sizes = [len(names) for names in prompts.values()]
    for names, share in zip(prompts.values(), _share_out(max_prompts, sizes, range(len(sizes))), strict=True):
        kept.update(names[:share])
    return [row for row in rows if row.prompt in kept]


def references_of(rows: Sequence[Row]) -> list[Row]:
    """The first row with score 1.0 of each prompt."""
    first: dict[str, Row] = {}
    for row in rows:
        if row.score == 1:
            first.setdefault(row.prompt, row)
    return list(first.values())


def split_prompts(rows: Sequence[Row], seed: int) -> tuple[set[str], set[str]]:
    """Prompts for training and for validation, 80/20, by prompt and with both families split alike.

    Raises ValueError where there are fewer than two prompts.
    """
    prompts = _prompts_by_family(rows)
    total = sum(map(len, prompts.values()))
    if total < 2:
        raise ValueError(f"{total} prompt is too few to split into training and validation; at least 2 are needed")
    wanted = min(total - 1, max(1, round(VALIDATION_SHARE * total)))
    sizes = [len(names) for names in prompts.values()]
    # Of many small families the seed decides which ones give a prompt, too.
    shares = _share_out(wanted, sizes, order=Random(seed).sample(range(len(sizes)), len(sizes)))
    rng = Random(seed)
    validation: set[str] = set()
    for names, share in zip(prompts.values(), shares, strict=True):
        validation.update(rng.sample(names, share))
    return {row.prompt for row in rows} - validation, validation


def held_out_rows(sft_rows: Sequence[Row], orpo_rows: Sequence[Row], seed: int) -> list[Row]:
    """A row for each prompt of either CSV that no step trains on, with a reference for its answer.

    `sft_rows` are the rows that step 1 splits, `orpo_rows` those that step 3 makes pairs of. A prompt that stands in
    both is held out where neither step trains on it.
    """
    trained = split_prompts(sft_rows, seed)[0] | split_prompts(orpo_rows, seed)[0]
    references: dict[str, Row] = {}
    for row in [*sft_rows, *orpo_rows]:
        if row.prompt not in trained and row.score == 1:
            references.setdefault(row.prompt, row)
    return list(references.values())


def _prompts_by_family(rows: Iterable[Row]) -> dict[str, list[str]]:
    """Each family's prompts, without repeats; a prompt belongs to the family of its first row."""
    family_of: dict[str, str] = {}
    for row in rows:
        family_of.setdefault(row.prompt, row.family)
    prompts: dict[str, list[str]] = {}
    for prompt, family in family_of.items():
        prompts.setdefault(family, []).append(prompt)
    return prompts


def _share_out(total: int, sizes: Sequence[int], order: Sequence[int]) -> list[int]:
    """Divide `total` in proportion to `sizes`; rounding favours the largest remainders, equal ones by their `order`."""
    exact = [total * size / sum(sizes) for size in sizes]
    shares = [int(share) for share in exact]
    for k in sorted(order, key=lambda k: shares[k] - exact[k])[: total - sum(shares)]:
        shares[k] += 1
    return shares
