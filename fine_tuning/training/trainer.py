"""What SFT and ORPO share: arguments and a mixin for both trainers, and `train`, which explains failures."""

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, cast

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, PrinterCallback, Trainer

from fine_tuning.run.commands import continue_command, has_flag, restart_command
from fine_tuning.run.errors import UserError, explain
from fine_tuning.run.presets import OrpoSettings, Preset, SftSettings
from fine_tuning.training.checkpoints import Checkpoints, last_whole_checkpoint
from fine_tuning.training.device import device_name
from fine_tuning.training.lora_layers import lean_adapters
from fine_tuning.training.reporter import NotFinite, ValidationNotFinite


def trainer_arguments(
    preset: Preset,
    settings: SftSettings | OrpoSettings,
    dtype: torch.dtype,
    seed: int,
    examples: int,
    checkpoints: Path,
) -> dict[str, Any]:
    """Arguments for both trainers: batch size 1, every step logged. `examples` is the size of the training set."""
    on_gpu = device_name() == "cuda"
    warnings.filterwarnings("ignore", message=".*pin_memory.*")
    return {
        "output_dir": str(checkpoints),
        "per_device_train_batch_size": 1,
        "per_device_eval_batch_size": 1,  # the default, 8, would need more memory than training
        "gradient_checkpointing": preset.gradient_checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": True},  # saves as much memory, with fewer hooks per tensor
        "num_train_epochs": settings.epochs,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": preset.warmup_ratio,
        "max_grad_norm": 1.0,
        "bf16": on_gpu and dtype is torch.bfloat16,
        "fp16": on_gpu and dtype is torch.float16,
        "use_cpu": not on_gpu,
        "dataloader_pin_memory": on_gpu,
        "seed": seed,
        "data_seed": seed,
        "eval_strategy": "epoch",
        "save_strategy": "steps",
        "save_steps": min(preset.save_steps, max(10, examples * settings.epochs // 10)),
        "save_total_limit": 2,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # the filter would hide a loss that is not finite
        "report_to": "none",
        "disable_tqdm": True,  # Reporter draws the bar
    }


class AdapterTrainerMixin(Trainer):
    """For trainers of an adapter: remembers the batch, clips only the adapter's gradients, and skips counting FLOPs."""

    # Trainer declares wider types.
    model: PeftModel
    optimizer: torch.optim.Optimizer
    processing_class: PreTrainedTokenizerBase

    batch: Mapping[str, Any] = {}  # of the latest training step
    is_in_step = False

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        self.batch, self.is_in_step = inputs, True
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.is_in_step = False
        return loss

    def _clip_grad_norm(self, model: nn.Module) -> Tensor:
        weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        return self.accelerator.clip_grad_norm_(weights, self.args.max_grad_norm)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        return 0  # nothing here uses the count


def train(trainer: AdapterTrainerMixin, prompts: Iterable[str]) -> None:
    """Train from the last complete checkpoint, or from the start if there is none.

    Raises UserError if the machine fails or the loss is not finite. The message names the step and its row, whose
    prompt is one of `prompts`. The last complete checkpoint is kept.
    """
    folder = Path(cast(str, trainer.args.output_dir))  # never None: TrainingArguments has a default
    last = last_whole_checkpoint(folder)
    if last:
        print(f"continuing from {last}")
        trainer.args.eval_on_start = False  # the first start has done it
    for weight in trainer.model.parameters():
        if weight.requires_grad:  # SFTTrainer casts the adapter of a 4-bit model to bfloat16
            weight.data = weight.data.float()
    trainer.remove_callback(PrinterCallback)  # it prints a line for every step
    trainer.add_callback(Checkpoints(folder))
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()  # do not count earlier validation
    try:
        with lean_adapters(trainer.model):
            trainer.train(resume_from_checkpoint=str(last) if last else None)
    except NotFinite as error:
        if isinstance(error, ValidationNotFinite):
            where, remedy = f"after step {trainer.state.global_step}", ""
        else:
            where = f"step {trainer.state.global_step}{_row(trainer, prompts)}"
            remedy = "correct that row or delete it from the CSV, or "
        dtype = "" if has_flag("--dtype", "float32") else "--dtype float32 or "
        raise UserError(
            f"{where}: {error}. Continuing from a checkpoint would fail in the same way. Instead, {remedy}use "
            f"{dtype}another --seed, and start again: {restart_command()}"
        ) from error
    except UnpicklingError as error:
        raise UserError(
            f"{last}: this checkpoint contains more than numbers. It is not loaded, because that could run code. To "
            f"start again: {restart_command()}"
        ) from error
    except Exception as error:
        explanation = explain(error)
        if explanation is None:
            raise
        step = trainer.state.global_step
        where = f"step {step + 1}{_row(trainer, prompts)}" if trainer.is_in_step else f"after step {step}"
        raise UserError(
            f"{where}: {explanation}. Complete checkpoints are kept. Then continue: {continue_command()}"
        ) from error


def _row(trainer: AdapterTrainerMixin, prompts: Iterable[str]) -> str:
    """Describe the row in a batch of one by its length and the beginning of its prompt. Empty if it cannot be read."""
    try:
        rows = [ids.flatten().tolist() for name, ids in trainer.batch.items() if name.endswith("input_ids")]
    except RuntimeError:  # the GPU no longer answers
        return ""
    longest: list[int] = max(rows, key=len, default=[])
    text = trainer.processing_class.decode(longest)
    prompt = max((prompt for prompt in prompts if prompt in text), key=len, default=text)
    return f", the row of {len(longest)} tokens that begins {prompt[:60]!r}"
