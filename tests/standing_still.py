"""Step 2 for `forked_job.py`, never done: a process stands still when it has stored two batches, until it is ended."""

import sys
import time
from unittest.mock import patch

from fine_tuning import orpo_create_dataset
from fine_tuning.run import sample_parts


def main() -> None:
    sys.argv[0] = "fine_tuning/orpo_create_dataset.py"
    store, stored = sample_parts.store, 0

    def store_and_stand_still(*batch) -> None:
        nonlocal stored
        store(*batch)
        stored += 1
        while stored == 2:
            time.sleep(1)

    with patch.object(sample_parts, "store", store_and_stand_still):
        orpo_create_dataset.main()
