"""Read the ORPO CSV: the references that step 2 samples for, and the scored answers that step 3 trains on."""

from collections.abc import Container, Sequence

from fine_tuning.data.csv_rows import MAX_PROBLEMS_SHOWN, Row, read_rows
from fine_tuning.data.preference_pairs import Pair, make_pairs
from fine_tuning.data.split import held_out_rows, limit_prompts, references_of
from fine_tuning.run import sample_store
from fine_tuning.run.errors import UserError
from fine_tuning.run.options import Options
from fine_tuning.run.presets import Preset
from fine_tuning.run.run_state import changes
from fine_tuning.run.step_order import TUNED_MODEL, sampling_settings
from fine_tuning.run.workspace import SFT_CSV


def read_references(options: Options) -> list[Row]:
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
    rows = read_rows(path, scored=True, remedy=workspace.remedy, unique=True, size=size)
    references = references_of(limit_prompts(rows, options.max_rows))
    if len(references) < 2:
        raise UserError(f"{path}: {len(references)} prompts have a row with score 1.0; at least 2 are needed")
    with_reference = {row.prompt for row in rows if row.score == 1}
    if without := [row.number for row in rows if row.prompt not in with_reference]:
        numbers = ", ".join(map(str, without[:MAX_PROBLEMS_SHOWN]))
        raise UserError(
            f"{path}, row {numbers}: the prompt has no row with score 1.0 to score its samples against "
            f"({len(without)} such rows). Add one, or delete the row"
        )
    return references


def read_answers(options: Options) -> list[Row]:
    """All scored answers: references, samples of step 2, and the user's own.

    Raises UserError with everything that is wrong with the file. `check_sampling` checks which model drew them.
    """
    workspace = options.workspace
    path = workspace.file_to_read(workspace.orpo_csv)
    stored = options.workspace.sampling_state()
    if stored and path.is_file() and not sample_store.is_complete(path, stored):
        raise UserError(f"{path}: step 2 has not finished. Continue it: {options.command('orpo_create_dataset')}")
    return read_rows(path, scored=True, remedy=workspace.remedy)


def check_sampling(options: Options, preset: Preset) -> None:
    """Raise UserError if the samples were drawn for other references or by another model. Needs a finished step 1."""
    stored = options.workspace.sampling_state()
    if not stored:
        return
    path = options.workspace.orpo_csv
    sample_store.check_references(path, stored)
    if differences := changes(stored.settings, sampling_settings(options, preset), TUNED_MODEL):
        raise UserError(
            f"{path}: the samples were drawn with other settings: {'; '.join(differences)}. Draw new ones: "
            f"{options.command('orpo_create_dataset')} --restart"
        )


def pairs_to_train_on(
    rows: Sequence[Row], train_prompts: Container[str], options: Options, preset: Preset
) -> list[Pair]:
    """The preference pairs of `rows`, for training and for validation. Raises UserError if none is for training."""
    path, step_2 = options.workspace.file_to_read(options.workspace.orpo_csv), options.command("orpo_create_dataset")
    margin = preset.orpo.min_margin
    pairs = make_pairs(rows, margin)
    if not pairs:
        raise UserError(
            f"{path}: no prompt has an answer that ended and another whose score is lower by {margin} or more. Draw "
            f"samples: {step_2}"
        )
    if not any(pair.prompt in train_prompts for pair in pairs):
        raise UserError(
            f"{path}: all pairs of answers ({len(pairs)}) belong to held-out prompts. Draw samples: {step_2}; or add "
            "answers to other prompts, or use another --seed for all steps"
        )
    return pairs


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
