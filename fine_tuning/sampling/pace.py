"""How rows are decoded on a CPU and on a GPU. Imports no torch."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """How rows are decoded on a device.

    steps   tokens between two looks at what has ended; a look makes a GPU wait
    bucket  lengths of the cache are multiples of it; for each a step is recorded
    doubles the numbers of rows are powers of two, because for each a step is recorded
    queue   batches whose answers are generated together. With 1, shapes do not depend on where a run was interrupted,
            so neither does rounding
    most    rows at once, even if a batch has fewer
    """

    steps: int
    bucket: int
    doubles: bool
    queue: int
    most: int


CPU = Pace(steps=1, bucket=32, doubles=False, queue=1, most=1)
GPU = Pace(steps=8, bucket=256, doubles=True, queue=16, most=256)
