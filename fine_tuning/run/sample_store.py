"""The ORPO CSV as a crash-safe store of samples.

Before the first sample, a CSV without the column `ended` gets it, empty in each of the user's own rows, the references.
Nothing else of these rows ever changes. Samples are appended one batch at a time, in one write that is on disk before
the next one. `orpo_dataset_llm.sampling.json` beside the CSV holds the settings that decide the samples, and
the plan: the sizes of all batches, fixed before the first sample. From these two files a stopped run knows which
batches are complete. An incomplete batch left by a crash is cut off and drawn again. Several processes first store
their batches apart: see `sample_parts`.
"""

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fine_tuning.run.csv_bytes import CHUNK, add_column, cut, ends_of, sha256_of_start
from fine_tuning.run.errors import DamagedFile, UserError
from fine_tuning.run.files import naming, sync_entries, write_atomically


@dataclass(frozen=True, slots=True)
class SamplingState:
    """How a CSV's samples are drawn.

    settings          the model and everything else that decides a sample
    batch_sizes       the plan: the number of samples in each batch
    reference_rows    the number of rows before the samples
    reference_sha256  SHA-256 of these rows, in hex
    """

    settings: dict[str, Any]
    batch_sizes: tuple[int, ...]
    reference_rows: int
    reference_sha256: str


def state_path(csv_path: Path) -> Path:
    """The file with a CSV's sampling state."""
    return csv_path.with_suffix(".sampling.json")


def read_state(csv_path: Path) -> SamplingState | None:
    """The sampling state of a CSV; None if no samples were drawn for it. Raises DamagedFile."""
    path = state_path(csv_path)
    if not path.exists():
        return None
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        state = SamplingState(**stored | {"batch_sizes": tuple(stored["batch_sizes"])})
        sizes = (*state.batch_sizes, state.reference_rows)
        if not all(type(size) is int and size >= 0 for size in sizes) or not isinstance(state.settings, dict):
            raise ValueError("wrong types or a negative size")
    except (ValueError, TypeError, KeyError, RecursionError):
        raise DamagedFile(
            f"{path}: this file is damaged, so samples and references cannot be distinguished. Replace {csv_path} with "
            "a CSV that holds only references, then delete this file"
        ) from None
    return state


def reference_size(csv_path: Path, state: SamplingState | None) -> int:
    """The size in bytes of a CSV's header and references; the whole file if rows of these are missing."""
    if state is None:
        return csv_path.stat().st_size
    ends = ends_of(csv_path)
    return ends[state.reference_rows] if state.reference_rows < len(ends) else csv_path.stat().st_size


def copy_references(source: Path, target: Path) -> None:
    """Copy a CSV without its samples to a new file, and fsync it."""
    left = reference_size(source, read_state(source))
    with naming(target), open(source, "rb") as old, open(target, "wb") as new:
        while chunk := old.read(min(left, CHUNK)):
            new.write(chunk)
            left -= len(chunk)
        new.flush()
        os.fsync(new.fileno())


def begin(csv_path: Path, settings: Mapping[str, Any], batch_sizes: Sequence[int]) -> SamplingState:
    """Write the sampling state of a CSV that holds only references."""
    _end_last_line(csv_path)
    references, sha256 = len(ends_of(csv_path)) - 1, sha256_of_start(csv_path, csv_path.stat().st_size)
    state = SamplingState(dict(settings), tuple(batch_sizes), references, sha256)
    stored = {
        "settings": state.settings,
        "batch_sizes": state.batch_sizes,
        "reference_rows": state.reference_rows,
        "reference_sha256": state.reference_sha256,
    }
    write_atomically(state_path(csv_path), json.dumps(stored, indent=1) + "\n")
    return state


def resume(csv_path: Path, settings: Mapping[str, Any], batch_sizes: Sequence[int]) -> tuple[SamplingState, int]:
    """Begin or continue sampling. Returns the state of the CSV and the number of complete batches.

    Before sampling begins, the CSV gets the column `ended` if it does not have it. Cuts off an incomplete batch left by
    a crash, and prints that. Raises UserError as `recover` does.
    """
    state = read_state(csv_path)
    if state is None:
        _end_last_line(csv_path)
        add_column(csv_path, "ended")
        state = begin(csv_path, settings, batch_sizes)
    done, cut = recover(csv_path, state)
    if cut:
        print(f"{csv_path}: cut off {cut} bytes of an incomplete batch, which is drawn again")
    return state, done


