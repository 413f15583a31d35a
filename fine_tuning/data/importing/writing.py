"""Write the two CSVs of a workspace."""

import csv
import io
from collections.abc import Sequence

from fine_tuning.data.csv_rows import Row
from fine_tuning.run.errors import DamagedFile, UserError
from fine_tuning.run.run_state import RunState
from fine_tuning.run.workspace import Workspace

OPTIONAL = ("dest_shape_info", "ended", "split")


def csv_text(rows: Sequence[Row], scored: bool) -> str:
    r"""Rows as the text of a CSV: commas, \n. Optional columns are there if a row has something in them."""
    records = [
        {"input_data": row.prompt, "output_data": row.answer, "score": str(row.score), **row.fields, "split": row.split}
        for row in rows
    ]
    optional = [name for name in OPTIONAL if any(record.get(name) for record in records)]
    columns = ["input_data", "output_data", *(["score"] if scored else []), *optional]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return buffer.getvalue()


def check_target(workspace: Workspace, overwrite: bool) -> None:
    """Raise UserError if CSVs or runs of the workspace would be lost."""
    root = workspace.root
    if root.exists() and not root.is_dir():
        raise UserError(f"--workspace {root}: this is a file, not a folder")
    workspace.claim()
    workspace.check()
    existing = [path for path in (workspace.sft_csv, workspace.orpo_csv) if path.exists()]
    if not existing:
        return
    other = "choose another --workspace"
    if not overwrite:
        raise UserError(
            f"{existing[0]}: this workspace has its CSVs already. To replace them add --overwrite; or {other}"
        )
    try:
        used = (
            RunState(workspace.sft_model).read() or RunState(workspace.orpo_model).read() or workspace.sampling_state()
        )
    except DamagedFile as error:
        raise UserError(f"{error}. The workspace has a run on its CSVs; {other}") from None
    if used:
        raise UserError(
            f"{root}: a run has used its CSVs, and would not fit the new ones. {other[0].upper()}{other[1:]}"
        )


def write_csvs(workspace: Workspace, sft: str, orpo: str) -> None:
    """Write both CSVs, under the workspace's lock. A new workspace gets both or neither, even in a power cut."""
    workspace.fill({workspace.sft_csv.name: sft.encode(), workspace.orpo_csv.name: orpo.encode()})
