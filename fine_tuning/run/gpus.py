"""The GPUs of this machine, and the one that this process uses. Imports no torch."""

import ctypes
import os
import subprocess
import sys

from fine_tuning.run.commands import PROJECT
from fine_tuning.run.errors import UserError
from fine_tuning.run.processes import Processes, processes

VISIBLE = "CUDA_VISIBLE_DEVICES"


def use_one_gpu() -> None:
    """Hide all GPUs but one from this process: the Trainer would spread a batch of one over all of them.

    Of several processes on a machine, each has a GPU of its own. Raises UserError if there are less GPUs than that.
    """
    os.environ[VISIBLE] = gpu_of(processes(), os.environ.get(VISIBLE))


def gpu_of(here: Processes, visible: str | None) -> str:
    """The value of CUDA_VISIBLE_DEVICES that shows a process its own GPU, given the value that it was started with."""
    if here.on_cpu:
        return ""
    if here.local_count == 1:
        return "0" if visible is None else visible.split(",")[0]
    gpus = list(map(str, range(_count_in_a_child()))) if visible is None else [gpu for gpu in visible.split(",") if gpu]
    if not gpus:  # all work on the CPU
        return ""
    if len(gpus) < here.local_count:
        raise UserError(
            f"{here.local_count} processes were started on this machine, and there {'are' if gpus[1:] else 'is'} "
            f"{len(gpus)} GPU{'s' if gpus[1:] else ''} for them. Start one process for each GPU"
        )
    return gpus[here.local_rank]


def count_gpus() -> int:
    """The number of CUDA GPUs. Asks the CUDA driver itself, which is faster than importing torch.

    From then on, this process can no longer choose which GPUs it sees.
    """
    for name in ("libcuda.so.1", "nvcuda.dll"):
        try:
            driver = ctypes.CDLL(name)
        except OSError:
            continue
        count = ctypes.c_int(0)
        return count.value if driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 else 0
    return 0


def _count_in_a_child() -> int:
    program = f"from {__name__} import count_gpus; print(count_gpus())"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")])}
    child = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    return int(child.stdout) if child.returncode == 0 else 0
