"""The settings of a training run, stored beside its adapter, so the same command can continue the run."""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from fine_tuning.run.errors import DamagedFile, UserError
from fine_tuning.run.files import make_folder, sync_entries, sync_folder, write_atomically
from fine_tuning.run.processes import processes
from fine_tuning.run.set_flag import setting_stored_as, stored_settings
from fine_tuning.run.setting_kinds import as_text

ADAPTER_FILE = "adapter_model.safetensors"
# Settings of a training. Runs of an earlier version did not store them: both were 1.
GLOBAL_BATCH, PROCESSES = "global batch", "processes"
# Settings that runs of an earlier version did not store. They follow from the data, which is compared.
ADDED_LATER = ("style fixed", "order fixed")
# Settings that change the memory or the time that a training run takes, but not the adapter; and a flag whose effect
# follows from the data, which is compared: if there are bad rows, no step starts without --skip-bad-rows.
# The number of processes is compared as long as the run has not finished, see `check_processes`.
NOT_COMPARED = ("generation batch", "save steps", "skip bad rows", PROCESSES)
# Settings that are known only once the tokenizer is loaded. Earlier versions did not store them either.
KNOWN_WHEN_LOADED = ("chat sha256", "tokenizer sha256", "max length of the model")
LIBRARIES = "libraries"  # a setting that may change: their versions when the run began


class State(Protocol):
    """The stored state of a step: RunState for the trainings (steps 1 and 3), SampleRun for step 2."""

    @property
    def place(self) -> Path: ...
    @property
    def figures(self) -> dict[str, Any] | None: ...
    @property
    def stored_settings(self) -> Mapping[str, Any]: ...
    def check(self, settings: Mapping[str, Any], remedy: str) -> None: ...
    def begin(self, settings: Mapping[str, Any], restart: bool) -> None: ...
    def finish(self, settings: Mapping[str, Any], figures: Mapping[str, Any]) -> None: ...


