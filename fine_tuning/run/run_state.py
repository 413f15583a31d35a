"""What a training run was started with, kept beside its adapter, so that the same command goes on where it stopped."""

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fine_tuning.run.endings import restart_command, restart_is_done, stop
from fine_tuning.run.files import DamagedFile, make_folder, sha256, sync_entries, sync_folder, write_atomically
from fine_tuning.run.options import Options
from fine_tuning.run.presets import Preset

ADAPTER_FILE = "adapter_model.safetensors"
# Of the settings that decide samples, those by which step 3 knows its own: how it loads the weights is its affair.
TUNED_MODEL = ("model", "revision", "model files", "adapter sha256", "seed", "max rows")


class RunState:
    """The file run.json in a model's folder: the run's settings and, once it is finished, its figures."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "run.json"
        self.checkpoints = folder / "checkpoints"

    def read(self) -> dict[str, Any] | None:
        """The stored run, None where there is none. Raises DamagedFile."""
        if not self.path.exists():
            return None
        try:
            run = json.loads(self.path.read_text(encoding="utf-8"))
            if not isinstance(run["settings"], dict) or not isinstance(run["figures"], dict | None):
                raise ValueError("not what was written")
        except (ValueError, TypeError, KeyError, RecursionError):
            raise DamagedFile(f"{self.path}: this file is damaged, so that nothing is known of the run") from None
        return run

    @property
    def is_finished(self) -> bool:
        run = self.read()
        return run is not None and run["figures"] is not None

    def answer_if_done(self, settings: Mapping[str, Any], step: int) -> bool:
        """True, and says so, where this very run is finished; ends the program where another run is stored."""
        anew = f"To throw it away and do step {step} again: {restart_command()}"
        try:
            differences = self.differences(settings)
        except DamagedFile as error:
            stop([f"{error}. {anew}"])
        if not self.path.exists() and any(not path.name.startswith(".") for path in self.folder.glob("*")):
            stop([f"{self.folder} holds files but no run.json, so that nothing is known of the run. {anew}"])
        if differences:
            stop([f"{self.folder} holds a run of step {step} with other settings: {'; '.join(differences)}. {anew}"])
        if self.is_finished:
            print(f"step {step} is done: {self.folder}. To do it again: add --restart")
            print(json.dumps(self.read()["figures"]))
        return self.is_finished

    def differences(self, settings: Mapping[str, Any]) -> list[str]:
        """How the settings of a stored run differ from these; empty where there is none."""
        run = self.read()
        return [] if run is None else changes(run["settings"], json.loads(json.dumps(settings)))

    def begin(self, settings: Mapping[str, Any], restart: bool) -> None:
        """Note the settings of a run that begins or goes on; `restart` throws an earlier one away.

        Ends the program where another run has begun here since `answer_if_done` looked.
        """
        if not restart and (differences := self.differences(settings)):
            stop([f"{self.folder}: another run has begun here meanwhile: {'; '.join(differences)}"])
        folder = self.folder.resolve()  # which may lie on another drive
        discarded = folder.with_name(f".{folder.name}.discarded")
        if restart and folder.exists():
            shutil.rmtree(discarded, ignore_errors=True)
            os.replace(folder, discarded)  # at once: what a crash leaves of the old run is never taken for the new one
            sync_entries(folder.parent)
        shutil.rmtree(discarded, ignore_errors=True)
        if restart or self.read() is None:
            make_folder(folder)
            self._write(settings, None)
        if restart:
            restart_is_done()

    def finish(self, settings: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
        """Mark the run as finished once its adapter is on disk; its checkpoints are no longer needed."""
        sync_folder(self.folder)
        self._write(settings, figures)
        shutil.rmtree(self.checkpoints, ignore_errors=True)

    def _write(self, settings: Mapping[str, Any], figures: Mapping[str, Any] | None) -> None:
        write_atomically(self.path, json.dumps({"settings": settings, "figures": figures}, indent=1) + "\n")


def changes(stored: Mapping[str, Any], now: Mapping[str, Any], names: Iterable[str] | None = None) -> list[str]:
    """How stored settings differ from those of now, or the named ones of them do, with both values."""
    return [
        f"{name} was {stored.get(name)!r} and is now {now.get(name)!r}"
        for name in names or sorted(stored.keys() | now.keys())
        if stored.get(name) != now.get(name)
    ]


def step_1_problems(options: Options) -> list[str]:
    """Why step 1's adapter cannot be used, if so."""
    command = options.command("sft_fine_tuning")
    folder = options.workspace.sft_model
    state = RunState(folder)
    try:
        run = state.read()
    except DamagedFile as error:
        return [f"{error}. Do step 1 again: {command} --restart"]
    if run is None:
        return [f"{folder}: there is no adapter of step 1. Run it first: {command}"]
    if not state.is_finished:
        return [f"{folder}: step 1 has not finished. Let it go on: {command}"]
    if not (folder / ADAPTER_FILE).is_file():
        return [f"{folder}: {ADAPTER_FILE} is missing. Do step 1 again: {command} --restart"]
    tuned, now = run["settings"], options.settings()
    if any(tuned.get(name) != now[name] for name in ("model", "revision", "model files")):
        its, your = (f"{s.get('model')} (revision {s.get('revision')})" for s in (tuned, now))
        other = f"another model of the same name, {its}" if its == your else its
        return [
            f"{folder}: the adapter belongs to {other}, not to {your}. Give that --model, another --workspace, or do "
            f"step 1 again: {command} --restart"
        ]
    return []


def split_problems(options: Options) -> list[str]:
    """Why steps 2 and 3 would not hold out the prompts that a finished step 1 held out, if so."""
    workspace = options.workspace
    csv_path = workspace.readable(workspace.sft_csv)
    now = {"seed": options.seed, "max rows": options.max_rows}
    if csv_path.is_file():
        now["data sha256"] = sha256(csv_path)
    changed = changes(RunState(workspace.sft_model).read()["settings"], now, now)
    if not changed:
        return []
    return [
        f"{workspace.sft_model}: since step 1, {'; '.join(changed)}, so that the held-out prompts would be others. "
        f"Take those again, or do step 1 again: {options.command('sft_fine_tuning')} --restart"
    ]


def sampling_settings(options: Options, preset: Preset) -> dict:
    """What decides the samples. Step 3 compares TUNED_MODEL of it with what the CSV's samples were drawn from."""
    return options.settings() | {
        "adapter sha256": sha256(options.workspace.sft_model / ADAPTER_FILE),
        "samples per prompt": preset.samples_per_prompt,
        "temperature": preset.temperature,
        "batch size": preset.generation_batch,
        "max length": preset.max_length,
    }
