"""The prompts that an export is compared on: some that the adapter was not trained on. Imports no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fine_tuning.data.csv_rows import Row
from fine_tuning.data.orpo_csv import read_answers
from fine_tuning.data.sft_csv import read_sft_rows
from fine_tuning.data.split import held_out_rows, limit_prompts, split_prompts
from fine_tuning.exporting.llama_cpp import MISSING, is_installed
from fine_tuning.run.errors import UserError
from fine_tuning.run.files import sha256
from fine_tuning.run.options import Options
from fine_tuning.run.run_state import RunState
from fine_tuning.run.step_preset import options_of_run

SKIPPED = "--compare 0 was given"


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Rows to compare on, and what their prompts are called in messages."""

    rows: list[Row]
    name: str


def to_compare(options: Options, adapter: Path, format: str, count: int) -> tuple[HeldOut, str]:
    """The rows to compare an export on, at most `count`, and why it cannot be compared; empty if it can be."""
    nothing = HeldOut([], "held-out prompts")
    if not count:
        return nothing, SKIPPED
    if format == "gguf" and not is_installed():
        return nothing, MISSING
    try:
        return held_out(options, adapter, count), ""
    except UserError as error:
        return nothing, f"there are no prompts to compare on: {error.problems[0]}"


def can_be_compared_now(not_compared: str) -> bool:
    """True if the reason why an export was not compared can have gone: a flag, or a missing package."""
    return not_compared in (SKIPPED, MISSING)


def held_out(options: Options, adapter: Path, count: int) -> HeldOut:
    """Up to `count` rows, spread evenly over those that the adapter was validated on: those that step 1 held out of the
    SFT CSV or, if the adapter is step 3's, those of both CSVs that steps 1 and 3 held out.

    Raises UserError if a CSV that those steps used cannot be read.
    """
    workspace = options.workspace
    run = RunState(workspace.sft_model).read()
    stored = run["settings"] if run else {}
    options = options_of_run(options, stored)  # with the seed and the rows of step 1
    rows = limit_prompts(read_sft_rows(options).rows, options.max_rows)
    trained, _ = split_prompts(rows, options.seed)
    if adapter != workspace.sft_model:
        answers = limit_prompts(read_answers(options).rows, options.max_rows)
        trained = trained | split_prompts(answers, options.seed)[0]
        rows = [*rows, *answers]
    found = held_out_rows(rows, trained)
    is_same = stored.get("data sha256") in (None, sha256(workspace.file_to_read(workspace.sft_csv)))
    name = "held-out prompts" if is_same else "prompts of a CSV that has changed since step 1"
    return HeldOut(_spread(found, count), name)


def _spread(rows: Sequence[Row], count: int) -> list[Row]:
    """Up to `count` of the rows, evenly spaced."""
    count = min(count, len(rows))
    return [rows[k * len(rows) // count] for k in range(count)]
