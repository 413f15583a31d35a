"""A trainer with the ORPO loss, for encoded preference pairs."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
from peft import PeftModel
from torch import Tensor, nn

from fine_tuning.training.adapter import base_of
from fine_tuning.training.length_buckets import Lengths
from fine_tuning.training.orpo_loss import OrpoLoss, pair_loss
from fine_tuning.training.padded_example import PaddedExample
from fine_tuning.training.padded_loss import padded_pair_loss
from fine_tuning.training.pair_batch import PAIR_PARTS, collate_pairs
from fine_tuning.training.step_figures import Figures
from fine_tuning.training.token_table import token_counts
from fine_tuning.training.trainer import AdapterTrainerMixin

FIGURES = ("nll", "log_odds_ratio", "chosen_preferred")

Model = TypeVar("Model", bound=nn.Module)


class OrpoTrainer(AdapterTrainerMixin):
    """Trains a PEFT model on pairs from `encode_pair`. Logs FIGURES beside the loss, in training and in validation.

    Dropout is off, because chosen and rejected must be compared under the same model.
    """

    loss_is_scaled_for_ga = False  # Trainer divides it by the steps of gradient accumulation
    figure_names = FIGURES

    def __init__(
        self, *, model: PeftModel, orpo_lambda: float, nll_over_prompt: bool = False, **arguments: Any
    ) -> None:
        super().__init__(model=without_dropout(model), data_collator=collate_pairs, **arguments)
        self.orpo_lambda, self.nll_over_prompt = orpo_lambda, nll_over_prompt
        self._training_figures: list[Tensor] = []  # of the batches of the latest step
        self._validation_figures: list[Tensor] = []  # since the last log

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *_: Any, **__: Any) -> Tensor:
        with self.autocast():  # Trainer wraps only the model's own forward, which is not called here
            result = pair_loss(base_of(model), inputs, self.orpo_lambda, self.nll_over_prompt)
        (self._training_figures if model.training else self._validation_figures).append(_figures(result))
        return result.loss

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Any], *_: Any, **__: Any
    ) -> tuple[Tensor, None, None]:
        with torch.no_grad():
            return self.compute_loss(model, self._prepare_inputs(inputs)), None, None

    def step_figures(self) -> tuple[Figures, dict[str, float]]:
        latest, self._training_figures = self._training_figures, []
        return {FIGURES: torch.stack(latest).mean(0)} if latest else {}, {}

    def held_out_figures(self) -> list[Tensor]:
        return self._validation_figures

    def example_of(self, batch: Mapping[str, Any]) -> tuple[list[int], Lengths]:
        return batch["input_ids"][0].tolist(), Lengths(*batch["pair_lengths"][0])

    def lengths_of(self, examples: Any) -> list[Lengths]:
        return list(map(Lengths, *token_counts(examples, PAIR_PARTS)))

    def fill(self, example: PaddedExample, ids: Sequence[int], lengths: Lengths) -> None:
        example.fill(ids, lengths, self.nll_over_prompt)

    def plain_loss(self, batch: Mapping[str, Any]) -> Tensor:
        inputs = self._prepare_inputs(dict(batch))
        return pair_loss(base_of(self.model), inputs, self.orpo_lambda, self.nll_over_prompt).loss

    def padded_loss(self, example: PaddedExample) -> tuple[Tensor, Tensor]:
        result = padded_pair_loss(base_of(self.model), example, self.orpo_lambda)
        return result.loss, _figures(result)

    def keep_figures(self, figures: Tensor) -> None:
        self._training_figures.append(figures)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "eval_loss" in logs and self._validation_figures:
            means = torch.stack(self._validation_figures).mean(0).tolist()
            logs |= {f"eval_{name}": mean for name, mean in zip(FIGURES, means, strict=True)}
            self._validation_figures.clear()
        super().log(logs, start_time)


def _figures(result: OrpoLoss) -> Tensor:
    """FIGURES in one tensor [3]."""
    preferred = (result.chosen_log_probs > result.rejected_log_probs).float()
    return torch.stack([result.nll, result.log_odds_ratios.mean(), preferred.mean()])


def without_dropout(model: Model) -> Model:
    """Turn off all dropout of a model, and return the model.

    Attention has no layer for it: it keeps the probability as a number, such as `attention_dropout`.
    """
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name in [name for name, value in vars(module).items() if "dropout" in name and isinstance(value, float)]:
            setattr(module, name, 0.0)
    return model
