"""A trainer whose loss is ORPO's, on encoded preference pairs."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer

from fine_tuning.training.orpo_loss import pair_loss
from fine_tuning.training.pair_batch import collate_pairs

FIGURES = ("nll", "log_odds_ratio", "chosen_preferred")


class OrpoTrainer(Trainer):
    """Train a PEFT model on pairs from `encode_pair`, and log FIGURES beside the loss, when training and validating.

    Dropout is off, so that chosen and rejected are compared under the same model.
    """

    loss_is_scaled_for_ga = False

    def __init__(self, *, orpo_lambda: float, nll_over_prompt: bool = False, **arguments: Any) -> None:
        super().__init__(data_collator=collate_pairs, **arguments)
        self.orpo_lambda, self.nll_over_prompt = orpo_lambda, nll_over_prompt
        self._figures: dict[bool, list[Tensor]] = {True: [], False: []}  # since the last log, by whether training
        without_dropout(self.model)

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], **_: Any) -> Tensor:
        with self.accelerator.autocast():  # the trainer's own wraps the model's forward, which is not called
            result = pair_loss(model.get_base_model(), inputs, self.orpo_lambda, self.nll_over_prompt)
        preferred = (result.chosen_log_probs > result.rejected_log_probs).float()
        self._figures[model.training].append(torch.stack([result.nll, result.log_odds_ratios.mean(), preferred.mean()]))
        return result.loss

    def prediction_step(self, model: nn.Module, inputs: dict[str, Any], *_: Any, **__: Any) -> tuple:
        with torch.no_grad():
            return self.compute_loss(model, self._prepare_inputs(inputs)), None, None

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        for training, prefix in ((True, ""), (False, "eval_")):
            if f"{prefix}loss" in logs and self._figures[training]:
                means = torch.stack(self._figures[training]).mean(0).tolist()
                logs |= {f"{prefix}{name}": mean for name, mean in zip(FIGURES, means, strict=True)}
                self._figures[training].clear()
        super().log(logs, start_time)


def without_dropout(model: nn.Module) -> nn.Module:
    """The same model with all dropout switched off."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model
