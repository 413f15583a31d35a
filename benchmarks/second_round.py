"""A second round of steps 2 and 3: sample step 3's adapter, and train it further with ORPO on these samples.

    python benchmarks/second_round.py --model MODEL --workspace DIR     after step 3, with the same flags

reads   models/orpo, create_dataset/orpo_dataset_llm.csv with its samples, create_dataset/sft_dataset_llm.csv
writes  round_2, a workspace of its own: in models/sft the adapter of step 3, in models/orpo the one of round 2, and in
        create_dataset/samples_of_both_rounds.csv all samples, with their round in the column `round`

Prompts whose samples were all flawless in round 1 are left out, for training: the model has little left to learn from
them. The held-out prompts stay, and stay held out. ORPO trains on the samples of round 2 alone, because round 1 has
trained on its own. Samples are drawn with another seed: with the same random numbers, round 2 would meet the very
mistakes that round 1 has trained away.

You can stop it at any time. The same command continues.
"""

import csv
import io
import json
import os
import shutil
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.evaluation import options_of, run_script
from fine_tuning.common import limit_prompts, run, split_prompts
from fine_tuning.data.csv_rows import Row
from fine_tuning.data.orpo_csv import pairs_to_train_on, read_answers
from fine_tuning.data.sft_csv import read_sft_rows
from fine_tuning.run.command_line import parse_options
from fine_tuning.run.commands import flags
from fine_tuning.run.csv_bytes import columns_of
from fine_tuning.run.errors import UserError
from fine_tuning.run.files import make_folder, sha256, sync_folder, write_atomically
from fine_tuning.run.options import MAX_SEED, Options, set_environment
from fine_tuning.run.run_state import ADAPTER_FILE, RunState
from fine_tuning.run.step_preset import preset_for
from fine_tuning.run.workspace import Workspace

FOLDER = "round_2"
MADE_OF, RESULT = "made_of.json", "result.json"
BOTH_ROUNDS = "samples_of_both_rounds.csv"
ROUND, SPLIT = "round", "split"
NEXT_SEED = 10_000  # added to the seed
NOT_COPIED = ("run.json", "checkpoints")  # of step 3's folder


def main() -> None:
    options = parse_options(__doc__)
    set_environment(options)
    options.workspace.claim()
    place = round_workspace(options)
    if RunState(options.workspace.orpo_model).figures is None:
        command = options.command("orpo_fine_tuning")
        raise UserError(f"{options.workspace.orpo_model}: step 3 has not finished. {command}")
    rows = limit_prompts(read_answers(options).rows, options.max_rows)
    train, _ = split_prompts(rows, options.seed)
    left_out = always_flawless(rows, options) & train
    _prepare(options, place, rows, train, left_out)
    result: dict[str, Any] = {"training prompts": len(train - left_out), "prompts left out as flawless": len(left_out)}
    if not train - left_out:
        _end(place, result, "all samples of round 1 are flawless, so there is nothing left to prefer")
        return
    same = [flag for flag in flags() if flag != "--restart"]
    of_round = [*same, "--workspace", str(place.root), "--seed", str(_seed(options))]
    run_script("fine_tuning/orpo_create_dataset.py", of_round)
    new = options_of(of_round)
    samples = read_answers(new).rows
    _write_both_rounds(place, rows, samples, options, new)
    try:
        pairs_to_train_on(samples, split_prompts(samples, new.seed)[0], new, preset_for(new))
    except UserError as error:
        _end(place, result, str(error.problems[0]))
        return
    run_script("fine_tuning/orpo_fine_tuning.py", of_round)
    _end(place, result)


def round_workspace(options: Options) -> Workspace:
    """The workspace of round 2, inside that of round 1."""
    return Workspace(options.workspace.root / FOLDER)


def finished_adapter(options: Options) -> Path | None:
    """The folder of round 2's adapter; None if round 2 has not been trained from the present adapter of step 3."""
    place = round_workspace(options)
    if not _is_prepared(options, place) or RunState(place.orpo_model).figures is None:
        return None
    return place.orpo_model


def round_figures(options: Options) -> dict[str, Any]:
    """What round 2 trained on, and why it did not train, if so; empty if it has not ended."""
    path = round_workspace(options).root / RESULT
    if not _is_prepared(options, round_workspace(options)) or not path.exists():
        return {}
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def always_flawless(rows: Iterable[Row], options: Options) -> set[str]:
    """The prompts whose samples of step 2 all have score 1.0. `rows` are those of the ORPO CSV."""
    stored = options.workspace.sampling_state()
    samples = [row for row in rows if stored and row.number > stored.reference_rows]
    return {row.prompt for row in samples} - {row.prompt for row in samples if row.score < 1}


def _seed(options: Options) -> int:
    return (options.seed + NEXT_SEED) % (MAX_SEED + 1)


