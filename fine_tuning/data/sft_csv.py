"""Read the SFT CSV, which step 1 trains on and step 3 validates with."""

from fine_tuning.data.csv_rows import CsvRows, about_rows, read_csv
from fine_tuning.data.split import limit_prompts, limit_to, split_prompts
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
    with about_rows(path, found):  # the rows must allow a split
        split_prompts(limit_prompts(found.rows, options.max_rows), options.seed)
    return found
