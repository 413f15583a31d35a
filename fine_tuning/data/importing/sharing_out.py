"""Decide which examples go into the SFT CSV and which into the ORPO CSV, so that all three steps can run on them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from fine_tuning.data.csv_rows import Row
from fine_tuning.data.importing.examples import Example, Report
from fine_tuning.data.importing.judged import judged_rows, plain_rows
from fine_tuning.data.problems import count_text
from fine_tuning.data.split import draw_prompts, prompts_by_family, split_prompts, stated_sides
from fine_tuning.run.errors import UserError, about

ORPO_SHARE = 2 / 9  # of all prompts, as in the committed CSVs: 200 of 900
MIN_PROMPTS = 2  # in each CSV: one for training, one for validation


@dataclass(frozen=True, slots=True)
class SharedOut:
    """The rows of the two CSVs, and how many preference pairs are in them."""

    sft: list[Row]
    orpo: list[Row]
    pairs: int


def share_out(examples: Iterable[Example], report: Report, share: float, seed: int) -> SharedOut:
    """The rows of both CSVs. What is not taken, and what was decided, goes into the report.

    share   of the prompts, for the ORPO CSV if there are neither pairs nor scores
    seed    draws them, and the side of the split of prompts that are in both CSVs

    Raises UserError if the rows are too few to split.
    """
    consistent = _without_other_sides(examples, report)
    _check_sides(consistent)
    plain = [example for example in consistent if example.rejected is None and example.score is None]
    judged = [example for example in consistent if example.rejected is not None or example.score is not None]
    if not plain and all(example.rejected is None and example.score == 1 for example in judged):
        plain, judged = judged, []  # scores of 1.0 alone say nothing about worse answers
    sft = plain_rows(plain, report)
    orpo, pairs = judged_rows(judged, report)
    if not sft and not orpo:
        return SharedOut([], [], 0)
    if not orpo:
        sft, orpo = _hold_out(sft, report, share, seed)
    elif not sft:
        sft = [row for row in orpo if row.score == 1]
        report.notes.append(
            "only pairs or scored answers were given: the chosen answers, and those with score 1.0, are also the rows "
            "of the SFT CSV"
        )
    else:
        _note_other_judgements(plain, judged, report)
    sft, orpo = _with_common_sides(sft, orpo, report, seed)
    for name, rows in (("the SFT CSV", sft), ("the ORPO CSV", orpo)):
        with about(f"{name} would have {count_text(len(rows), 'row', 'rows')}"):
            split_prompts(rows, seed)
    return SharedOut(sft, orpo, pairs)


def _without_other_sides(examples: Iterable[Example], report: Report) -> list[Example]:
    """The examples without those whose `split` differs from an earlier one of the same prompt."""
    first: dict[str, Example] = {}
    kept = []
    for example in examples:
        before = first.setdefault(example.prompt, example) if example.split else example
        if before.split != example.split:
            report.refuse(example.place, "split differs from that of an earlier row with the same prompt", before.place)
        else:
            kept.append(example)
    return kept


def _check_sides(examples: Sequence[Example]) -> None:
    """Raise UserError if the files put all prompts on one side of the split."""
    side_of = {example.prompt: example.split for example in examples if example.split}
    sides = sorted(set(side_of.values()))
    if len(sides) == 1 and all(example.prompt in side_of for example in examples):
        other = {"train": "validation", "validation": "train"}[sides[0]]
        raise UserError(
            f"the column split says {sides[0]} for all prompts. Add rows with {other}, leave cells empty for the seed "
            "to divide, or delete the column"
        )


def _note_other_judgements(plain: Iterable[Example], judged: Iterable[Example], report: Report) -> None:
    """Note answers that are good in one file and rejected in another: step 1 learns what step 3 unlearns."""
    good = {(example.prompt, example.answer) for example in plain}
    places = [example.place for example in judged if (example.prompt, example.rejected) in good]
    if places:
        report.notes.append(
            f"rejected answers that are good answers to the same prompt in the rows without a score: {len(places)} "
            f"({places[0]}, ...). Step 1 learns them, and step 3 learns to avoid them"
        )


def _hold_out(rows: Sequence[Row], report: Report, share: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Divide rows into those of the SFT CSV and those of the ORPO CSV; no prompt is in both."""
    total = len({row.prompt for row in rows})
    if total < 2 * MIN_PROMPTS:
        raise UserError(
            f"{total} different prompts are too few: each of the two CSVs needs at least {MIN_PROMPTS}, one for "
            "training and one for validation. Add rows"
        )
    if any(row.split for row in rows):  # then each CSV needs prompts of both sides
        train, validation = split_prompts(rows, seed)
        rows = [replace(row, split="train" if row.prompt in train else "validation") for row in rows]
        if min(len(train), len(validation)) < 2:
            raise UserError(
                f"with the column split, {len(train)} prompts are for training and {len(validation)} for validation; "
                "each of the two CSVs needs one of both. Give two of each, or delete the column"
            )
        drawn = _draw([row for row in rows if row.prompt in train], share, 1, seed)
        drawn |= _draw([row for row in rows if row.prompt in validation], share, 1, seed)
    else:
        drawn = _draw(rows, share, MIN_PROMPTS, seed)
    report.notes.append(
        f"no pairs and no scores other than 1.0 were given: {len(drawn)} of {total} prompts are for the ORPO CSV "
        f"(--orpo-share {share:.2g}). Step 2 samples answers to them, and step 3 learns from these answers. The others "
        "are for the SFT CSV"
    )
    return [row for row in rows if row.prompt not in drawn], [row for row in rows if row.prompt in drawn]


def _draw(rows: Sequence[Row], share: float, least: int, seed: int) -> set[str]:
    """Draw a share of the prompts, of each family alike; at least `least` prompts are drawn, and as many are left."""
    families = prompts_by_family(rows)
    total = sum(map(len, families.values()))
    return draw_prompts(families, min(total - least, max(least, round(share * total))), seed)


def _with_common_sides(
    sft: Sequence[Row], orpo: Sequence[Row], report: Report, seed: int
) -> tuple[list[Row], list[Row]]:
    """Both CSVs' rows. If a prompt is in both, every row names its side of the split, the same in both CSVs.

    Otherwise each CSV would be split by itself, and one step would train on most prompts that the other holds out.
    """
    shared = {row.prompt for row in sft} & {row.prompt for row in orpo}
    if not shared:
        return list(sft), list(orpo)
    side_of = stated_sides([*orpo, *sft])
    only_sft = [row for row in sft if row.prompt not in shared]
    for rows in (orpo, only_sft):
        stated = [replace(row, split=side_of.get(row.prompt, "")) for row in rows]
        if len({row.prompt for row in stated}) > 1 and not all(row.split for row in stated):
            train, _ = split_prompts(stated, seed)
            side_of |= {row.prompt: "train" if row.prompt in train else "validation" for row in stated}
    report.notes.append(
        f"{len(shared)} prompts are in both CSVs. The column split puts each on the same side in both, so that step 3 "
        "can validate on prompts that no step trains on"
    )
    sft, orpo = ([replace(r, split=side_of.get(r.prompt, "train")) for r in rows] for rows in (sft, orpo))
    return sft, orpo
