"""What steps 2 and 3 need from the steps before them: the same model, data and split."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fine_tuning.run.errors import DamagedFile, UserError
from fine_tuning.run.files import sha256
from fine_tuning.run.options import Options
from fine_tuning.run.presets import Preset
from fine_tuning.run.run_state import (
    ADAPTER_FILE,
    KNOWN_WHEN_LOADED,
    LIBRARIES,
    PROCESSES,
    RunState,
    changes,
    library_changes,
)
from fine_tuning.run.step_preset import options_of_run

# The settings that steps 2 and 3 must agree on; the dtype may differ.
TUNED_MODEL = ("model", "revision", "model files", "adapter sha256", "seed", "max rows")


def check_step_1(options: Options) -> None:
    """Raise UserError if the adapter of step 1 is missing, unfinished, or belongs to another model."""
    command = options.command("sft_fine_tuning")
    folder = options.workspace.sft_model
    try:
        run = RunState(folder).read()
    except DamagedFile as error:
        raise UserError(f"{error}. Repeat step 1: {command} --restart") from None
    if run is None:
        raise UserError(f"{folder}: there is no adapter of step 1. Run it first: {command}")
    stored = options_of_run(options, run["settings"])
    begun = stored.command("sft_fine_tuning", run["settings"].get(PROCESSES, 1))
    if run["figures"] is None:
        raise UserError(f"{folder}: step 1 has not finished. Continue it: {begun}")
    if not (folder / ADAPTER_FILE).is_file():
        raise UserError(f"{folder}: {ADAPTER_FILE} is missing. Repeat step 1: {begun} --restart")
    stored, now = run["settings"], options.settings()
    if any(stored.get(name) != now[name] for name in ("model", "revision", "model files")):
        trained, given = (f"{s.get('model')} (revision {s.get('revision')})" for s in (stored, now))
        other = f"another model of the same name, {trained}" if trained == given else trained
        raise UserError(
            f"{folder}: the adapter belongs to {other}, not to {given}. Name that model with --model, choose another "
            f"--workspace, or repeat step 1: {command} --restart"
        )


def check_split(options: Options) -> None:
    """Raise UserError if step 1 held out other prompts than this step would, with its flags and data."""
    workspace = options.workspace
    csv_path = workspace.file_to_read(workspace.sft_csv)
    now: dict[str, Any] = {"seed": options.seed, "max rows": options.max_rows}
    if csv_path.is_file():
        now["data sha256"] = sha256(csv_path)
    run = RunState(workspace.sft_model).read()
    if run is not None and (changed := changes(run["settings"], now, now)):
        raise UserError(
            f"{workspace.sft_model}: step 1 held out other prompts than this step would: {'; '.join(changed)}. Use the "
            f"old values again, or repeat step 1: {options.command('sft_fine_tuning')} --restart"
        )


def check_tokenizer(options: Options, now: Mapping[str, Any]) -> None:
    """Raise UserError if chat template or tokenizer give other tokens than in step 1.

    `now` are the settings in KNOWN_WHEN_LOADED. The model's files are the same, but another version of a library may
    read them in another way.
    """
    run = RunState(options.workspace.sft_model).read()
    if run is not None and (changed := changes(run["settings"], now, KNOWN_WHEN_LOADED)):
        libraries = library_changes(run["settings"], {LIBRARIES: library_versions()})
        raise UserError(
            f"{options.workspace.sft_model}: step 1 was trained on other tokens than this step would use: "
            f"{'; '.join(changed)}. {f'The libraries have changed ({libraries}). ' if libraries else ''}Use the same "
            f"files and libraries as then, or repeat step 1: {options.command('sft_fine_tuning')} --restart"
        )


def library_versions() -> dict[str, str]:
    """The versions of the libraries that a run's result can depend on."""
    return {name: version(name) for name in ("torch", "transformers", "peft", "trl", "tokenizers")}


def latest_adapter(options: Options) -> Path:
    """The folder of step 3's adapter, or step 1's if step 3 has not finished or began from an older step 1."""
    sft, orpo = options.workspace.sft_model, RunState(options.workspace.orpo_model)
    run = orpo.read()
    if run is None or run["figures"] is None:
        return sft
    return orpo.folder if run["settings"].get("adapter sha256") == sha256(sft / ADAPTER_FILE) else sft


def sampling_settings(options: Options, preset: Preset) -> dict[str, Any]:
    """The settings that decide the samples. Step 3 checks that those in TUNED_MODEL have not changed since step 2."""
    return options.settings() | {
        "adapter sha256": sha256(options.workspace.sft_model / ADAPTER_FILE),
        "samples per prompt": preset.sampling.samples_per_prompt,
        "temperature": preset.sampling.temperature,
        "batch size": preset.sampling.batch_size,
        "max length": preset.max_length,
    }
