"""The command line that the three scripts share, and the checks that need no torch.

Importing torch and transformers takes seconds; a wrong flag or a broken CSV should be answered at once.
"""

import argparse
import ctypes
import hashlib
import importlib.util
import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fine_tuning.run.endings import stop
from fine_tuning.run.model_folder import folder_problems
from fine_tuning.run.workspace import PROJECT, Workspace, command_of

DEFAULT_MODEL = "deepseek-ai/deepseek-coder-1.3b-instruct"
DEFAULT_REVISION = "e063262dac8366fc1f28a4da0ff3c50ea66259ca"
EMBEDDED_FOLDER = PROJECT / "fine_tuning" / "embedded_model"
SEED = 2025


@dataclass(frozen=True, slots=True)
class Options:
    """The flags that all scripts share."""

    model: str
    revision: str | None
    workspace: Workspace
    seed: int
    max_rows: int | None
    dtype: str
    load_in_4bit: bool
    restart: bool

    @property
    def is_embedded(self) -> bool:
        return self.model == "embedded"

    @property
    def model_source(self) -> str:
        """What to load from: a folder's path or a hub id."""
        return str(EMBEDDED_FOLDER) if self.is_embedded else self.model

    @property
    def model_name(self) -> str:
        """What to record: `embedded`, a hub id, or a local folder's name, which says nothing of this machine."""
        return Path(self.model).resolve().name if Path(self.model).is_dir() else self.model

    def settings(self) -> dict[str, Any]:
        """What decides a run's result, by the names that logs show. A later start is compared with it."""
        return {
            "model": self.model_name,
            "revision": self.revision,
            "model files": self._fingerprint(),
            "dtype": self.dtype,
            "load in 4 bits": self.load_in_4bit,
            "seed": self.seed,
            "max rows": self.max_rows,
        }

    def _fingerprint(self) -> str | None:
        """Tells local models of one name apart, in no time, by all small files, the size and the end of the weights."""
        folder = Path(self.model_source)
        if not (folder / "config.json").is_file():
            return None
        digest = hashlib.sha256()
        for small in sorted([*folder.glob("*.json"), *folder.glob("*.jinja")]):
            digest.update(small.name.encode() + small.read_bytes())
        for weights in sorted(folder.glob("*.safetensors")):
            digest.update(f"{weights.name} {weights.stat().st_size}".encode())
            with open(weights, "rb") as file:
                file.seek(-min(2**20, weights.stat().st_size), os.SEEK_END)
                digest.update(file.read())
        return digest.hexdigest()

    def command(self, step: str) -> str:
        """The command that does another step, on the same model and workspace."""
        parts = [] if self.model == DEFAULT_MODEL else [f"--model {shlex.quote(self.model)}"]
        if self.workspace.root != PROJECT:
            parts.append(f"--workspace {shlex.quote(str(self.workspace.root))}")
        if self.max_rows is not None:
            parts.append(f"--max-rows {self.max_rows}")
        if self.seed != SEED:
            parts.append(f"--seed {self.seed}")
        if self.revision is not None and self.revision != DEFAULT_REVISION:
            parts.append(f"--revision {shlex.quote(self.revision)}")
        if self.dtype != "auto":
            parts.append(f"--dtype {self.dtype}")
        if self.load_in_4bit:
            parts.append("--load-in-4bit")
        return " ".join([command_of(f"fine_tuning/{step}.py"), *parts])


def parse_options(description: str) -> Options:
    """Read the command line; argparse answers --help and mistakes, with exit status 2."""
    return to_options(make_parser(description).parse_args())


def make_parser(description: str, is_step: bool = True) -> argparse.ArgumentParser:
    """A parser with the flags that all scripts share; without those of a step where the script is none."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    model = parser.add_argument_group("model")
    model.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        help=f"hub id, local folder, or `embedded`, a small model that runs on a CPU (default: {DEFAULT_MODEL})",
    )
    model.add_argument("--revision", help="commit of a hub model (default: the pinned one for the default model)")
    model.add_argument(
        "--dtype",
        choices=("auto", "bfloat16", "float16", "float32"),
        default="auto",
        help="of the weights; auto takes what the hardware does best (default: auto)",
    )
    model.add_argument(
        "--load-in-4bit", action="store_true", help="load the base model in 4 bits; needs bitsandbytes and CUDA"
    )
    run = parser.add_argument_group("run")
    run.add_argument(
        "--workspace", type=Path, default=PROJECT, help="folder to read and write in (default: the project)"
    )
    if not is_step:
        parser.set_defaults(max_rows=None, seed=SEED, restart=False)
        return parser
    run.add_argument("--max-rows", type=_positive, help="use only this many prompts of each CSV, to try things out")
    run.add_argument("--seed", type=_seed, default=SEED, help=f"of the split, training and sampling (default: {SEED})")
    run.add_argument("--restart", action="store_true", help="throw away what an earlier run of this step left")
    return parser


def to_options(args: argparse.Namespace) -> Options:
    """The shared flags as options."""
    revision = args.revision or (DEFAULT_REVISION if args.model == DEFAULT_MODEL else None)
    use_one_gpu()
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if args.model == "embedded" or Path(args.model).is_dir():
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    workspace = Workspace(args.workspace.resolve())
    if workspace.root.exists() and not workspace.root.is_dir():
        stop([f"--workspace {args.workspace}: this is a file, not a folder"])
    return Options(
        args.model, revision, workspace, args.seed, args.max_rows, args.dtype, args.load_in_4bit, args.restart
    )


def use_one_gpu() -> None:
    """Show this process the first of several GPUs only: the trainer would spread a batch of one over all of them."""
    os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]


def model_problems(options: Options) -> list[str]:
    """What stands in the way of loading the model, as far as can be told without torch."""
    problems = []
    if options.model == DEFAULT_MODEL and not has_cuda_device():
        problems.append(
            f"{DEFAULT_MODEL} needs a CUDA GPU and none was found. To try the whole pipeline on this machine, "
            "add --model embedded"
        )
    if options.load_in_4bit:
        if importlib.util.find_spec("bitsandbytes") is None:
            problems.append("--load-in-4bit needs bitsandbytes: python -m pip install bitsandbytes")
        if not has_cuda_device():
            problems.append("--load-in-4bit needs a CUDA GPU and none was found")
    is_hub_id = not options.is_embedded and not _looks_like_path(options.model)
    if is_hub_id and not re.fullmatch(r"[0-9a-f]{40}", options.revision or ""):
        problems.append(
            f"--model {options.model}: there is no such folder. If it is a model of the hub, name the commit to take, "
            "so that every step loads the same files: --revision and 40 hex digits from "
            f"https://huggingface.co/{options.model}/commits"
        )
    if not options.is_embedded and not is_hub_id:
        problems += [f"--model {options.model}: {problem}" for problem in folder_problems(Path(options.model))]
    return problems


def has_cuda_device() -> bool:
    """Ask the CUDA driver itself, which is faster than importing torch."""
    for name in ("libcuda.so.1", "nvcuda.dll"):
        try:
            driver = ctypes.CDLL(name)
        except OSError:
            continue
        count = ctypes.c_int(0)
        return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
    return False


def _looks_like_path(model: str) -> bool:
    return Path(model).is_dir() or model.startswith((".", "/", "~", "\\")) or model.count("/") != 1


def _seed(text: str) -> int:
    if not (text.isdecimal() and int(text) < 2**32):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {2**32 - 1}")
    return int(text)


def _positive(text: str) -> int:
    if not (text.isdecimal() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)
