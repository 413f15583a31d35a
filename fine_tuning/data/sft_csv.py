"""Read the SFT CSV, which step 1 trains on and step 3 validates with."""

from fine_tuning.data.csv_rows import Row, read_rows
from fine_tuning.data.split import limit_prompts, split_prompts
from fine_tuning.run.errors import about
from fine_tuning.run.options import Options


def read_sft_rows(options: Options) -> list[Row]:
    """All rows, each with score 1.0. Raises UserError with everything that is wrong with the file."""
    workspace = options.workspace
    path = workspace.file_to_read(workspace.sft_csv)
    rows = read_rows(path, scored=False, remedy=workspace.remedy, unique=True)
    with about(path):  # they must allow a split
        split_prompts(limit_prompts(rows, options.max_rows), options.seed)
    return rows
