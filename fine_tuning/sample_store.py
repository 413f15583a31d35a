"""The ORPO CSV as a crash-safe store of samples.

The rows that a user started with, the references, are never rewritten. Samples are appended a batch at a time, each
batch with one write that is on disk before the next begins. Beside the CSV lies `orpo_dataset_llm.sampling.json`: what
the samples are drawn from and the plan of batches, made beforehand. From these two files alone a stopped run knows
which batches are whole; what a crash left of another one is cut off and drawn again.
"""

import codecs
import contextlib
import csv
import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fine_tuning.files import write_atomically


@dataclass(frozen=True, slots=True)
class SamplingState:
    """How a CSV's samples came about.

    `settings` name the model and what else decides a sample; `batch_sizes` is the plan: the samples in each batch.
    """

    settings: dict[str, Any]
    batch_sizes: tuple[int, ...]
    reference_rows: int
    reference_sha256: str


def state_path(csv_path: Path) -> Path:
    """Where a CSV's sampling state lies."""
    return csv_path.with_suffix(".sampling.json")


def read_state(csv_path: Path) -> SamplingState | None:
    """The sampling state of a CSV, None where no samples were drawn for it."""
    path = state_path(csv_path)
    if not path.exists():
        return None
    stored = json.loads(path.read_text(encoding="utf-8"))
    return SamplingState(**stored | {"batch_sizes": tuple(stored["batch_sizes"])})


def record_ends(content: bytes) -> list[int]:
    """The byte offset behind each whole record of a CSV, the header's first.

    Records are what the csv module takes for records; a blank line belongs to the record before it, and a torn last
    record has no end.
    """
    csv.field_size_limit(2**31 - 1)
    start = len(codecs.BOM_UTF8) if content.startswith(codecs.BOM_UTF8) else 0
    read = start

    def lines() -> Iterator[str]:
        nonlocal read
        for line in io.StringIO(content[start:].decode("latin-1"), newline=""):  # one character for each byte
            read += len(line)
            yield line

    ends: list[int] = []
    with contextlib.suppress(csv.Error):  # an open quote at the end of the content
        for record in csv.reader(lines(), strict=True):
            if record:
                ends.append(read)
            elif ends:
                ends[-1] = read
    return ends if content.endswith((b"\n", b"\r")) else [end for end in ends if end < len(content)]


def reference_bytes(csv_path: Path) -> bytes:
    """A CSV without the samples that were appended to it; all of one that has fewer rows than its references were."""
    content = csv_path.read_bytes()
    state = read_state(csv_path)
    if state is None:
        return content
    ends = record_ends(content)
    return content[: ends[state.reference_rows]] if state.reference_rows < len(ends) else content


def begin(csv_path: Path, settings: Mapping[str, Any], batch_sizes: Sequence[int]) -> SamplingState:
    """Write the plan for a CSV that holds references only."""
    content = csv_path.read_bytes()
    if not content.endswith(b"\n"):  # the first sample would otherwise continue the last reference
        content += b"\n"
        write_atomically(csv_path, content)
    state = SamplingState(
        dict(settings), tuple(batch_sizes), len(record_ends(content)) - 1, hashlib.sha256(content).hexdigest()
    )
    stored = {
        "settings": state.settings,
        "batch_sizes": state.batch_sizes,
        "reference_rows": state.reference_rows,
        "reference_sha256": state.reference_sha256,
    }
    write_atomically(state_path(csv_path), json.dumps(stored, indent=1) + "\n")
    return state


def check_references(csv_path: Path, state: SamplingState) -> None:
    """Raises ValueError where the references are not the ones that the samples were drawn for."""
    if hashlib.sha256(reference_bytes(csv_path)).hexdigest() != state.reference_sha256:
        raise ValueError(
            f"{csv_path}: its first {state.reference_rows} rows are not those that its samples were drawn for. "
            f"Where the whole file is your own, delete {state_path(csv_path)}"
        )


def recover(csv_path: Path, state: SamplingState) -> tuple[int, int]:
    """Cut off what is not part of a whole batch; returns (whole batches, bytes cut off).

    Raises ValueError where the references are not the ones that the samples were drawn for.
    """
    check_references(csv_path, state)
    content = csv_path.read_bytes()
    ends = record_ends(content)
    samples = len(ends) - 1 - state.reference_rows
    whole, rows = 0, 0
    while whole < len(state.batch_sizes) and rows + state.batch_sizes[whole] <= samples:
        rows += state.batch_sizes[whole]
        whole += 1
    keep = ends[state.reference_rows + rows]
    if keep < len(content):
        with open(csv_path, "r+b") as file:
            file.truncate(keep)
            os.fsync(file.fileno())
    return whole, len(content) - keep


def is_complete(csv_path: Path, state: SamplingState) -> bool:
    """True when the CSV holds every sample of the plan."""
    return len(record_ends(csv_path.read_bytes())) - 1 >= state.reference_rows + sum(state.batch_sizes)


def drop_samples(csv_path: Path) -> None:
    """Go back to the references alone. Raises ValueError where they have changed, for then nothing tells them apart."""
    state = read_state(csv_path)
    if state is None:
        return
    check_references(csv_path, state)
    write_atomically(csv_path, reference_bytes(csv_path))
    state_path(csv_path).unlink(missing_ok=True)


def append(csv_path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> None:
    """Append one batch of rows; on return they are on disk."""
    buffer = io.StringIO()
    # A carriage return in a cell would end the row; not every version of csv quotes it by itself.
    csv.DictWriter(buffer, columns, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(rows)
    with open(csv_path, "ab") as file:
        file.write(buffer.getvalue().encode())
        file.flush()
        os.fsync(file.fileno())
