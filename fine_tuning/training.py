"""What supervised fine-tuning and ORPO share: the trainer's arguments, its progress, its figures."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_utils import get_last_checkpoint

from fine_tuning.common import choose_dtype, device_name
from fine_tuning.options import Options
from fine_tuning.presets import Preset
from fine_tuning.training_log import SECONDS_BETWEEN_WRITES, TrainingLog, loss_plot, thin_out

# What the log keeps of each step: name in the log, name in the trainer's history.
STEP_FIGURES = {
    "loss": "loss",
    "gradient norm": "grad_norm",
    "learning rate": "learning_rate",
    "token accuracy": "mean_token_accuracy",
    "NLL": "nll_loss",
    "log odds ratio": "log_odds_chosen",
    "chosen preferred": "rewards/accuracies",
}


def trainer_arguments(
    options: Options, preset: Preset, checkpoints: Path, examples: int, epochs: int, learning_rate: float
) -> dict[str, Any]:
    """Arguments for SFTConfig and ORPOConfig alike: batch size 1, gradient checkpointing, every step logged."""
    dtype = choose_dtype(options.dtype)
    on_gpu = device_name() == "cuda"
    warnings.filterwarnings("ignore", message=".*pin_memory.*")
    return {
        "output_dir": str(checkpoints),
        "per_device_train_batch_size": 1,
        "per_device_eval_batch_size": 1,  # does not follow the other by itself; evaluation would need more memory
        "gradient_checkpointing": True,
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
        "max_length": preset.max_length,
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

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
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

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.bar.close()


def train(trainer: Trainer) -> None:
    """Train from the last checkpoint, or from the start where there is none."""
    checkpoints = Path(trainer.args.output_dir)
    last = get_last_checkpoint(str(checkpoints)) if checkpoints.is_dir() else None
    if last:
        print(f"going on from {last}")
    trainer.remove_callback(PrinterCallback)  # a line for every step
    trainer.floating_point_ops = lambda inputs: 0  # counted by walking all modules at every step, and used nowhere
    trainer.train(resume_from_checkpoint=last)


def steps_of(history: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    """The training steps in a trainer's history, under the log's names."""
    return [
        {"step": entry["step"], "epoch": entry["epoch"]}
        | {name: entry[key] for name, key in STEP_FIGURES.items() if key in entry}
        for entry in history
        if "loss" in entry
    ]


def epochs_of(history: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    """A row for each validation in a trainer's history, with the mean training loss since the one before."""
    rows, since = [], 0
    for entry in history:
        if "eval_loss" not in entry:
            continue
        losses = [e["loss"] for e in history if "loss" in e and since < e["step"] <= entry["step"]]
        row = {"epoch": round(entry["epoch"], 2), "step": entry["step"]}
        if losses:
            row["training loss"] = sum(losses) / len(losses)
        row["validation loss"] = entry["eval_loss"]
        row |= {
            f"validation {name}": entry[f"eval_{key}"] for name, key in STEP_FIGURES.items() if f"eval_{key}" in entry
        } | {"validation loss": entry["eval_loss"]}
        rows.append(row)
        since = entry["step"]
    return rows


def record(log: TrainingLog, history: Sequence[Mapping[str, float]], plot: bool = True) -> None:
    """Put a trainer's history into the log: the table of epochs, the table of steps and, where asked, the plot."""
    log.history = steps_of(history)
    log.set("Loss by epoch", epochs_of(history))
    log.set("Loss by step", thin_out(log.history))
    if log.history and plot:
        log.picture("Loss by epoch", loss_plot(log.history, epochs_of(history), log.title), "loss")


def training_figures(trainer: Trainer, tokens_per_epoch: int) -> dict[str, float]:
    """The final figures of a training, over all its steps also where it was interrupted.

    The final average training loss is the mean over all steps. Speed is that of the steps since the last start.
    """
    history = trainer.state.log_history
    losses = [entry["loss"] for entry in history if "loss" in entry]
    last_epoch = losses[-max(1, round(len(losses) / trainer.args.num_train_epochs)) :]
    evaluations = [entry["eval_loss"] for entry in history if "eval_loss" in entry]
    runtime = next((entry["train_runtime"] for entry in reversed(history) if "train_runtime" in entry), None)
    figures = {
        "training steps": len(losses),
        "final average training loss": round(sum(losses) / len(losses), 5),
        "training loss in the last epoch": round(sum(last_epoch) / len(last_epoch), 5),
    }
    if evaluations:
        figures["validation loss"] = round(evaluations[-1], 5)
    if runtime:
        figures["training seconds"] = round(runtime, 1)
        figures["training tokens per second"] = round(tokens_per_epoch * trainer.args.num_train_epochs / runtime, 1)
    return figures
