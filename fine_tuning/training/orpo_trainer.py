"""A trainer with the ORPO loss, for encoded preference pairs."""

from typing import Any, TypeVar

import torch
from peft import PeftModel
from torch import Tensor, nn

from fine_tuning.training.adapter import base_of
from fine_tuning.training.orpo_loss import pair_loss
from fine_tuning.training.pair_batch import collate_pairs
from fine_tuning.training.trainer import AdapterTrainerMixin

FIGURES = ("nll", "log_odds_ratio", "chosen_preferred")

Model = TypeVar("Model", bound=nn.Module)


class OrpoTrainer(AdapterTrainerMixin):
    """Trains a PEFT model on pairs from `encode_pair`. Logs FIGURES beside the loss, in training and in validation.

    Dropout is off, because chosen and rejected must be compared under the same model.
    """

    loss_is_scaled_for_ga = False  # Trainer divides it by the steps of gradient accumulation

    def __init__(
        self, *, model: PeftModel, orpo_lambda: float, nll_over_prompt: bool = False, **arguments: Any
    ) -> None:
        super().__init__(model=without_dropout(model), data_collator=collate_pairs, **arguments)
        self.orpo_lambda, self.nll_over_prompt = orpo_lambda, nll_over_prompt
        self._figures: dict[bool, list[Tensor]] = {True: [], False: []}  # since the last log; True: in training

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *_: Any, **__: Any) -> Tensor:
        with self.accelerator.autocast():  # Trainer wraps only the model's own forward, which is not called here
            result = pair_loss(base_of(model), inputs, self.orpo_lambda, self.nll_over_prompt)
        preferred = (result.chosen_log_probs > result.rejected_log_probs).float()
        self._figures[model.training].append(torch.stack([result.nll, result.log_odds_ratios.mean(), preferred.mean()]))
        return result.loss

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Any], *_: Any, **__: Any
    ) -> tuple[Tensor, None, None]:
        with torch.no_grad():
            return self.compute_loss(model, self._prepare_inputs(inputs)), None, None

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        for training, prefix in ((True, ""), (False, "eval_")):
            if f"{prefix}loss" in logs and self._figures[training]:
                means = torch.stack(self._figures[training]).mean(0).tolist()
                logs |= {f"{prefix}{name}": mean for name, mean in zip(FIGURES, means, strict=True)}
                self._figures[training].clear()
        super().log(logs, start_time)


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
