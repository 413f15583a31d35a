"""The samples of several processes, until they are in the ORPO CSV.

Each process appends its batches to a file of its own beside the CSV, `orpo_dataset_llm.samples-0.jsonl` and so on. A
line is a batch: a fingerprint of the run, the batch's number in the plan, and its rows as CSV text. It is on disk
before the next one. When all batches are there, the main process appends them to the CSV in the order of the plan, and
deletes these files. Until then, any number of processes, also one, goes on with what they hold.
"""

import csv
import hashlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from fine_tuning.run.csv_bytes import cut, ends_of, record_ends
from fine_tuning.run.errors import UserError
from fine_tuning.run.files import naming, sync_entries
from fine_tuning.run.sample_store import SamplingState, append_text, state_path


class Place(NamedTuple):
    """Where a stored batch is: the bytes of its line in a file."""

    path: Path
    start: int
    size: int


def part_path(csv_path: Path, process: int) -> Path:
    """The file in which a process keeps its batches."""
    return csv_path.with_suffix(f".samples-{process}.jsonl")


def part_paths(csv_path: Path) -> list[Path]:
    """The files that exist, of any number of processes."""
    found = csv_path.parent.glob(f"{csv_path.stem}.samples-*.jsonl")
    return sorted(path for path in found if path.stem.rpartition("-")[2].isdecimal())


def fingerprint(state: SamplingState) -> str:
    """What distinguishes a run from all with other settings, references or batches: a SHA-256, in hex."""
    content = [state.settings, state.batch_sizes, state.reference_rows, state.reference_sha256]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def store(path: Path, run: str, number: int, text: str) -> None:
    """Append a batch, given by its number and its rows as CSV text. It is on disk when this returns."""
    line = json.dumps({"run": run, "batch": number, "csv": text}) + "\n"
    is_new = not path.exists()
    with naming(path), open(path, "ab") as file:
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())
    if is_new:
        sync_entries(path.parent)


def stored_batches(csv_path: Path, state: SamplingState) -> dict[int, Place]:
    """The batches that the processes have stored, by their numbers.

    Whatever follows the last complete batch of this run is cut off: a batch that a crash has left incomplete, or what
    another run has left. Prints that.
    """
    run = fingerprint(state)
    places: dict[int, Place] = {}
    for path in part_paths(csv_path):
        end = 0
        with open(path, "rb") as file:
            for line in file:
                batch = _batch_in(line, run, state.batch_sizes)
                if batch is None:
                    break
                places.setdefault(batch[0], Place(path, end, len(line)))
                end += len(line)
        if more := cut(path, end):
            print(f"{path}: cut off {more} bytes that are no complete batch of this run")
        if not end:
            path.unlink()
    return places


def check_samples(csv_path: Path, state: SamplingState, prompts: Sequence[str]) -> None:
    """Raise UserError if a row after the references is not from step 2, whose samples have these prompts.

    While several processes sample, the CSV shows no sample, and a user may take it for one that holds only references.
    """
    ends = ends_of(csv_path)
    with open(csv_path, "rb") as file:
        header = file.read(ends[0]).decode("utf-8-sig")
        file.seek(ends[state.reference_rows])
        rows = file.read(ends[-1] - ends[state.reference_rows]).decode(errors="replace")
    samples = csv.DictReader(io.StringIO(header + rows, newline=""))
    for number, (row, prompt) in enumerate(zip(samples, prompts, strict=False), start=state.reference_rows + 1):
        if row["input_data"] != prompt:
            raise UserError(
                f"{csv_path}: row {number} is not from step 2 and would be lost. Move the rows that you have added to "
                "another file. Or, to draw samples for them too, delete the samples, if there are any, and "
                f"{state_path(csv_path)}"
            )


def append_stored(csv_path: Path, state: SamplingState, places: Mapping[int, Place], first: int) -> int:
    """Append the stored batches from number `first` on to the CSV, one by one, up to one that is not stored.

    Returns the number of that one.
    """
    run = fingerprint(state)
    while first in places:
        path, start, size = places[first]
        with open(path, "rb") as file:
            file.seek(start)
            batch = _batch_in(file.read(size), run, state.batch_sizes)
        if batch is None or batch[0] != first:  # somebody has written into the file
            break
        append_text(csv_path, batch[1])
        first += 1
    return first


def drop_parts(csv_path: Path) -> None:
    """Delete the files of all processes."""
    paths = part_paths(csv_path)
    for path in paths:
        path.unlink()
    if paths:
        sync_entries(csv_path.parent)


def _batch_in(line: bytes, run: str, batch_sizes: Sequence[int]) -> tuple[int, str] | None:
    """The number of the batch in a line, and its rows as CSV text; None if it is no whole batch of the run."""
    if not line.endswith(b"\n"):
        return None
    try:
        entry = json.loads(line)
        number, text = entry["batch"], entry["csv"]
        is_known = entry["run"] == run and type(number) is int and 0 <= number < len(batch_sizes)
        if is_known and len(record_ends(io.BytesIO(text.encode()))) == batch_sizes[number]:
            return number, text
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass
    return None
