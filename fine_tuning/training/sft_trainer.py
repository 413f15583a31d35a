"""TRL's trainer for supervised fine-tuning, for an adapter."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from trl import SFTTrainer

from fine_tuning.training.adapter import base_of
from fine_tuning.training.length_buckets import Lengths
from fine_tuning.training.padded_example import PaddedExample
from fine_tuning.training.padded_loss import padded_row_loss
from fine_tuning.training.sft_loss import row_loss
from fine_tuning.training.step_figures import Figures
from fine_tuning.training.token_table import token_counts
from fine_tuning.training.trainer import AdapterTrainerMixin

ACCURACY = "mean_token_accuracy"  # TRL's name


class AdapterSftTrainer(AdapterTrainerMixin, SFTTrainer):
    """Trains a PEFT model on rows of `input_ids` and `labels`. The loss is on the completion alone.

    On a CPU it is TRL's. On a GPU it is `row_loss`, which is equal but for rounding: TRL's would compile kernels. So it
    is in a global batch.
    """

    figure_names = (ACCURACY,)

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        wants_own = self.args.device.type == "cuda" or self.has_global_batch
        self.has_own_loss = wants_own and not self.aux_loss_enabled
        self._accuracies: dict[bool, list[Tensor]] = {True: [], False: []}  # since the last log; True: in training

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        if return_outputs or not self.has_own_loss:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        with self.autocast():
            loss, accuracy = row_loss(base_of(model), inputs["input_ids"], _prompt_of(inputs))
        self._accuracies[model.training].append(accuracy)
        return loss

    def step_figures(self) -> tuple[Figures, dict[str, float]]:
        if self._accuracies[True]:
            latest, self._accuracies[True] = self._accuracies[True], []
            return {(ACCURACY,): torch.stack(latest).mean()}, {}
        of_trl = self._metrics["train"]  # TRL logs the mean since the last log, which here is several steps ago
        known = {name: sum(values) / len(values) for name, values in of_trl.items()}
        of_trl.clear()
        return {}, known

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "eval_loss" in logs and self._accuracies[False]:
            logs[f"eval_{ACCURACY}"] = float(torch.stack(self._accuracies[False]).mean())
            self._accuracies[False].clear()
        super().log(logs, start_time)

    def weight_of(self, batch: Mapping[str, Any]) -> float:
        return float((batch["labels"] != -100).sum())

    def held_out_figures(self) -> list[Tensor]:
        return self._accuracies[False]

    def example_of(self, batch: Mapping[str, Any]) -> tuple[list[int], Lengths]:
        ids: list[int] = batch["input_ids"][0].tolist()
        return ids, Lengths(_prompt_of(batch), len(ids) - _prompt_of(batch))

    def lengths_of(self, examples: Any) -> list[Lengths]:
        (counts,) = token_counts(examples, ("input_ids",))
        return [Lengths(0, count) for count in counts]

    def fill(self, example: PaddedExample, ids: Sequence[int], lengths: Lengths) -> None:
        example.fill(ids, lengths)

    def plain_loss(self, batch: Mapping[str, Any]) -> Tensor:
        return row_loss(base_of(self.model), batch["input_ids"].to(self.args.device), _prompt_of(batch))[0]

    def padded_loss(self, example: PaddedExample) -> tuple[Tensor, Tensor]:
        return padded_row_loss(base_of(self.model), example)

    def keep_figures(self, figures: Tensor) -> None:
        self._accuracies[True].append(figures)


def _prompt_of(batch: Mapping[str, Any]) -> int:
    """The number of tokens of a row's prompt. The labels mask the prompt and nothing else."""
    return int((batch["labels"][0] == -100).sum())
