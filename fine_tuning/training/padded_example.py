"""One example in buffers that keep their place in memory, padded to the lengths of its bucket:

    prompt chosen padding   rejected padding

Padding stands behind the answers, where causal attention hides it exactly. The prompt has none. What differs between
examples of a bucket is in the buffers alone, so a CUDA graph that reads them serves all of these examples.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AttentionInterface

from fine_tuning.training.length_buckets import Bucket, Lengths
from fine_tuning.training.pair_batch import attend

PADDED_ATTENTION = "sdpa_within_padded_examples"


class PaddedExample:
    """Buffers for an example of `bucket`: R tokens of its row, J of its rejected answer and S of its second row, which
    is prompt and rejected answer. J and S may be 0.

    ids, positions    [1, R + J]
    targets           [R + J], the token that each token predicts, and those of the rejected answer
    predictors        [J], the tokens that predict the rejected answer
    second_row        [S], the tokens of the second row
    in_second_row     [J], where the rejected answer stands in the second row
    nll_weights       [R], the share of each prediction in the NLL; 0 where there is nothing to predict
    chosen_weights    [R], the same for the chosen answer's mean log-probability
    rejected_weights  [J], the same for the rejected answer's
    """

    def __init__(self, bucket: Bucket, device: torch.device) -> None:
        row, rejected, second_row = bucket
        tokens = row + rejected
        self.bucket = bucket
        self._pin = device.type == "cuda"
        self._numbers = torch.zeros(3 * tokens + 2 * rejected + second_row, dtype=torch.int64, device=device)
        self._weights = torch.zeros(2 * row + rejected, dtype=torch.float32, device=device)
        ids, positions, self.targets, self.predictors, self.second_row, self.in_second_row = self._numbers.split(
            [tokens, tokens, tokens, rejected, second_row, rejected]
        )
        self.ids, self.positions = ids[None], positions[None]
        self.nll_weights, self.chosen_weights, self.rejected_weights = self._weights.split([row, row, rejected])

    def fill(self, ids: Sequence[int], lengths: Lengths, nll_over_prompt: bool = False) -> None:
        """Put an example of the bucket into the buffers. `ids` are prompt, chosen and rejected answer, unpadded.

        One copy for the numbers and one for the weights, which do not make the CPU wait.
        """
        prompt, chosen, rejected = lengths
        row, padded_rejected, second_row = self.bucket
        end, tokens = prompt + chosen, row + padded_rejected
        staged = np.zeros(len(self._numbers), np.int64)
        at = np.cumsum([tokens, tokens, tokens, padded_rejected, second_row])
        all_ids, positions, targets, predictors, second, in_second = np.split(staged, at)
        all_ids[:end] = ids[:end]
        positions[:end] = np.arange(end)
        targets[: end - 1] = ids[1:end]
        if padded_rejected:
            all_ids[row : row + rejected] = targets[row : row + rejected] = ids[end:]
            positions[row : row + rejected] = np.arange(prompt, prompt + rejected)
            predictors[:] = np.arange(row - 1, row - 1 + padded_rejected)
            predictors[0] = prompt - 1  # the prompt's last token predicts the first token of both answers
            in_second[:] = np.arange(prompt, prompt + padded_rejected)
            # Padding behind it, of different tokens: adding up many gradients of one token is slow.
            behind = np.arange(prompt, second_row - padded_rejected) % tokens
            second[:] = np.concatenate([np.arange(prompt), np.arange(row, tokens), behind])
        weights = np.zeros(len(self._weights), np.float32)
        nll, of_chosen, of_rejected = np.split(weights, [row, 2 * row])
        first = 0 if nll_over_prompt else prompt - 1
        nll[first : end - 1] = 1 / (end - 1 - first)
        of_chosen[prompt - 1 : end - 1] = 1 / chosen
        if rejected:
            of_rejected[:rejected] = 1 / rejected
        for buffer, values in ((self._numbers, staged), (self._weights, weights)):
            host = torch.from_numpy(values)
            buffer.copy_(host.pin_memory() if self._pin else host, non_blocking=True)


def padded_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: None,
    padded: PaddedExample,
    sliding_window: int | None = None,
    **arguments: Any,
) -> tuple[Tensor, None]:
    """`pair_attention` for a padded example: causal attention within the row and within the second row."""
    row = padded.bucket.row
    q, k, v = (state[:, :, :row] for state in (query, key, value))
    first = attend(module, q, k, v, sliding_window, **arguments)
    if not padded.bucket.rejected:
        return first, None
    q, k, v = (state.index_select(2, padded.second_row) for state in (query, key, value))
    second = attend(module, q, k, v, sliding_window, **arguments)
    return torch.cat([first, second.index_select(1, padded.in_second_row)], 1), None


AttentionInterface.register(PADDED_ATTENTION, padded_attention)