def _made_of(options: Options) -> dict[str, Any]:
    workspace = options.workspace
    return {
        "adapter": sha256(workspace.orpo_model / ADAPTER_FILE),
        "data": [sha256(workspace.sft_csv), sha256(workspace.orpo_csv)],
        "seed": options.seed,
        "max rows": options.max_rows,
    }


def _is_prepared(options: Options, place: Workspace) -> bool:
    path = place.root / MADE_OF
    return path.exists() and json.loads(path.read_text("utf-8")) == _made_of(options)


def _prepare(
    options: Options, place: Workspace, rows: Sequence[Row], train: Collection[str], left_out: Collection[str]
) -> None:
    """Make the workspace of round 2, as step 1 would leave it. One that was made of something else is discarded."""
    if _is_prepared(options, place) and not options.restart:
        return
    if place.root.exists():
        if not (place.root / MADE_OF).exists():
            raise UserError(f"{place.root}: this folder is not a workspace of round 2. Rename it")
        why = "--restart is given" if options.restart else "round 1 has changed"
        print(f"note: {place.root} is discarded, because {why}", file=sys.stderr)
        shutil.rmtree(place.root)
    references = references_left(rows, left_out, options)
    columns = columns_of(options.workspace.orpo_csv)
    if ROUND in columns:
        raise UserError(f"{options.workspace.orpo_csv}: it has a column {ROUND!r}, which round 2 needs. Rename it")
    sft_rows = limit_prompts(read_sft_rows(options).rows, options.max_rows)
    sft_train, _ = split_prompts(sft_rows, options.seed)
    sft_columns = columns_of(options.workspace.sft_csv)
    made = Workspace(place.root.with_name(f".{FOLDER}.unfinished"))  # takes its place when it is whole
    shutil.rmtree(made.root, ignore_errors=True)
    make_folder(made.sft_csv.parent)
    write_atomically(made.sft_csv, _csv(sft_columns, sft_rows, sft_train))
    write_atomically(made.orpo_csv, _csv([*columns, ROUND], references, train, {ROUND: "2"}))
    skipped = shutil.ignore_patterns(*NOT_COPIED)
    shutil.copytree(options.workspace.orpo_model, made.sft_model, ignore=skipped)
    step_1 = RunState(options.workspace.sft_model)
    settings = {**step_1.stored_settings, "seed": _seed(options), "data sha256": sha256(made.sft_csv)}
    state = RunState(made.sft_model)
    state.begin(settings, restart=False)
    state.finish(settings, step_1.figures or {})
    write_atomically(made.root / MADE_OF, json.dumps(_made_of(options)))
    sync_folder(made.root)
    os.replace(made.root, place.root)


def references_left(rows: Sequence[Row], left_out: Collection[str], options: Options) -> list[Row]:
    """The references of the ORPO CSV, without the prompts `left_out`."""
    stored = options.workspace.sampling_state()
    count = stored.reference_rows if stored else max((row.number for row in rows), default=0)
    return [row for row in rows if row.number <= count and row.score == 1 and row.prompt not in left_out]


def _csv(
    columns: Sequence[str], rows: Iterable[Row], train: Collection[str], more: Mapping[str, str] | None = None
) -> str:
    """A CSV with all cells of the rows. The column `split` keeps each prompt on the side on which round 1 had it."""
    names = [*columns, *([] if SPLIT in columns else [SPLIT])]
    sides = {True: "train", False: "validation"}
    return _text(names, (row.fields | {SPLIT: sides[row.prompt in train], **(more or {})} for row in rows))


def _text(columns: Sequence[str], records: Iterable[Mapping[str, str]]) -> str:
    buffer = io.StringIO()
    # An unquoted carriage return in a cell would end the row, and not every version of csv quotes it.
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow({name: name for name in columns})
    writer.writerows(records)
    return buffer.getvalue()


def _write_both_rounds(
    place: Workspace, first: Sequence[Row], second: Sequence[Row], options: Options, new: Options
) -> None:
    """Write all samples in one CSV, with the round of each. References have none."""
    columns = columns_of(place.orpo_csv)
    states = {"1": (first, options.workspace.sampling_state()), "2": (second, new.workspace.sampling_state())}
    records = [row.fields | {ROUND: ""} for row in references_left(first, (), options)]
    for name, (rows, stored) in states.items():
        records += [row.fields | {ROUND: name} for row in rows if stored and row.number > stored.reference_rows]
    write_atomically(place.orpo_csv.with_name(BOTH_ROUNDS), _text(columns, records))


def _end(place: Workspace, result: Mapping[str, Any], why_not: str = "") -> None:
    """Store and print the result. `why_not` says why nothing was trained, if so."""
    result = dict(result) | ({"not trained": why_not} if why_not else {})
    write_atomically(place.root / RESULT, json.dumps(result))
    print(json.dumps(result))


if __name__ == "__main__":
    run(main)
