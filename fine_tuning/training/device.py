"""What a run computes on, in which dtype, and how much memory it took."""

import platform
import sys
from importlib.metadata import version

import torch

from fine_tuning.run.endings import stop
from fine_tuning.run.options import Options, has_cuda_device

PACKAGES = ("torch", "transformers", "peft", "trl", "datasets", "pandas", "accelerate")


def device_name() -> str:
    """`cuda` where torch can use a GPU, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def check_gpu(options: Options) -> None:
    """End the program where there is a GPU that this torch, built for a CPU, another driver or other GPUs, cannot use.

    The embedded model does not need it, and where there is none, another model than the default one may take the CPU.
    """
    if torch.cuda.is_available():
        try:
            torch.zeros(1, device="cuda").add_(1)
        except RuntimeError as error:
            if "no kernel image" not in str(error):
                raise
            stop(
                [
                    f"torch {torch.__version__} was built without code for this GPU ({torch.cuda.get_device_name()}). "
                    "Install a build that has it; https://pytorch.org/get-started/locally names the command. On the "
                    'CPU, --model embedded runs with CUDA_VISIBLE_DEVICES=""'
                ]
            )
        return
    if options.is_embedded or not has_cuda_device():
        return
    stop(
        [
            f"there is a GPU, but torch {torch.__version__} (CUDA {torch.version.cuda}) cannot use it. Install a CUDA "
            "build of torch that suits the driver; https://pytorch.org/get-started/locally names the command"
        ]
    )


def choose_dtype(name: str) -> torch.dtype:
    """The dtype that a --dtype flag means here.

    `auto` is float32 on a CPU, bfloat16 on a GPU of compute capability 8.0 or more, and float16 on older ones.
    """
    if name != "auto":
        return getattr(torch, name)
    if device_name() == "cpu":
        return torch.float32
    return torch.bfloat16 if torch.cuda.get_device_capability() >= (8, 0) else torch.float16


def machine() -> dict[str, str]:
    """This machine and the versions of the packages that decide a training, for the log."""
    facts = {
        "system": f"{platform.system()} {platform.machine()}",
        "processor threads": str(torch.get_num_threads()),
        "GPU": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "python": platform.python_version(),
    }
    return facts | {package: version(package) for package in PACKAGES}


def peak_memory_mib() -> int:
    """Peak memory of this process in MiB: allocated on the GPU where there is one, else resident."""
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 2**20)
    if sys.platform == "win32":
        import psutil  # comes with accelerate

        return round(psutil.Process().memory_info().peak_wset / 2**20)
    import resource  # Windows has no such module

    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB, on macOS bytes
    return round(resident / (2**20 if sys.platform == "darwin" else 2**10))
