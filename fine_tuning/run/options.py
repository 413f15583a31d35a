"""The command line that all scripts share."""

import argparse
import hashlib
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fine_tuning.run.commands import PROJECT, default_workspace, flags, program_of, script
from fine_tuning.run.errors import Checks, UserError
from fine_tuning.run.gpus import use_one_gpu
from fine_tuning.run.hub import is_cached
from fine_tuning.run.processes import hide_launcher, launcher_of, processes
from fine_tuning.run.report_to import PACKAGES
from fine_tuning.run.run_state import GLOBAL_BATCH
from fine_tuning.run.set_flag import read_settings, set_flags, settings_help
from fine_tuning.run.workspace import Workspace, broken_links

DEFAULT_MODEL = "deepseek-ai/deepseek-coder-1.3b-instruct"
DEFAULT_REVISION = "e063262dac8366fc1f28a4da0ff3c50ea66259ca"
EMBEDDED_FOLDER = PROJECT / "fine_tuning" / "embedded_model"
SEED = 2025
MAX_SEED = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Options:
    """The flags that all scripts share. `set_values` are the names and values of the settings given by --set."""

    model: str = DEFAULT_MODEL
    revision: str | None = None
    workspace: Workspace = field(default_factory=lambda: Workspace(default_workspace()))
    seed: int = SEED
    max_rows: int | None = None
    dtype: str = "auto"
    load_in_4bit: bool = False
    restart: bool = False
    skip_bad_rows: bool = False
    plain: bool = False
    report_to: str | None = None
    global_batch: int | None = None  # None: one example for each process
    set_values: tuple[tuple[str, Any], ...] = ()

    @property
    def examples_per_step(self) -> int:
        """The rows or pairs of a training step, over all processes."""
        return self.global_batch or processes().count

    @property
    def settings_given(self) -> dict[str, Any]:
        """The training settings that the user has given with --set, by name; all others are the preset's."""
        return dict(self.set_values)

    @property
    def is_embedded(self) -> bool:
        return self.model == "embedded"

    @property
    def is_local(self) -> bool:
        """True if the model's files are in a folder, so the hub is not needed."""
        return self.is_embedded or Path(self.model).is_dir()

    @property
    def model_source(self) -> str:
        """Where to load from: a folder's path or a hub id."""
        return str(EMBEDDED_FOLDER) if self.is_embedded else self.model

    @property
    def model_name(self) -> str:
        """The model's name in logs and stored settings: `embedded`, a hub id, or a local folder's name, no path."""
        return Path(self.model).resolve().name if Path(self.model).is_dir() else self.model

    def settings(self) -> dict[str, Any]:
        """The settings that decide a run's result, under their names in logs. A later start must have the same ones."""
        return {
            "model": self.model_name,
            "revision": self.revision,
            "model files": self._fingerprint(),
            "dtype": self.dtype,
            "load in 4 bits": self.load_in_4bit,
            "seed": self.seed,
            "max rows": self.max_rows,
            "skip bad rows": self.skip_bad_rows,
        }

    def as_stored(self, settings: Mapping[str, Any]) -> "Options":
        """These options with the values that a stored run has, for a command that continues it."""
        return replace(
            self,
            seed=settings.get("seed", self.seed),
            max_rows=settings.get("max rows", self.max_rows),
            dtype=settings.get("dtype", self.dtype),
            load_in_4bit=settings.get("load in 4 bits", self.load_in_4bit),
            skip_bad_rows=settings.get("skip bad rows", self.skip_bad_rows),
            global_batch=settings.get(GLOBAL_BATCH, self.global_batch),
        )

    def _fingerprint(self) -> str | None:
        """A hash that differs between local models of the same name; None for a hub model.

        Fast: it covers the small files, but only the size and the end of the weights.
        """
        folder = Path(self.model_source)
        if not (folder / "config.json").is_file():
            return None
        digest = hashlib.sha256()
        for small in sorted([*folder.glob("*.json"), *folder.glob("*.jinja"), *folder.glob("*/*.jinja")]):
            digest.update(small.name.encode() + small.read_bytes())
        for weights in sorted(folder.glob("*.safetensors")):
            digest.update(f"{weights.name} {weights.stat().st_size}".encode())
            with open(weights, "rb") as file:
                file.seek(-min(2**20, weights.stat().st_size), os.SEEK_END)
                digest.update(file.read())
        return digest.hexdigest()

    def command(self, script: str, count: int | None = None) -> str:
        """The command that runs another step with the same model, workspace and flags, and with as many processes, or
        with `count`.
        """
        count = count or processes().count
        parts = [] if self.model == DEFAULT_MODEL else ["--model", self.model]
        if self.workspace.root != default_workspace():
            parts += ["--workspace", str(self.workspace.root)]
        if self.max_rows is not None:
            parts += ["--max-rows", str(self.max_rows)]
        if self.skip_bad_rows:
            parts.append("--skip-bad-rows")
        if self.seed != SEED:
            parts += ["--seed", str(self.seed)]
        if self.revision not in (None, DEFAULT_REVISION):
            parts += ["--revision", str(self.revision)]
        if self.dtype != "auto":
            parts += ["--dtype", self.dtype]
        if self.load_in_4bit:
            parts.append("--load-in-4bit")
        if self.plain:
            parts.append("--plain")
        if self.report_to:
            parts += ["--report-to", self.report_to]
        if self.global_batch not in (None, count):
            parts += ["--global-batch", str(self.global_batch)]
        parts += set_flags(self.settings_given)
        return shlex.join([*program_of(script, launcher_of(count)), *parts])


