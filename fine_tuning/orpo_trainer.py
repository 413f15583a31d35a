"""TRL's ORPO trainer on pairs that are tokenised like everything else in this project."""

import os
from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedTokenizerBase

from fine_tuning.chat import encode_prompt, encode_row
from fine_tuning.preference_pairs import Pair

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # trl is pinned, so its ORPO cannot move unseen
from trl.experimental.orpo import ORPOConfig, ORPOTrainer  # noqa: E402

__all__ = ["ORPOConfig", "PairTrainer", "fits", "pair_dataset"]


class PairTrainer(ORPOTrainer):
    """ORPO on pairs of prompt, chosen and rejected text.

    TRL would append a second EOS to the chat template's text and cut EOS off a row that is too long. Here the ids come
    from fine_tuning.chat, one BOS and one EOS in each, and rows that are too long were left out beforehand. TRL takes
    the NLL over prompt and answer; here it is taken over the chosen answer alone, as in the paper (Eq. 2 and 6) and as
    in step 1, whose loss it can be compared with.
    """

    def tokenize_row(self, feature: dict[str, str], model: Any = None) -> dict[str, list[int]]:
        prompt = encode_prompt(self.processing_class, feature["prompt"])
        row = {"prompt_input_ids": prompt, "prompt_attention_mask": [1] * len(prompt)}
        for side in ("chosen", "rejected"):
            encoded = encode_row(self.processing_class, feature["prompt"], feature[side])
            row[f"{side}_input_ids"] = encoded["input_ids"]
            row[f"{side}_attention_mask"] = [1] * len(encoded["input_ids"])
            row[f"{side}_labels"] = encoded["labels"]
        return row

    def concatenated_forward(self, model: nn.Module, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Mean log-probabilities of the chosen and of the rejected answers [B], their logits [B, T - 1, V], the NLL."""
        inputs = self.concatenated_inputs(batch, padding_value=self.padding_value, device=self.accelerator.device)
        labels, mask = inputs["concatenated_labels"], inputs["concatenated_attention_mask"]
        logits = model(inputs["concatenated_input_ids"], attention_mask=mask, use_cache=False).logits
        log_probs = self.get_batch_logps(logits, labels, average_log_prob=True)
        pairs = len(batch["chosen_labels"])
        nll = cross_entropy(logits[:pairs, :-1].flatten(0, 1), labels[:pairs, 1:].flatten())
        return log_probs[:pairs], log_probs[pairs:], logits[:pairs, :-1], logits[pairs:, :-1], nll


def pair_dataset(pairs: Sequence[Pair]) -> Dataset:
    """The pairs as the trainer takes them."""
    return Dataset.from_list([{"prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected} for p in pairs])


def fits(tokenizer: PreTrainedTokenizerBase, prompt: str, answer: str, max_length: int) -> bool:
    """True when a whole row, BOS to EOS, is at most `max_length` tokens and has no other special token in it.

    A sampled answer can spell out a special token in ordinary ones.
    """
    try:
        return len(encode_row(tokenizer, prompt, answer)["input_ids"]) <= max_length
    except ValueError:
        return False
