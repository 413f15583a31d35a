"""Read the ORPO CSV: the references that step 2 samples for, and the scored answers that step 3 trains on."""

from collections.abc import Container, Sequence
from dataclasses import replace

from fine_tuning.data.csv_rows import CsvRows, Row, about_rows, read_csv
from fine_tuning.data.preference_pairs import Pair, make_pairs
from fine_tuning.data.problems import count_text
from fine_tuning.data.split import held_out_rows, limit_prompts, limit_to, references_of, split_prompts
from fine_tuning.run import sample_store
from fine_tuning.run.errors import UserError
from fine_tuning.run.options import SEED, Options
from fine_tuning.run.presets import Preset
from fine_tuning.run.run_state import changes
from fine_tuning.run.sample_store import SamplingState
from fine_tuning.run.step_order import TUNED_MODEL, sampling_settings
from fine_tuning.run.step_preset import options_of_run
from fine_tuning.run.workspace import SFT_CSV

HIGHER_TEMPERATURES = (1.5, 2.0)  # suggested one after the other, then no longer


def read_references(options: Options) -> CsvRows:
    """The references to draw samples for, one for each prompt.

    Raises UserError with everything that is wrong with the file, except for its samples.
    """
    workspace = options.workspace
    path = workspace.file_to_read(workspace.orpo_csv)
    stored = options.workspace.sampling_state()
    size = None
    if path.is_file():
        if stored:
            sample_store.check_references(path, stored)
            if options.restart:
                sample_store.check_no_other_rows(path, stored)
        size = sample_store.reference_size(path, stored)
    found = read_csv(
        path,
        scored=True,
        remedy=workspace.remedy,
        unique=True,
        referenced=True,
        size=size,
        limit=limit_to(options.max_rows),
        skip_bad_rows=options.skip_bad_rows,
    )
    used = limit_prompts(found.rows, options.max_rows)
    references = references_of(used)
    with about_rows(path, found):
        if len(references) < 2:
            have = count_text(len(references), "prompt has", "prompts have")
            raise UserError(f"{have} a row with score 1.0; at least 2 are needed")
        split_prompts(used, options.seed)  # step 3 splits the same prompts
    return CsvRows(references, found.notes)


def read_answers(options: Options) -> CsvRows:
    """All scored answers: references, samples of step 2, and the user's own.

    Raises UserError with everything that is wrong with the file. `check_sampling` checks which model drew them.
    """
    workspace = options.workspace
    path = workspace.file_to_read(workspace.orpo_csv)
    stored = options.workspace.sampling_state()
    if stored and path.is_file():
        sample_store.check_references(path, stored)
        if not sample_store.is_complete(path, stored):
            command = options_of_run(options, stored.settings).command("orpo_create_dataset")
            raise UserError(f"{path}: step 2 has not finished. Continue it: {command}")
    return read_csv(
        path,
        scored=True,
        remedy=workspace.remedy,
        limit=limit_to(options.max_rows),
        skip_bad_rows=options.skip_bad_rows,
    )


def check_sampling(options: Options, preset: Preset) -> None:
    """Raise UserError if the samples were drawn by another model. Needs a finished step 1."""
    stored = options.workspace.sampling_state()
    if stored and (differences := changes(stored.settings, sampling_settings(options, preset), TUNED_MODEL)):
        raise UserError(
            f"{options.workspace.orpo_csv}: the samples were drawn with other settings: {'; '.join(differences)}. Draw "
            f"new ones: {options.command('orpo_create_dataset')} --restart"
        )


def pairs_to_train_on(
    rows: Sequence[Row], train_prompts: Container[str], options: Options, preset: Preset
) -> list[Pair]:
    """The preference pairs of `rows`, for training and for validation. Raises UserError if none is for training."""
    margin = preset.orpo.min_margin
    pairs = make_pairs(rows, margin)
    if any(pair.prompt in train_prompts for pair in pairs):
        return pairs
    stored = options.workspace.sampling_state()
    samples = [row for row in rows if stored and row.number > stored.reference_rows]
    is_flawless = bool(samples) and all(row.score == 1 for row in samples)
    if pairs:
        what = f"all pairs of answers ({len(pairs)}) belong to held-out prompts"
    else:
        what = f"no prompt has an answer that ended and another whose score is lower by {margin} or more"
        if is_flawless:
            what = f"all {len(samples)} samples have score 1.0, so {what}: there is nothing left to prefer"
    draw = f"draw samples: {options.command('orpo_create_dataset')}"
    remedies = _other_samples(options, preset, stored) if stored else [draw]
    if pairs:
        remedies.append("use another --seed for all steps, with --restart")
        if not stored:
            remedies.append("add answers to other prompts")
    if is_flawless:
        remedies.append(f"stop here: the adapter of step 1 is the result. Ask it: {_ask(options)}")
    path = options.workspace.file_to_read(options.workspace.orpo_csv)
    raise UserError(f"{path}: {what}. {_either(remedies)}")


def _other_samples(options: Options, preset: Preset, stored: SamplingState) -> list[str]:
    """What to do when step 2 has drawn its samples and they give no pair. Drawing the same ones again does not help."""
    path, command = options.workspace.orpo_csv, options.command("orpo_create_dataset")
    remedies = []
    temperature = stored.settings.get("temperature", preset.sampling.temperature)
    if hotter := next((value for value in HIGHER_TEMPERATURES if value > temperature), None):
        values = options.settings_given | {"sampling.temperature": hotter}
        hotter_command = replace(options, set_values=tuple(values.items())).command("orpo_create_dataset")
        remedies.append(f"draw more varied samples, at a higher temperature: {hotter_command} --restart")
    if options.max_rows:
        remedies.append("use more rows: a higher --max-rows for all steps, with --restart")
    remedies.append(
        f"use more or harder prompts: delete the samples ({sample_store.sample_rows_text(stored)}) and the file "
        f"{sample_store.state_path(path)}, add rows with score 1.0, and draw samples: {command}"
    )
    return remedies


def _ask(options: Options) -> str:
    shared = replace(
        options, seed=SEED, max_rows=None, skip_bad_rows=False, report_to=None, set_values=()
    )  # ask.py has no other flags of a step
    return f"{shared.command('ask')} 'a request'"


def _either(remedies: Sequence[str]) -> str:
    """The remedies as sentences, with "or" between them."""
    first, *others = remedies
    return ". ".join([first[0].upper() + first[1:], *(f"Or {remedy}" for remedy in others)])


def held_out_references(rows: Sequence[Row], trained: Container[str], options: Options) -> list[Row]:
    """The references to validate with: one for each prompt of `rows` that is not in `trained`.

    `rows` are those of both CSVs, `trained` the prompts that step 1 or 3 trains on. Raises UserError if no prompt is
    left.
    """
    held_out = held_out_rows(rows, trained)
    if not held_out:
        path = options.workspace.file_to_read(options.workspace.orpo_csv)
        raise UserError(
            f"{path}: it has the same prompts as {SFT_CSV}, so step 1 or step 3 trains on each of them and none is "
            "left for validation. Use other prompts in one of the two files"
        )
    return held_out