def check_references(csv_path: Path, state: SamplingState) -> None:
    """Raise UserError if the references have changed since the samples were drawn."""
    if sha256_of_start(csv_path, reference_size(csv_path, state)) != state.reference_sha256:
        raise UserError(
            f"{csv_path}: its first {state.reference_rows} rows have changed since samples were drawn for them. Restore"
            " these rows. Or, to draw new samples, delete all samples of step 2 from the file, and then "
            f" {state_path(csv_path)}"
        )


def recover(csv_path: Path, state: SamplingState) -> tuple[int, int]:
    """Cut off an incomplete batch. Returns the number of complete batches and the number of bytes cut off.

    Raises UserError if the references have changed since the samples were drawn, or if other rows follow the samples.
    """
    check_references(csv_path, state)
    check_no_other_rows(csv_path, state)
    ends = ends_of(csv_path)
    samples = len(ends) - 1 - state.reference_rows
    complete, rows = 0, 0
    while complete < len(state.batch_sizes) and rows + state.batch_sizes[complete] <= samples:
        rows += state.batch_sizes[complete]
        complete += 1
    return complete, cut(csv_path, ends[state.reference_rows + rows])


def check_no_other_rows(csv_path: Path, state: SamplingState) -> None:
    """Raise UserError if the CSV has more rows than references and planned samples. The user must have added them."""
    more = _rows_beyond_plan(csv_path, state)
    if more > 0:
        raise UserError(
            f"{csv_path}: the rows after the samples are not from step 2 and would be lost (rows: {more}). Move them "
            f"to another file. Or, to draw samples for them too, delete the samples ({sample_rows_text(state)}) and "
            f"{state_path(csv_path)}"
        )


def sample_rows_text(state: SamplingState) -> str:
    """Where the samples of a finished run stand in the CSV."""
    return f"rows {state.reference_rows + 1} to {state.reference_rows + sum(state.batch_sizes)}"


def is_complete(csv_path: Path, state: SamplingState) -> bool:
    """True if the CSV holds every sample of the plan."""
    return _rows_beyond_plan(csv_path, state) >= 0


def drop_samples(csv_path: Path) -> None:
    """Remove all samples.

    Raises UserError if the references have changed, because they cannot be distinguished from the samples then, or if
    other rows would be lost.
    """
    state = read_state(csv_path)
    if state is None:
        return
    check_references(csv_path, state)
    check_no_other_rows(csv_path, state)
    cut(csv_path, reference_size(csv_path, state))
    state_path(csv_path).unlink(missing_ok=True)
    sync_entries(csv_path.parent)


def append(csv_path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> None:
    """Append one batch of rows. They are on disk when this returns."""
    append_text(csv_path, text_of(columns, rows))


def text_of(columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> str:
    """The rows as they stand in the CSV."""
    buffer = io.StringIO()
    # An unquoted carriage return in a cell would end the row, and not every version of csv quotes it.
    csv.DictWriter(buffer, columns, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(rows)
    return buffer.getvalue()


def append_text(csv_path: Path, text: str) -> None:
    """Append rows, as made by `text_of`. They are on disk when this returns."""
    with naming(csv_path), open(csv_path, "ab") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


def _end_last_line(csv_path: Path) -> None:
    """Add the line break that the last reference may lack. Without it, the first sample would be a part of it."""
    with open(csv_path, "r+b") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
        if file.read() != b"\n":
            file.write(b"\n")
            file.flush()
            os.fsync(file.fileno())


def _rows_beyond_plan(csv_path: Path, state: SamplingState) -> int:
    """How many rows a CSV has beyond its references and planned samples; negative while samples are missing."""
    return len(ends_of(csv_path)) - 1 - state.reference_rows - sum(state.batch_sizes)
