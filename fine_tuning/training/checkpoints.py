"""Checkpoints that are complete on disk and include their epoch's validation."""

import json
import shutil
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from fine_tuning.run.files import sha256, sync_entries, sync_folder, write_atomically
from fine_tuning.run.processes import processes
from fine_tuning.run.run_state import ADAPTER_FILE

WHOLE = "whole.json"  # written last: the SHA-256 of every other file of the checkpoint


class Checkpoints(TrainerCallback):
    """Seals every checkpoint in `folder`. Delays a checkpoint at the end of an epoch until after the validation.

    Otherwise a run that continues from that checkpoint would skip the validation.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waits_for_validation = False

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._waits_for_validation = control.should_save and state.epoch == int(state.epoch)
        control.should_save = control.should_save and not self._waits_for_validation

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        control.should_save = control.should_save or self._waits_for_validation

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if processes().is_main:  # it alone has saved one
            seal(self._folder / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}")


def seal(checkpoint: Path) -> None:
    """fsync a checkpoint, then mark it as complete."""
    sync_folder(checkpoint)
    write_atomically(checkpoint / WHOLE, json.dumps(_fingerprints(checkpoint), indent=1) + "\n")
    for folder in (checkpoint.parent, checkpoint.parent.parent):  # they hold the directory entries of the new folders
        sync_entries(folder)


def is_whole(checkpoint: Path) -> bool:
    """True if a checkpoint has an adapter as safetensors and no file has changed since it was sealed."""
    try:
        sealed = json.loads((checkpoint / WHOLE).read_text("utf-8"))
        return (checkpoint / ADAPTER_FILE).is_file() and sealed == _fingerprints(checkpoint)
    except (OSError, ValueError):
        return False


def last_whole_checkpoint(folder: Path) -> Path | None:
    """The latest complete checkpoint, or None. Removes later, incomplete ones and prints their paths."""
    steps = {path: path.name.removeprefix(f"{PREFIX_CHECKPOINT_DIR}-") for path in folder.glob("checkpoint-*")}
    for checkpoint in sorted((path for path in steps if steps[path].isdecimal()), key=lambda path: -int(steps[path])):
        if is_whole(checkpoint):
            return checkpoint
        print(f"removing {checkpoint}: it is incomplete")
        shutil.rmtree(checkpoint)
    return None


def _fingerprints(checkpoint: Path) -> dict[str, str]:
    files = (path for path in checkpoint.rglob("*") if path.is_file() and path.name != WHOLE)
    return {path.relative_to(checkpoint).as_posix(): sha256(path) for path in sorted(files)}
