"""Read the SFT CSV, which step 1 trains on and step 3 validates with."""

from fine_tuning.data.csv_rows import CsvRows, read_csv
from fine_tuning.data.split import limit_to
from fine_tuning.run.errors import UserError
from fine_tuning.run.options import Options


def read_sft_rows(options: Options) -> CsvRows:
    """All rows, each with score 1.0. Raises UserError with everything that is wrong with those that --max-rows uses."""
    workspace = options.workspace
    path = workspace.file_to_read(workspace.sft_csv)
    found = read_csv(
        path,
        scored=False,
        remedy=workspace.remedy,
        unique=True,
        limit=limit_to(options.max_rows),
        skip_bad_rows=options.skip_bad_rows,
    )
    prompts = {row.prompt for row in found.rows}
    if min(len(prompts), options.max_rows or len(prompts)) < 2:
        raise UserError(f"{path}: at least 2 different prompts are needed, one for training and one for validation")
    return found