class RunState:
    """The file run.json in a model's folder: the run's settings and, once it is finished, its figures."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "run.json"
        self.checkpoints = folder / "checkpoints"

    @property
    def place(self) -> Path:
        """The folder of the adapter."""
        return self.folder

    def read(self) -> dict[str, Any] | None:
        """The stored run; None if there is none. Raises DamagedFile."""
        if not self.path.exists():
            return None
        try:
            run: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
            if not isinstance(run["settings"], dict) or not isinstance(run["figures"], dict | None):
                raise ValueError("wrong types")
        except (ValueError, TypeError, KeyError, RecursionError):
            raise DamagedFile(f"{self.path}: this file is damaged, so the run's settings are unknown") from None
        return run

    @property
    def is_finished(self) -> bool:
        return self.figures is not None

    @property
    def figures(self) -> dict[str, Any] | None:
        """The figures of a finished run."""
        run = self.read()
        return None if run is None else run["figures"]

    @property
    def stored_settings(self) -> Mapping[str, Any]:
        """The settings of the stored run; empty if there is none."""
        run = self.read()
        return {} if run is None else run["settings"]

    def check(self, settings: Mapping[str, Any], remedy: str) -> None:
        """Raise UserError, ending with `remedy`, if the folder holds anything but a run with these settings."""
        try:
            differences = self.differences(settings)
        except DamagedFile as error:
            raise UserError(f"{error}. {remedy}") from None
        if not self.path.exists() and any(not path.name.startswith(".") for path in self.folder.glob("*")):
            raise UserError(f"{self.folder} holds files but no run.json, so the run's settings are unknown. {remedy}")
        if differences:
            raise UserError(f"{self.folder} holds a run with other settings: {'; '.join(differences)}. {remedy}")

    def differences(self, settings: Mapping[str, Any]) -> list[str]:
        """How the settings of the stored run differ from these; empty if there is no run."""
        run = self.read()
        return [] if run is None else changes(run["settings"], json.loads(json.dumps(settings)))

    def begin(self, settings: Mapping[str, Any], restart: bool) -> None:
        """Store the settings of a new run; leave a run that continues as it is. `restart` discards an earlier run.

        Raises UserError if a run with other settings has begun here since `check`.
        """
        if not restart and (differences := self.differences(settings)):
            raise UserError(
                f"{self.folder}: a run with other settings has just begun here: {'; '.join(differences)}. Choose "
                "another --workspace, or discard that run with --restart"
            )
        folder = self.folder.resolve()  # it may be a link to another drive
        discarded = folder.with_name(f".{folder.name}.discarded")
        if restart and folder.exists():
            shutil.rmtree(discarded, ignore_errors=True)
            os.replace(folder, discarded)  # atomic: after a crash, no part of the old run looks like the new one
            sync_entries(folder.parent)
        shutil.rmtree(discarded, ignore_errors=True)
        if restart or self.read() is None:
            make_folder(folder)
            self._write(settings, None)

    def finish(self, settings: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
        """Mark the run as finished once its adapter is on disk, and delete its checkpoints."""
        sync_folder(self.folder)
        self._write(settings, figures)
        shutil.rmtree(self.checkpoints, ignore_errors=True)

    def _write(self, settings: Mapping[str, Any], figures: Mapping[str, Any] | None) -> None:
        write_atomically(self.path, json.dumps({"settings": settings, "figures": figures}, indent=1) + "\n")


def changes(stored: Mapping[str, Any], now: Mapping[str, Any], names: Iterable[str] | None = None) -> list[str]:
    """Each setting that has changed, with both values, and how to keep the old one where --set can.

    With `names`, only these settings are compared.
    """

    def is_comparable(name: str) -> bool:
        if name in KNOWN_WHEN_LOADED:
            return name in stored and name in now
        return not (name in ADDED_LATER and name not in stored)

    if GLOBAL_BATCH in now:
        stored = {GLOBAL_BATCH: 1, **stored}
    return [
        f"{name} was {stored.get(name)!r} and is now {now.get(name)!r}{_how_to_keep(name, stored.get(name))}"
        for name in names or sorted((stored.keys() | now.keys()) - {*NOT_COMPARED, LIBRARIES})
        if stored.get(name) != now.get(name) and is_comparable(name)
    ]


def _how_to_keep(stored_name: str, value: Any) -> str:
    """The flag that gives a stored setting its stored value; empty if there is none."""
    if stored_name == GLOBAL_BATCH:
        return f" (to keep it: --global-batch {value})"
    setting = setting_stored_as(stored_name)
    if setting is None or value is None:
        return ""
    try:
        stored_settings({stored_name: value})
    except UserError:
        return ""
    return f" (to keep it: --set {setting.name}={as_text(value)})"


def check_processes(state: State, command: Callable[[int, int], str], restart: str) -> None:
    """Raise UserError if a training that has not finished began with another number of processes.

    `command` returns the command that continues it, given the stored global batch and number of processes; `restart`
    is the one that repeats it.
    """
    try:
        stored, is_finished = state.stored_settings, state.figures is not None
    except DamagedFile:
        return  # the check of the settings reports it
    began, now = stored.get(PROCESSES, 1), processes().count
    if stored and not is_finished and began != now:
        raise UserError(
            f"{state.place}: this training began with {_processes(began)} and can only go on with as many, not with "
            f"{now}. To continue it: {command(stored.get(GLOBAL_BATCH, 1), began)}. To discard it and repeat it with "
            f"{now}: {restart}"
        )


def _processes(count: Any) -> str:
    return "1 process" if count == 1 else f"{count} processes"


def library_changes(stored: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """How the versions of the libraries have changed since a run began; empty if they have not, or are not stored."""
    before, after = stored.get(LIBRARIES), now.get(LIBRARIES)
    if not isinstance(before, dict) or not isinstance(after, dict):
        return ""
    return ", ".join(
        f"{name} {before[name]} -> {after[name]}" for name in after if name in before and before[name] != after[name]
    )
