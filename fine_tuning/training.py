"""What supervised fine-tuning and ORPO share: the trainer's arguments, its progress, its checkpoints."""

import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
from peft.helpers import disable_input_dtype_casting
from tqdm import tqdm
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, get_last_checkpoint

from fine_tuning.common import choose_dtype, device_name
from fine_tuning.files import sync_folder, write_atomically
from fine_tuning.options import Options
from fine_tuning.presets import Preset
from fine_tuning.training_history import record
from fine_tuning.training_log import SECONDS_BETWEEN_WRITES, TrainingLog

WHOLE = "whole"  # a checkpoint folder holds this file once all of it is on disk


def trainer_arguments(
    options: Options, preset: Preset, checkpoints: Path, examples: int, epochs: int, learning_rate: float
) -> dict[str, Any]:
    """Arguments for both trainers alike: batch size 1, every step logged."""
    dtype = choose_dtype(options.dtype)
    on_gpu = device_name() == "cuda"
    warnings.filterwarnings("ignore", message=".*pin_memory.*")
    return {
        "output_dir": str(checkpoints),
        "per_device_train_batch_size": 1,
        "per_device_eval_batch_size": 1,  # does not follow the other by itself; evaluation would need more memory
        "gradient_checkpointing": preset.gradient_checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": True},  # the same memory, fewer hooks per tensor
        "num_train_epochs": epochs,
        "learning_rate": learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": preset.warmup_ratio,
        "max_grad_norm": 1.0,
        "bf16": on_gpu and dtype is torch.bfloat16,
        "fp16": on_gpu and dtype is torch.float16,
        "use_cpu": not on_gpu,
        "dataloader_pin_memory": on_gpu,
        "seed": options.seed,
        "data_seed": options.seed,
        "eval_strategy": "epoch",
        "save_strategy": "steps",
        "save_steps": min(preset.save_steps, max(10, examples * epochs // 10)),
        "save_total_limit": 2,
        "logging_steps": 1,
        "report_to": "none",
        "disable_tqdm": True,  # Reporter draws the bar, without a line for every step
    }


class Reporter(TrainerCallback):
    """Draws a progress bar and keeps the log up to date while a trainer runs."""

    def __init__(self, log: TrainingLog, title: str) -> None:
        self.log, self.title = log, title
        self.bar: tqdm | None = None
        self.first_step = 0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.first_step = state.global_step
        self.bar = tqdm(total=state.max_steps, initial=state.global_step, desc=self.title, unit="step")

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.bar.update(state.global_step - self.bar.n)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        last = state.log_history[-1]
        if "loss" in last and self.bar is not None:
            self.bar.set_postfix(loss=f"{last['loss']:.4f}", refresh=False)
        if self.log.is_due(SECONDS_BETWEEN_WRITES):
            record(self.log, state.log_history, plot="eval_loss" in last)
            self.log.write()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        checkpoint = Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
        sync_folder(checkpoint)
        write_atomically(checkpoint / WHOLE, "")

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.bar.close()


def train(trainer: Trainer) -> None:
    """Train from the last whole checkpoint, or from the start where there is none, and validate at the end."""
    checkpoints = Path(trainer.args.output_dir)
    for checkpoint in checkpoints.glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
        if not (checkpoint / WHOLE).exists():
            print(f"passing over {checkpoint}: it was only half written")
            shutil.rmtree(checkpoint)
    last = get_last_checkpoint(str(checkpoints)) if checkpoints.is_dir() else None
    if last:
        print(f"going on from {last}")
        trainer.args.eval_on_start = False  # that was done at the first start
    for weight in trainer.model.parameters():
        if weight.requires_grad:  # SFTTrainer turns the adapter of a 4-bit model to bfloat16
            weight.data = weight.data.float()
    trainer.remove_callback(PrinterCallback)  # a line for every step
    spare_walks(trainer)
    # Under autocast an adapter takes the layer's own input; PEFT would copy it to float32 first, for nothing.
    with disable_input_dtype_casting(trainer.model, active=trainer.args.bf16 or trainer.args.fp16):
        trainer.train(resume_from_checkpoint=last)
    validated = any("eval_loss" in e and e["step"] == trainer.state.global_step for e in trainer.state.log_history)
    if trainer.eval_dataset is not None and not validated:  # stopped between the last checkpoint and its validation
        trainer.evaluate()


def spare_walks(trainer: Trainer) -> None:
    """Have no step walk all modules, which a trainer does four times a step: to set the training mode, to clip and to
    clear gradients, which only the adapter has, and to count operations, which nothing asks for."""
    model = trainer.model
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    set_mode = model.train

    def zero_grad(set_to_none: bool = True) -> None:
        for weight in trained:
            weight.grad = None

    model.train = lambda mode=True: model if model.training == mode else set_mode(mode)
    model.zero_grad = zero_grad
    trainer._clip_grad_norm = lambda _: trainer.accelerator.clip_grad_norm_(trained, trainer.args.max_grad_norm)
    trainer.floating_point_ops = lambda _: 0
