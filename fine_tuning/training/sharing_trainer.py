"""A Trainer that works on a share of the examples. It believes that it is alone: see `processes.hide_launcher`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from accelerate.data_loader import SeedableRandomSampler
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler
from transformers import Trainer
from transformers.trainer_utils import EvalLoopOutput

from fine_tuning.run.processes import processes
from fine_tuning.training.collectives import gather
from fine_tuning.training.global_batch import GlobalBatch, SharedOrder, Sharing, draw_for
from fine_tuning.training.step_figures import Figures


class SharingTrainer(Trainer):
    """Shares out the examples of training and validation. Saves checkpoints in the main process alone."""

    global_batch: GlobalBatch | None = None  # while it trains, if a step has several examples
    figure_names: tuple[str, ...] = ()  # of an example, beside the loss

    def sharing(self) -> Sharing:
        """How the training examples are shared out."""
        here = processes()
        return Sharing(len(self.train_dataset), self.args.gradient_accumulation_steps * here.count, here)  # type: ignore[arg-type]

    @property
    def has_global_batch(self) -> bool:
        """True if an optimiser step has several examples."""
        return self.args.gradient_accumulation_steps > 1 or processes().are_several

    def held_out_figures(self) -> list[Tensor]:
        """The figures of the validation examples since the last log, for `evaluation_loop` to replace."""
        return []

    def step_of_batch(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Compute the gradients of a batch, and return its loss."""
        raise NotImplementedError

    def step_figures(self) -> tuple[Figures, dict[str, float]]:
        """Further figures of the latest training step: those on the device, and those that are known. Forgets them."""
        return {}, {}

    def add_to(self, batch: GlobalBatch, model: nn.Module, inputs: dict[str, Any]) -> None:
        """Add an example to the global batch, if there is one left for this process."""
        step, sharing = self.state.global_step, self.sharing()
        micro_step, batch.micro_step = batch.micro_step, batch.micro_step + 1
        if not sharing.is_there(step, micro_step):
            return
        draw_for(self.args.seed, step, sharing.in_batch(micro_step))
        self.current_gradient_accumulation_steps = 1  # the Trainer would divide the loss by them
        loss = self.step_of_batch(model, inputs)
        figures, known = self.step_figures()
        values = [*figures.values()] or [loss.new_tensor([known.get(name, 0.0) for name in self.figure_names])]
        batch.add(self.weight_of(inputs), loss, values[0])

    def weight_of(self, batch: Mapping[str, Any]) -> float:
        """The weight of an example in the mean loss of a global batch."""
        return 1.0

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int] | None:
        if not self.has_global_batch:
            return super()._get_train_sampler(train_dataset)
        dataset = self.train_dataset if train_dataset is None else train_dataset
        # As accelerate makes it from the Trainer's RandomSampler.
        order = SeedableRandomSampler(dataset, generator=torch.Generator(), data_seed=self.args.data_seed)
        return SharedOrder(order, self.sharing())

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader:
        here = processes()
        if here.are_several:
            dataset: Any = self.eval_dataset if eval_dataset is None else eval_dataset
            eval_dataset = dataset.select(range(here.rank, len(dataset), here.count))
        return super().get_eval_dataloader(eval_dataset)

    def evaluation_loop(
        self,
        dataloader: DataLoader,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        output = super().evaluation_loop(dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix)
        if not processes().are_several:
            return output
        metrics, loss, figures = output.metrics or {}, f"{metric_key_prefix}_loss", self.held_out_figures()
        own = (len(dataloader.dataset), metrics.get(loss, 0.0))  # type: ignore[arg-type]
        counts, means = zip(*gather(own), strict=True)
        metrics[loss] = float(np.average(means, weights=counts))
        everybodys = gather([figure.tolist() for figure in figures])
        figures[:] = [torch.tensor(values) for share in everybodys for values in share]
        return output._replace(metrics=metrics, num_samples=sum(counts))

    def _save_checkpoint(self, *arguments: Any, **named: Any) -> None:
        if processes().is_main:
            super()._save_checkpoint(*arguments, **named)