def parse_options(description: str | None) -> Options:
    """Read the command line. On --help argparse exits with status 0, on a mistake with status 2.

    Of several processes on a machine, one says what is wrong.
    """
    with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere if processes().local_rank else sys.stderr):
        args = make_parser(description).parse_args(flags())
    return to_options(args)


def make_parser(description: str | None, is_step: bool = True) -> argparse.ArgumentParser:
    """A parser with the flags of the three steps. A script that is not a step gets only --workspace and the model's."""
    parser = argparse.ArgumentParser(
        prog=" ".join(script()).removeprefix("python "),
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
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
        help="dtype of the weights; auto picks the best one for the hardware (default: auto)",
    )
    model.add_argument(
        "--load-in-4bit", action="store_true", help="load the base model in 4 bits; needs bitsandbytes and CUDA"
    )
    run = parser.add_argument_group("run")
    run.add_argument(
        "--workspace",
        type=user_path,
        default=default_workspace(),
        help=f"folder to read and write in (default: {default_workspace()})",
    )
    if not is_step:
        parser.set_defaults(max_rows=None, skip_bad_rows=False, seed=SEED, restart=False, set=[])
        parser.set_defaults(plain=False, no_gradient_checkpointing=False, report_to=None, global_batch=None)
        return parser
    run.add_argument(
        "--max-rows", type=whole_number(1), help="use only this many prompts of each CSV, to try things out"
    )
    run.add_argument(
        "--skip-bad-rows",
        action="store_true",
        help="leave out the rows of a CSV that would be refused; say how many and which",
    )
    run.add_argument(
        "--seed",
        type=whole_number(0, MAX_SEED),
        default=SEED,
        help=f"seed of the split, training and sampling (default: {SEED})",
    )
    run.add_argument("--restart", action="store_true", help="discard the earlier run of this step and repeat it")
    add_plain(run)
    run.add_argument(
        "--report-to",
        choices=tuple(PACKAGES),
        help="write the figures of steps 1 and 3 to this dashboard too, offline in the log folder (default: none)",
    )
    run.add_argument(
        "--global-batch",
        type=whole_number(1, 1_000_000),
        metavar="ROWS",
        help="rows or pairs of a training step, over all processes (default: one for each process). A process that has "
        "several works through them one after another",
    )
    settings = parser.add_argument_group(
        "training settings", f"Names, meanings and defaults for --set:\n\n{settings_help()}"
    )
    settings.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change a training setting, as in --set sft.epochs=2. Repeat the flag to change several",
    )
    settings.add_argument(
        "--no-gradient-checkpointing",
        action="store_true",
        help="compute each layer once: faster, with more memory. Short for --set gradient_checkpointing=false",
    )
    return parser


def add_plain(parser: "argparse.ArgumentParser | argparse._ArgumentGroup") -> None:
    """Add the flag --plain."""
    parser.add_argument("--plain", action="store_true", help="do not use CUDA graphs")


def to_options(args: argparse.Namespace) -> Options:
    """The shared flags as options.

    Raises UserError if the workspace is a file or a link to a missing folder, and with every problem of --set.
    """
    workspace = Workspace(args.workspace.resolve())
    checks = Checks()
    with checks:
        if broken := broken_links(args.workspace):
            raise UserError(*(f"--workspace {args.workspace}: {problem}" for problem in broken))
        if workspace.root.exists() and not workspace.root.is_dir():
            raise UserError(f"--workspace {args.workspace}: this is a file, not a folder")
    with checks:
        if args.global_batch and args.global_batch % processes().count:
            raise UserError(
                f"--global-batch {args.global_batch}: {processes().count} processes cannot share so many rows equally. "
                f"Give a multiple of {processes().count}"
            )
    values: dict[str, Any] = {}
    with checks:
        short = ["gradient_checkpointing=false"] if args.no_gradient_checkpointing else []
        values = read_settings([*args.set, *short])
    checks.finish()
    model = os.path.expanduser(args.model)
    return Options(
        model=model,
        revision=args.revision or (DEFAULT_REVISION if model == DEFAULT_MODEL else None),
        workspace=workspace,
        seed=args.seed,
        max_rows=args.max_rows,
        dtype=args.dtype,
        load_in_4bit=args.load_in_4bit,
        restart=args.restart,
        skip_bad_rows=args.skip_bad_rows,
        plain=args.plain,
        report_to=args.report_to,
        global_batch=args.global_batch,
        set_values=tuple(values.items()),
    )


def user_path(text: str) -> Path:
    """The path in a flag. The shell does not expand the ~ in --workspace=~/demo, or in quotes."""
    return Path(os.path.expanduser(text))


def set_environment(options: Options) -> None:
    """Set environment variables that libraries read when imported: one GPU, no launcher, no telemetry, and no hub for a
    local model or one that is in the hub's cache. Without a network the libraries would try for minutes to reach the
    hub. Raises UserError if there are less GPUs than processes.
    """
    use_one_gpu()
    hide_launcher()
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if options.is_local or is_cached(options.model, options.revision):
        os.environ.setdefault("HF_HUB_OFFLINE", "1")


def whole_number(low: int, high: int | None = None) -> Callable[[str], int]:
    """A reader of a flag's value, a whole number from `low` to `high`, for argparse."""
    what = f"of at least {low}" if high is None else f"from {low} to {high}"

    def read(text: str) -> int:
        is_number = text.isdecimal() and len(text) <= 20  # int() refuses thousands of digits
        if not (is_number and low <= int(text) and (high is None or int(text) <= high)):
            raise argparse.ArgumentTypeError(f"{text[:60]!r} is not a whole number {what}")
        return int(text)

    return read
