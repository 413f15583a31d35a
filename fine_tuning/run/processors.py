"""The processors of this machine. Imports no torch."""

import os


def usable_processors() -> int:
    """How many processors this process may run on, as far as the system says."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
