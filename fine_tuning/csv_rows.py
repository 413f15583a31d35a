"""Read the CSVs, with every problem of a file told at once, and split them into train and validation."""

import ast
import csv
import io
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from diagram import parse

VALIDATION_SHARE = 0.2
MAX_PROBLEMS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a CSV: a whole prompt, an answer, and the answer's score in [0, 1]."""

    prompt: str
    answer: str
    score: float
    family: str
    fields: dict[str, str]

    @property
    def request(self) -> str:
        """The prompt's first paragraph, for people to read; what follows it explains the format."""
        return self.prompt.strip().split("\n\n")[0]


def read_rows(path: Path, scored: bool, remedy: str, content: bytes | None = None) -> tuple[list[Row], list[str]]:
    """The rows of a CSV and what is wrong with it, one message for each problem (rows count from 1, without header).

    `scored` asks for a score column; without it every answer counts as a reference, with score 1.0. `remedy` is what to
    do about a missing file. Answers with score 1.0 must be flawless diagrams, for others are scored against them.
    `content` stands for the file's bytes where only a part of them is meant.
    """
    if content is None:
        if not path.is_file():
            return [], [f"{path}: there is no such file. {remedy}"]
        content = path.read_bytes()
    csv.field_size_limit(sys.maxsize if sys.maxsize < 2**31 else 2**31 - 1)
    required = ["input_data", "output_data", *(["score"] if scored else [])]
    rows, problems = [], []
    try:
        reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        if reader.fieldnames is None:
            return [], [f"{path}: the file is empty. {remedy}"]
        missing = [name for name in required if name not in reader.fieldnames]
        if missing:
            return [], [f"{path}: no column {' or '.join(missing)}; it has {', '.join(reader.fieldnames)}"]
        for number, fields in enumerate(reader, start=1):
            row = _read_row(fields, scored)
            if isinstance(row, str):
                problems.append(f"{path}, row {number}: {row}")
            else:
                rows.append(row)
    except UnicodeDecodeError as error:
        return [], [f"{path}: not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8"]
    except csv.Error as error:
        number = len(rows) + len(problems) + 1
        return [], [*problems, f"{path}, row {number}: not a CSV ({error}); is a quote missing or one too many?"]
    if not rows and not problems:
        problems = [f"{path}: a header but no rows. {remedy}"]
    if len(problems) > MAX_PROBLEMS_SHOWN:
        problems = [*problems[:MAX_PROBLEMS_SHOWN], f"{path}: and {len(problems) - MAX_PROBLEMS_SHOWN} more problems"]
    return rows, problems


def _read_row(fields: dict[str, str], scored: bool) -> Row | str:
    """A row, or what is wrong with it."""
    if None in fields or None in fields.values():
        return "not as many fields as the header has"
    prompt, answer = fields["input_data"], fields["output_data"]
    if not prompt.strip():
        return "input_data is empty; every row needs a prompt"
    score = 1.0
    if scored:
        try:
            score = float(fields["score"])
        except ValueError:
            score = math.nan
        if not 0 <= score <= 1:
            return f"score is {fields['score'][:40]!r}; it must be a number from 0 to 1, such as 0.75"
    if score == 1:
        diagram = parse(answer)
        if diagram.problems or not diagram.nodes:
            what = str(diagram.problems[0]) if diagram.problems else "no shapes"
            return f"output_data is no flawless diagram: {what}"
    return Row(prompt, answer, score, _family(fields), fields)


def _family(fields: dict[str, str]) -> str:
    """The row's task_name where its dest_shape_info has one; one common family otherwise."""
    name = shape_info(fields).get("task_name")
    return name if isinstance(name, str) and name else "diagram"


def shape_info(fields: Mapping[str, str]) -> dict[str, Any]:
    """What dest_shape_info holds, as JSON or as Python literals; empty where it holds nothing of the kind."""
    text = fields.get("dest_shape_info") or ""
    for read in (json.loads, ast.literal_eval):
        try:
            info = read(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
        return info if isinstance(info, dict) else {}
    return {}


def limit_prompts(rows: Sequence[Row], max_prompts: int | None) -> list[Row]:
    """The rows of at most `max_prompts` prompts, each family in proportion, in the file's order."""
    prompts = _prompts_by_family(rows)
    total = sum(map(len, prompts.values()))
    if max_prompts is None or max_prompts >= total:
        return list(rows)
    kept: set[str] = set()
    for names, size in zip(prompts.values(), _share_out(max_prompts, [len(p) for p in prompts.values()]), strict=True):
        kept.update(names[:size])
    return [row for row in rows if row.prompt in kept]


def split_prompts(rows: Sequence[Row], seed: int) -> tuple[set[str], set[str]]:
    """Prompts for training and for validation, 80/20, by prompt and with both families split alike.

    Raises ValueError where there are fewer than two prompts.
    """
    prompts = _prompts_by_family(rows)
    total = sum(map(len, prompts.values()))
    if total < 2:
        raise ValueError(f"{total} prompt is too few to split into training and validation; at least 2 are needed")
    wanted = min(total - 1, max(1, round(VALIDATION_SHARE * total)))
    rng = Random(seed)
    validation: set[str] = set()
    for names, size in zip(prompts.values(), _share_out(wanted, [len(p) for p in prompts.values()]), strict=True):
        validation.update(rng.sample(names, size))
    return {row.prompt for row in rows} - validation, validation


def held_out_rows(sft_rows: Sequence[Row], orpo_rows: Sequence[Row], seed: int) -> list[Row]:
    """A row for each prompt of either CSV that no step trains on, with a reference for its answer.

    `sft_rows` are the rows that step 1 splits, `orpo_rows` those that step 3 makes pairs of.
    """
    held_out_sft, held_out_orpo = split_prompts(sft_rows, seed)[1], split_prompts(orpo_rows, seed)[1]
    references: dict[str, Row] = {}
    for row in orpo_rows:
        if row.prompt in held_out_orpo and row.score == 1:
            references.setdefault(row.prompt, row)
    return [row for row in sft_rows if row.prompt in held_out_sft] + list(references.values())


def _prompts_by_family(rows: Iterable[Row]) -> dict[str, list[str]]:
    """Each family's prompts, without repeats; a prompt belongs to the family of its first row."""
    family_of: dict[str, str] = {}
    for row in rows:
        family_of.setdefault(row.prompt, row.family)
    prompts: dict[str, list[str]] = {}
    for prompt, family in family_of.items():
        prompts.setdefault(family, []).append(prompt)
    return prompts


def _share_out(total: int, sizes: Sequence[int]) -> list[int]:
    """Divide `total` in proportion to `sizes`; the largest remainders get what rounding leaves."""
    exact = [total * size / sum(sizes) for size in sizes]
    shares = [int(share) for share in exact]
    order = sorted(range(len(sizes)), key=lambda k: (shares[k] - exact[k], k))
    for k in order[: total - sum(shares)]:
        shares[k] += 1
    return shares
