"""What SFT and ORPO share: arguments and a mixin for both trainers, and `train`, which explains failures."""

import warnings
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, cast

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerBase, PrinterCallback
from transformers.trainer_utils import TrainOutput

from fine_tuning.run.commands import continue_command, has_flag, restart_command
from fine_tuning.run.errors import UserError, explain, is_out_of_memory
from fine_tuning.run.presets import OrpoSettings, Preset, SftSettings
from fine_tuning.run.processes import processes
from fine_tuning.training.adapter_gradients import AdapterGradients
from fine_tuning.training.checkpoints import Checkpoints, last_whole_checkpoint
from fine_tuning.training.collectives import broadcast
from fine_tuning.training.device import device_name
from fine_tuning.training.global_batch import PLAIN, GlobalBatch
from fine_tuning.training.graphed_steps import GraphedSteps
from fine_tuning.training.lora_layers import lean_adapters
from fine_tuning.training.reporter import NotFinite, ValidationNotFinite
from fine_tuning.training.sharing_trainer import SharingTrainer
from fine_tuning.training.step_figures import PendingSteps, StepRecord
from fine_tuning.training.walks import without_walks


def trainer_arguments(
    preset: Preset,
    settings: SftSettings | OrpoSettings,
    dtype: torch.dtype,
    seed: int,
    examples: int,
    checkpoints: Path,
    global_batch: int = 1,
) -> dict[str, Any]:
    """Arguments for both trainers: batch size 1, every step logged. `examples` is the size of the training set.

    A step has `global_batch` examples, over all processes.
    """
    steps = -(-examples // global_batch) * settings.epochs
    on_gpu = device_name() == "cuda"
    warnings.filterwarnings("ignore", message=".*pin_memory.*")
    return {
        "output_dir": str(checkpoints),
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": global_batch // processes().count,
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
        "save_steps": min(preset.save_steps, max(10, steps // 10)),
        "save_total_limit": 2,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # the filter would hide a loss that is not finite
        "report_to": "none",
        "disable_tqdm": True,  # Reporter draws the bar
    }


class AdapterTrainerMixin(SharingTrainer):
    """For trainers of an adapter: remembers the batch, touches only the adapter's weights, skips counting FLOPs, and
    fetches the figures of the steps in blocks. They are logged step by step as always, before anything is saved.

    A batch has one example. A step has several in a global batch, see `GlobalBatch`.
    """

    # Trainer declares wider types.
    model: PeftModel
    optimizer: torch.optim.Optimizer
    processing_class: PreTrainedTokenizerBase

    batch: Mapping[str, Any] = {}  # of the latest training step
    is_in_step = False
    way: Mapping[str, str] = {}  # how the steps are computed, for the log

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.pending = PendingSteps()
        self.graphs: GraphedSteps | None = None  # set by `train`

    def _inner_training_loop(self, *arguments: Any, **named: Any) -> TrainOutput:
        if self.has_global_batch:
            weights = [weight for weight in self.model.parameters() if weight.requires_grad]
            gradients = self.graphs.gradients if self.graphs else AdapterGradients(weights)
            self.global_batch = GlobalBatch(gradients, self.figure_names)
        with without_walks(self.model, self.clear_gradients):
            return super()._inner_training_loop(*arguments, **named)

    def get_train_dataloader(self) -> DataLoader:
        loader: Any = super().get_train_dataloader()
        loader.device = None  # a step moves to the GPU what it needs there
        return loader

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        self.batch, self.is_in_step = inputs, True
        model.train()
        if self.global_batch is None:
            loss = self.step_of_batch(model, inputs, num_items_in_batch)
        else:
            self.add_to(self.global_batch, model, inputs)
            loss = torch.zeros((), device=self.args.device)  # the loss is among the figures of the global batch
        self.is_in_step = False
        return loss

    def step_of_batch(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Compute the gradients of a batch, and return its loss."""
        loss = self.graphs.step(inputs, self.state.global_step) if self.graphs else None
        if loss is not None:
            return loss
        if self.global_batch:
            self.global_batch.begin_plain_step()
        return super().training_step(model, inputs, num_items_in_batch)

    def evaluate(self, *arguments: Any, **named: Any) -> dict[str, float]:
        """Validate. If memory is too short for that beside the graphs, free it and go on without them."""
        try:
            return super().evaluate(*arguments, **named)
        except Exception as error:
            if not self.graphs or self.graphs.reason or not is_out_of_memory(error):
                raise
        # Outside of the handler, whose traceback keeps tensors alive.
        self.graphs.give_way("memory is too short for a validation beside CUDA graphs")
        return super().evaluate(*arguments, **named)

    def autocast(self) -> AbstractContextManager[Any]:
        return self.accelerator.autocast()

    def clear_gradients(self) -> None:
        """Forget the gradients of the adapter. Only it has any."""
        if self.global_batch:
            self.global_batch.gradients.zero()
        elif self.graphs and not self.graphs.reason:
            self.graphs.gradients.zero()
        else:
            for weight in self._adapter():
                weight.grad = None

    def _maybe_log_save_evaluate(
        self,
        tr_loss: Tensor,
        grad_norm: Tensor | float | None,
        model: nn.Module,
        trial: Any,
        epoch: float,
        ignore_keys_for_eval: list[str] | None,
        start_time: float,
        learning_rate: float | None = None,
    ) -> None:
        control, step = self.control, self.state.global_step
        if control.should_log and step > self._globalstep_last_logged:
            figures, known = self.step_figures()
            if self.global_batch:
                figures |= self.global_batch.figures
            else:
                figures[("loss",)] = tr_loss / (step - self._globalstep_last_logged)
            if isinstance(grad_norm, Tensor):
                figures[("grad_norm",)] = grad_norm
            if learning_rate is not None:
                known["learning_rate"] = learning_rate
            self.pending.add(StepRecord(step, self.state.epoch or 0.0, self.batch, figures, known))
            tr_loss.zero_()
            self._globalstep_last_logged, control.should_log = step, False
        is_last = control.should_training_stop or control.should_epoch_stop
        if self.pending.is_due or control.should_evaluate or control.should_save or is_last:
            self.log_pending()
        super()._maybe_log_save_evaluate(
            tr_loss, grad_norm, model, trial, epoch, ignore_keys_for_eval, start_time, learning_rate
        )

    def log_pending(self) -> None:
        """Log the steps since the last fetch. If a callback stops the training, state and batch are of its step."""
        step, epoch, batch = self.state.global_step, self.state.epoch, self.batch
        for record, figures in self.pending.fetch():
            self.state.global_step, self.state.epoch, self.batch = record.step, record.epoch, record.batch
            if figures.pop(PLAIN, 0.0) and self.graphs and not self.graphs.reason:
                self.graphs.give_way("another process trains with plain steps")
            self._total_loss_scalar += figures["loss"]
            self.log(figures)
        self.state.global_step, self.state.epoch, self.batch = step, epoch, batch

    def _clip_grad_norm(self, model: nn.Module) -> Tensor:
        if self.global_batch:
            self.global_batch.reduce(is_plain=bool(self.graphs and self.graphs.reason))
            self.accelerator.unscale_gradients()  # in float16
            return self.global_batch.gradients.clip(self.args.max_grad_norm)
        if self.graphs and not self.graphs.reason:
            self.accelerator.unscale_gradients()  # in float16
            return self.graphs.gradients.clip(self.args.max_grad_norm)
        return self.accelerator.clip_grad_norm_(self._adapter(), self.args.max_grad_norm)

    def _adapter(self) -> list[nn.Parameter]:
        return [weight for group in self.optimizer.param_groups for weight in group["params"]]

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        return 0  # nothing here uses the count


def train(trainer: AdapterTrainerMixin, prompts: Iterable[str], graphs: GraphedSteps | None = None) -> None:
    """Train from the last complete checkpoint, or from the start if there is none. `graphs` run what steps they can.

    Raises UserError if the machine fails or the loss is not finite. The message names the step and its row, whose
    prompt is one of `prompts`. The last complete checkpoint is kept.
    """
    folder = Path(cast(str, trainer.args.output_dir))  # never None: TrainingArguments has a default
    last = broadcast(last_whole_checkpoint(folder) if processes().is_main else None)
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
            trainer.graphs = graphs
            trainer.train(resume_from_checkpoint=str(last) if last else None)
        if graphs:
            trainer.way = {**trainer.way, **graphs.facts}
            graphs.stop("the training has ended")
    except NotFinite as error:
        if isinstance(error, ValidationNotFinite):
            where, remedy = f"after step {trainer.state.global_step}", ""
        else:
            size = trainer.sharing().size
            row = f", one of {size} rows" if size > 1 else _row(trainer, prompts)
            where = f"step {trainer.state.global_step}{row}"
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
        if len(trainer.pending) and torch.cuda.is_available() and not is_out_of_memory(error):
            where += f" (or one of the {len(trainer.pending)} steps before it: a GPU reports its failures late)"
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
