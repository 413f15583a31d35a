"""Check the ORPO CSV that step 2 appends to, without torch: its references, and what it may have of samples already."""

from fine_tuning.data.csv_rows import MAX_PROBLEMS_SHOWN, Row, read_rows
from fine_tuning.data.split import limit_prompts, references_of
from fine_tuning.run import sample_store
from fine_tuning.run.options import Options
from fine_tuning.run.sample_store import SamplingState


def read_references(options: Options) -> tuple[SamplingState | None, list[Row], list[str]]:
    """How samples were drawn so far, the references to draw samples for, and what is wrong with the file.

    Raises DamagedFile where nothing can be known of the samples.
    """
    workspace = options.workspace
    path = workspace.readable(workspace.orpo_csv)
    stored = None if workspace.is_new else sample_store.read_state(path)
    size = None
    if path.is_file():
        try:
            if stored:
                sample_store.check_references(path, stored)
            if stored and options.restart:
                sample_store.check_own_rows(path, stored)
        except ValueError as error:
            return stored, [], [str(error)]
        size = sample_store.reference_size(path, stored)
    rows, problems = read_rows(path, scored=True, remedy=workspace.remedy, unique=True, size=size)
    references = references_of(limit_prompts(rows, options.max_rows))
    with_reference = {row.prompt for row in rows if row.score == 1}
    lonely = [row for row in rows if row.prompt not in with_reference]
    if not problems and len(references) < 2:
        problems.append(f"{path}: {len(references)} prompts have a row with score 1.0; at least 2 are needed")
    elif lonely:
        numbers = ", ".join(str(row.number) for row in lonely[:MAX_PROBLEMS_SHOWN])
        problems.append(
            f"{path}, row {numbers}: the prompt has no row with score 1.0 to score its samples against "
            f"({len(lonely)} such rows). Add one, or delete the row"
        )
    return stored, references, problems
