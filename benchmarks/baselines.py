"""What a user would run without this project: TRL's ORPO trainer, on the same token ids as this project's trainer."""

import os
from collections.abc import Sequence
from typing import Any

from datasets import Dataset

from fine_tuning.training.pair_batch import EncodedPair

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # no warning that the API may change: trl is pinned
from trl.experimental.orpo import ORPOConfig, ORPOTrainer  # noqa: E402

__all__ = ["ORPOConfig", "StockOrpoTrainer", "stock_pairs"]


class StockOrpoTrainer(ORPOTrainer):
    """TRL's ORPOTrainer, unchanged except for the tokenisation, which would append a second EOS."""

    def tokenize_row(self, feature: dict[str, Any], model: Any = None) -> dict[str, list[int]]:
        prompt = feature["ids"]["prompt"]
        row = {"prompt_input_ids": prompt, "prompt_attention_mask": [1] * len(prompt)}
        for side in ("chosen", "rejected"):
            answer = feature["ids"][side]
            row[f"{side}_input_ids"] = prompt + answer
            row[f"{side}_attention_mask"] = [1] * len(prompt + answer)
            row[f"{side}_labels"] = [-100] * len(prompt) + answer
        return row


def stock_pairs(pairs: Sequence[EncodedPair]) -> Dataset:
    """Convert encoded pairs to the dataset that StockOrpoTrainer expects."""
    return Dataset.from_list([{"prompt": "", "chosen": "", "rejected": "", "ids": pair} for pair in pairs])
