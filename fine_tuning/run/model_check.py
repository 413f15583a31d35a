"""Check, without importing torch, whether the model can be loaded."""

import importlib.util
import re
from pathlib import Path

from fine_tuning.run.errors import Checks, UserError
from fine_tuning.run.gpus import count_gpus
from fine_tuning.run.hub import check_hub
from fine_tuning.run.model_folder import folder_problems
from fine_tuning.run.options import DEFAULT_MODEL, Options


def check_model(options: Options) -> None:
    """Raise UserError with every reason why the model cannot be loaded."""
    checks = Checks()
    with checks:
        if options.model == DEFAULT_MODEL and not has_cuda_device():
            raise UserError(
                f"{DEFAULT_MODEL} needs a CUDA GPU and none was found. To try the whole pipeline on this machine, "
                "add --model embedded"
            )
    if options.load_in_4bit:
        with checks:
            if importlib.util.find_spec("bitsandbytes") is None:
                raise UserError("--load-in-4bit needs bitsandbytes: python -m pip install bitsandbytes")
        with checks:
            if not has_cuda_device():
                raise UserError("--load-in-4bit needs a CUDA GPU and none was found")
    with checks:
        _check_source(options)
    checks.finish()


def _check_source(options: Options) -> None:
    if options.is_embedded:
        return
    if _looks_like_path(options.model):
        if problems := folder_problems(Path(options.model)):
            raise UserError(*(f"--model {options.model}: {problem}" for problem in problems))
    elif not re.fullmatch(r"[0-9a-f]{40}", options.revision or ""):
        raise UserError(
            f"--model {options.model}: there is no such folder. If it is a model on the Hugging Face hub, name the "
            "commit, so every step loads the same files: --revision and 40 hex digits from "
            f"https://huggingface.co/{options.model}/commits"
        )


def check_download(options: Options) -> None:
    """Raise UserError if a hub model is not in the cache and the hub cannot be reached. Ask this last: it takes seconds
    without a network, and a finished run needs no model.
    """
    if not options.is_local:
        check_hub(options.model, options.revision)


def has_cuda_device() -> bool:
    """True if there is a CUDA GPU."""
    return count_gpus() > 0


def _looks_like_path(model: str) -> bool:
    return Path(model).is_dir() or model.startswith((".", "/", "~", "\\")) or model.count("/") != 1
