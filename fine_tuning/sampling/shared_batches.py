"""The batches of step 2, shared out to the processes of a job, and the CSV that all of them make together.

One process appends each batch to the CSV. Several store theirs apart (`sample_parts`), until all are drawn. The CSV is
the same, and any number of processes can go on where another number has stopped.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fine_tuning.run import sample_parts, sample_store
from fine_tuning.run.commands import continue_command
from fine_tuning.run.csv_bytes import columns_of
from fine_tuning.run.errors import UserError
from fine_tuning.run.processes import processes
from fine_tuning.training.collectives import barrier, broadcast

SHARED_DRIVE = "All machines need the same --workspace, on a drive that they share"


class SharedBatches:
    """Begins or continues sampling. All processes make it, with the same arguments, and call `finish`.

    `prompts` are those of each planned batch, in the order of the plan.

    columns         the names of the CSV's columns
    reference_rows  the number of rows before the samples in the CSV
    done            how many samples earlier starts have drawn
    left            the numbers of the batches that this process draws, in the order of the plan

    Raises UserError as `sample_store.resume` and `sample_parts.check_samples` do, or if a process does not see the
    files of the main one.
    """

    def __init__(self, csv_path: Path, settings: Mapping[str, Any], prompts: Sequence[Sequence[str]]) -> None:
        batch_sizes = [len(batch) for batch in prompts]
        self._csv, self._here = csv_path, processes()
        self._next = 0  # the batch that the CSV needs next
        self._places: dict[int, sample_parts.Place] = {}  # of the batches that are stored apart
        found: Any = None
        if self._here.is_main:
            before = sample_store.read_state(csv_path)
            if before is not None and sample_parts.part_paths(csv_path):
                sample_store.check_references(csv_path, before)
                sample_parts.check_samples(csv_path, before, [prompt for batch in prompts for prompt in batch])
            state, self._next = sample_store.resume(csv_path, settings, batch_sizes)
            self._places = sample_parts.stored_batches(csv_path, state)
            left = [k for k in range(self._next, len(batch_sizes)) if k not in self._places]
            found = state, left
        self._state, left = broadcast(found)
        seen = sample_store.read_state(csv_path)
        if seen is None or sample_parts.fingerprint(seen) != sample_parts.fingerprint(self._state):
            raise UserError(f"{csv_path}: this process sees other files than process 0. {SHARED_DRIVE}")
        self.columns = columns_of(csv_path)
        self.reference_rows = self._state.reference_rows
        self.done = sum(batch_sizes) - sum(batch_sizes[k] for k in left)
        self.left = self._here.share(left)

    def add(self, number: int, rows: Sequence[Mapping[str, str]]) -> None:
        """Add a batch that this process has drawn: the first of `left` that it has not added. It is then on disk."""
        if self._here.are_several:
            part = sample_parts.part_path(self._csv, self._here.rank)
            text = sample_store.text_of(self.columns, rows)
            sample_parts.store(part, sample_parts.fingerprint(self._state), number, text)
        else:
            self._append_stored()
            sample_store.append(self._csv, self.columns, rows)
            self._next += 1

    def finish(self) -> None:
        """Wait for all processes. Afterwards the CSV has all samples."""
        barrier()
        if self._here.is_main:
            if self._here.are_several:
                self._places = sample_parts.stored_batches(self._csv, self._state)
            self._append_stored()
            if missing := len(self._state.batch_sizes) - self._next:
                raise UserError(
                    f"{self._csv}: {missing} batches were drawn and are not on this machine. {SHARED_DRIVE}. Then "
                    f"continue: {continue_command()}"
                )
            sample_parts.drop_parts(self._csv)
        barrier()

    def _append_stored(self) -> None:
        self._next = sample_parts.append_stored(self._csv, self._state, self._places, self._next)
