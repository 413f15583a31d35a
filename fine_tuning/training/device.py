"""The device and the dtype of a run, facts about this machine, and peak memory."""

import platform
import sys
from importlib.metadata import version

import torch

from fine_tuning.run.errors import UserError
from fine_tuning.run.model_check import has_cuda_device

PACKAGES = ("torch", "transformers", "peft", "trl", "datasets", "pandas", "accelerate")


def device_name() -> str:
    """`cuda` if torch can use a GPU, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def check_gpu(needed: bool) -> None:
    """Raise UserError if this build of torch cannot use the machine's GPU.

    A build for CPUs or for another driver is an error only if the GPU is `needed`. A build without kernels for this GPU
    is always an error, because torch would choose the GPU and then fail.
    """
    if torch.cuda.is_available():
        try:
            torch.zeros(1, device="cuda").add_(1)
        except RuntimeError as error:
            if "no kernel image" not in str(error):
                raise
            raise UserError(
                f"torch {torch.__version__} was built without code for this GPU ({torch.cuda.get_device_name()}). "
                'To run --model embedded on the CPU, set CUDA_VISIBLE_DEVICES="". To install a build for this GPU, '
                "see https://pytorch.org/get-started/locally"
            ) from error
    elif needed and has_cuda_device():
        raise UserError(
            f"there is a GPU, but torch {torch.__version__} (CUDA {torch.version.cuda}) cannot use it. Install a CUDA "
            "build of torch that suits the driver: see https://pytorch.org/get-started/locally"
        )


def choose_dtype(name: str) -> torch.dtype:
    """The dtype for a value of --dtype on this machine.

    `auto` is float32 on a CPU, bfloat16 on a GPU of compute capability 8.0 or more, and float16 on older ones.
    """
    if name != "auto":
        dtype: torch.dtype = getattr(torch, name)
        return dtype
    if device_name() == "cpu":
        return torch.float32
    return torch.bfloat16 if torch.cuda.get_device_capability() >= (8, 0) else torch.float16


def machine() -> dict[str, str]:
    """This machine and the versions of the packages that training depends on, for the log."""
    facts = {
        "system": f"{platform.system()} {platform.machine()}",
        "processor threads": str(torch.get_num_threads()),
        "GPU": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "python": platform.python_version(),
    }
    return facts | {package: version(package) for package in PACKAGES}


def peak_memory_mib() -> int:
    """Peak memory of this process in MiB: GPU memory that torch allocated, or resident memory without a GPU."""
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 2**20)
    if sys.platform == "win32":
        import psutil  # comes with accelerate

        return round(psutil.Process().memory_info().peak_wset / 2**20)
    import resource  # Windows has no such module

    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB, on macOS bytes
    return round(resident / (2**20 if sys.platform == "darwin" else 2**10))
