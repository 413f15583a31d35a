"""What supervised fine-tuning and ORPO share: the trainer's arguments, its progress, and what can go wrong."""

import math
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from pickle import UnpicklingError
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

from fine_tuning.run.endings import explain, go_on_command, restart_command, stop
from fine_tuning.run.log import TrainingLog
from fine_tuning.run.options import Options
from fine_tuning.run.presets import Preset
from fine_tuning.training.checkpoints import Checkpoints, last_whole_checkpoint
from fine_tuning.training.device import choose_dtype, device_name
from fine_tuning.training.history import progress_line, record
from fine_tuning.training.lora_layers import lean_adapters


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
        "logging_nan_inf_filter": False,  # it would show a mean in place of a loss that is not finite
        "report_to": "none",
        "disable_tqdm": True,  # Reporter draws the bar, without a line for every step
    }


OVERFLOWS = 30  # float16's loss scale begins at 65,536 and halves at each one: so many in a row are no search for it


class NotFinite(Exception):
    """A loss or a gradient that is infinite or no number: whatever is trained on from here is worth nothing."""


class ValidationNotFinite(NotFinite):
    """A validation loss that is not finite; no training row is to blame."""


class Reporter(TrainerCallback):
    """Draws a progress bar and keeps the log up to date while a trainer runs; raises NotFinite."""

    def __init__(self, log: TrainingLog, title: str) -> None:
        self.log, self.title = log, title
        self.bar: tqdm | None = None
        self.first_step = 0
        self.overflows = 0  # in a row

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.first_step = state.global_step
        self.bar = tqdm(total=state.max_steps, initial=state.global_step, desc=self.title, unit="step")

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.bar.update(state.global_step - self.bar.n)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        last = state.log_history[-1]
        if "loss" in last and self.bar is not None:
            self.bar.set_postfix(loss=f"{last['loss']:.4f}", refresh=False)
            self._check_finite(last, args.fp16)
        if not math.isfinite(last.get("eval_loss", 0.0)):
            raise ValidationNotFinite(f"the validation loss is {last['eval_loss']}")
        if self.log.is_due():
            record(self.log, state.log_history, plot="eval_loss" in last)
            self.log.progress(progress_line(state.log_history, state.max_steps))

    def _check_finite(self, last: Mapping[str, float], is_float16: bool) -> None:
        if not math.isfinite(last["loss"]):
            raise NotFinite(f"the loss is {last['loss']}")
        if math.isfinite(last.get("grad_norm", 0.0)):
            self.overflows = 0
            return
        self.overflows += 1
        if not is_float16:
            raise NotFinite(f"the gradient is {last['grad_norm']}")
        # In float16 a gradient overflows now and then, and the scaler leaves that step out.
        if self.overflows >= OVERFLOWS:
            raise NotFinite(f"the gradient overflowed in {OVERFLOWS} steps in a row, none of which taught anything")

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.bar.close()


def train(trainer: Trainer, prompts: Iterable[str]) -> None:
    """Train from the last whole checkpoint, or from the start where there is none.

    Where the machine fails or the loss is not finite, ends the program with the step and the row that was due, one of
    `prompts`; the last whole checkpoint stays.
    """
    last = last_whole_checkpoint(Path(trainer.args.output_dir))
    if last:
        print(f"going on from {last}")
        trainer.args.eval_on_start = False  # that was done at the first start
    for weight in trainer.model.parameters():
        if weight.requires_grad:  # SFTTrainer turns the adapter of a 4-bit model to bfloat16
            weight.data = weight.data.float()
    trainer.remove_callback(PrinterCallback)  # a line for every step
    trainer.add_callback(Checkpoints())
    spare_walks(trainer)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()  # what was sampled before is not the training's
    batch: Mapping[str, torch.Tensor] = {}  # of the step that was begun last
    is_in_step = False
    training_step = trainer.training_step

    def remember(model: torch.nn.Module, inputs: Mapping[str, torch.Tensor], *rest: Any) -> torch.Tensor:
        nonlocal batch, is_in_step
        batch, is_in_step = inputs, True
        loss = training_step(model, inputs, *rest)
        is_in_step = False
        return loss

    trainer.training_step = remember
    try:
        with lean_adapters(trainer.model):
            trainer.train(resume_from_checkpoint=str(last) if last else None)
    except NotFinite as error:
        if isinstance(error, ValidationNotFinite):
            where, mend = f"after step {trainer.state.global_step}", ""
        else:
            where = f"step {trainer.state.global_step}{_row(trainer, batch, prompts)}"
            mend = "mend that row or take it out of the CSV, or "
        stop(
            [
                f"{where}: {error}. Whole checkpoints are kept, but the same would come again: {mend}give "
                f"--dtype float32 or another --seed, and start anew: {restart_command()}"
            ]
        )
    except UnpicklingError:
        stop([f"{last}: this checkpoint holds more than numbers, and is not read. To start anew: {restart_command()}"])
    except Exception as error:
        told = explain(error)
        if told is None:
            raise
        step = trainer.state.global_step
        where = f"step {step + 1}{_row(trainer, batch, prompts)}" if is_in_step else f"after step {step}"
        stop([f"{where}: {told}. Whole checkpoints are kept. Then go on: {go_on_command()}"])


def _row(trainer: Trainer, batch: Mapping[str, torch.Tensor], prompts: Iterable[str]) -> str:
    """The row in a batch of one, by its length and the beginning of its prompt; empty where it cannot be read."""
    try:
        rows = [ids.flatten().tolist() for name, ids in batch.items() if name.endswith("input_ids")]
    except RuntimeError:  # a GPU that does not answer
        return ""
    longest = max(rows, key=len, default=[])
    text = trainer.processing_class.decode(longest)
    prompt = max((prompt for prompt in prompts if prompt in text), key=len, default=text)
    return f", the row of {len(longest)} tokens that begins {prompt[:60]!r}"


def spare_walks(trainer: Trainer) -> None:
    """Have no step walk all modules, which a trainer does four times a step: to set the training mode, to clip and to
    clear gradients, which only the adapter has, and to count operations, which nothing asks for."""
    model = trainer.model
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    set_mode = model.train
    set_mode()  # all modules, once: a loaded model is half in evaluation mode, where layers are not checkpointed

    def zero_grad(set_to_none: bool = True) -> None:
        for weight in trained:
            weight.grad = None

    model.train = lambda mode=True: model if model.training == mode else set_mode(mode)
    model.zero_grad = zero_grad
    trainer._clip_grad_norm = lambda _: trainer.accelerator.clip_grad_norm_(trained, trainer.args.max_grad_norm)
    trainer.floating_point_ops = lambda _: 0
