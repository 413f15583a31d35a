"""Checkpoints that are known to be whole: on disk, byte for byte, with the validation that belongs to them."""

import json
import shutil
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from fine_tuning.run.files import sha256, sync_entries, sync_folder, write_atomically
from fine_tuning.run.run_state import ADAPTER_FILE

WHOLE = "whole.json"  # written last: the SHA-256 of every other file of the checkpoint


class Checkpoints(TrainerCallback):
    """Seals every checkpoint, and makes that of an epoch's last step after the epoch's validation, not before it.

    A run that goes on from a checkpoint would otherwise never do the validation that came between.
    """

    def __init__(self) -> None:
        self._waits_for_validation = False

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._waits_for_validation = control.should_save and state.epoch == int(state.epoch)
        control.should_save = control.should_save and not self._waits_for_validation

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        control.should_save = control.should_save or self._waits_for_validation

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        seal(Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}")


def seal(checkpoint: Path) -> None:
    """Mark a checkpoint as whole, once all of it is on disk."""
    sync_folder(checkpoint)
    write_atomically(checkpoint / WHOLE, json.dumps(_fingerprints(checkpoint), indent=1) + "\n")
    for folder in (checkpoint.parent, checkpoint.parent.parent):  # where the checkpoint and the first one's place is
        sync_entries(folder)


def is_whole(checkpoint: Path) -> bool:
    """True where a checkpoint has its weights as safetensors, and every file is what it was when it was sealed."""
    try:
        return (checkpoint / ADAPTER_FILE).is_file() and json.loads(
            (checkpoint / WHOLE).read_text("utf-8")
        ) == _fingerprints(checkpoint)
    except (OSError, ValueError):
        return False


def last_whole_checkpoint(folder: Path) -> Path | None:
    """The latest checkpoint that is whole, None where there is none; says which later ones it removes as not whole."""
    steps = {path: path.name.removeprefix(f"{PREFIX_CHECKPOINT_DIR}-") for path in folder.glob("checkpoint-*")}
    for checkpoint in sorted((path for path in steps if steps[path].isdecimal()), key=lambda path: -int(steps[path])):
        if is_whole(checkpoint):
            return checkpoint
        print(f"passing over {checkpoint}: it is not whole")
        shutil.rmtree(checkpoint)
    return None


def _fingerprints(checkpoint: Path) -> dict[str, str]:
    files = (path for path in checkpoint.rglob("*") if path.is_file() and path.name != WHOLE)
    return {path.relative_to(checkpoint).as_posix(): sha256(path) for path in sorted(files)}
