"""The figures of training steps, fetched from the device in blocks.

Every fetch makes the CPU wait until the GPU has finished. Without it, the CPU prepares the next steps meanwhile.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

SECONDS = 0.5  # between two fetches, so that slow steps are shown, and checked, one by one
STEPS = 64  # in a block, at most

Figures = dict[tuple[str, ...], Tensor]  # names, and a tensor of so many numbers


@dataclass(frozen=True, slots=True)
class StepRecord:
    """A training step: its number, its epoch, the batch, figures that are known and figures that are on the device."""

    step: int
    epoch: float
    batch: Mapping[str, Any]
    figures: Figures
    known: dict[str, float] = field(default_factory=dict)


class PendingSteps:
    """The records of the steps since the last fetch, in order."""

    def __init__(self) -> None:
        self._records: list[StepRecord] = []
        self._last_fetch = time.perf_counter()

    def __len__(self) -> int:
        return len(self._records)

    def add(self, record: StepRecord) -> None:
        self._records.append(record)

    @property
    def is_due(self) -> bool:
        return len(self._records) >= STEPS or time.perf_counter() - self._last_fetch >= SECONDS

    def fetch(self) -> Iterator[tuple[StepRecord, dict[str, float]]]:
        """Each record with all its figures by name, and an empty block. One transfer from the device for all."""
        records, self._records = self._records, []
        parts = [tensor.detach().reshape(-1) for record in records for tensor in record.figures.values()]
        numbers = iter(torch.cat(parts).tolist() if parts else [])
        self._last_fetch = time.perf_counter()
        for record in records:
            names = [name for group in record.figures for name in group]
            yield record, record.known | {name: next(numbers) for name in names}
