"""The options that all scripts share, and what they do to the environment. `command_line.py` reads them."""

import hashlib
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fine_tuning.run.commands import PROJECT, default_workspace, program_of
from fine_tuning.run.gpus import use_one_gpu
from fine_tuning.run.hub import is_cached
from fine_tuning.run.processes import hide_launcher, launcher_of, processes
from fine_tuning.run.processors import usable_processors
from fine_tuning.run.run_state import GLOBAL_BATCH
from fine_tuning.run.set_flag import set_flags
from fine_tuning.run.workspace import Workspace

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


def set_environment(options: Options) -> None:
    """Set environment variables that libraries read when imported: one GPU, no launcher, no telemetry, and no hub for a
    local model or one that is in the hub's cache. Without a network the libraries would try for minutes to reach the
    hub. Raises UserError if there are less GPUs than processes.
    """
    use_one_gpu()
    hide_launcher()
    if options.is_embedded and usable_processors() <= 2:
        # Its matrices are so small that two threads mostly wait for each other. On two virtual CPUs they trained at 0.7
        # to 1.35 times the speed of one, by how busy the machine was. Two batches of answers at a time are faster too.
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if options.is_local or is_cached(options.model, options.revision):
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
