"""Lay out a preference pair as one sequence, so that the prompt is computed once:

    prompt  chosen  rejected

Each answer sees the prompt and itself, not the other answer, and both stand right after the prompt by their positions.
So every token's hidden state is what it would be in a row of its own, and no answer is padded to the other's length.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from fine_tuning.chat import encode_completion, encode_prompt
from fine_tuning.preference_pairs import Pair

PROMPT, CHOSEN, REJECTED, PADDING = range(4)

EncodedPair = dict[str, list[int]]


def encode_pair(tokenizer: PreTrainedTokenizerBase, pair: Pair) -> EncodedPair:
    """Token ids of the `prompt`, of the `chosen` and of the `rejected` answer, each answer with EOS last.

    Raises ValueError where one of them holds a special token; a sampled answer can spell one out in ordinary tokens.
    """
    return {
        "prompt": encode_prompt(tokenizer, pair.prompt),
        "chosen": encode_completion(tokenizer, pair.chosen),
        "rejected": encode_completion(tokenizer, pair.rejected),
    }


def encode_fitting(
    tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair], max_length: int
) -> list[tuple[Pair, EncodedPair]]:
    """The pairs, encoded, whose prompt has at most `max_length` tokens with either answer, and no special token."""
    kept = []
    for pair in pairs:
        try:
            encoded = encode_pair(tokenizer, pair)
        except ValueError:
            continue
        if len(encoded["prompt"]) + max(len(encoded["chosen"]), len(encoded["rejected"])) <= max_length:
            kept.append((pair, encoded))
    return kept


def collate_pairs(pairs: Sequence[EncodedPair]) -> dict[str, Any]:
    """A batch of B pairs, as long as the longest one, T tokens.

    `input_ids`, `position_ids` and `segments` are [B, T]; a segment is PROMPT, CHOSEN, REJECTED or PADDING.
    `predictors` and `targets` are [N]: the index in the flattened [B * T] of a token that predicts another one, and the
    other one's id. `sizes` are 3 B ints, how many of the N belong to which part: first to each prompt (without BOS,
    which nothing predicts), then to each chosen and then to each rejected answer.
    """
    length = max(sum(map(len, pair.values())) for pair in pairs)
    ids, positions, segments = [], [], []
    predictors: dict[int, list[list[int]]] = {PROMPT: [], CHOSEN: [], REJECTED: []}
    for row, pair in enumerate(pairs):
        prompt, chosen, rejected = (len(pair[part]) for part in ("prompt", "chosen", "rejected"))
        padding = length - prompt - chosen - rejected
        ids.append([*pair["prompt"], *pair["chosen"], *pair["rejected"], *[0] * padding])
        positions.append([*range(prompt + chosen), *range(prompt, prompt + rejected), *[0] * padding])
        segments.append([PROMPT] * prompt + [CHOSEN] * chosen + [REJECTED] * rejected + [PADDING] * padding)
        start = row * length
        last = start + prompt - 1  # the prompt's last token predicts the first one of either answer
        predictors[PROMPT].append([*range(start, last)])
        predictors[CHOSEN].append([last, *range(last + 1, last + chosen)])
        predictors[REJECTED].append([last, *range(last + chosen + 1, last + chosen + rejected)])
    parts = predictors[PROMPT] + predictors[CHOSEN] + predictors[REJECTED]
    targets = [pair["prompt"][1:] for pair in pairs] + [pair[side] for side in ("chosen", "rejected") for pair in pairs]
    return {
        "input_ids": torch.tensor(ids),
        "position_ids": torch.tensor(positions),
        "segments": torch.tensor(segments),
        "predictors": torch.tensor([k for part in parts for k in part]),
        "targets": torch.tensor([token for part in targets for token in part]),
        "sizes": [len(part) for part in parts],
    }


def attention_mask(segments: Tensor) -> Tensor:
    """Which token [B, 1, T, T] (query, then key) may attend to which, as booleans.

    A token sees what stands before it in the prompt and in its own segment. Padding sees padding, for attention over
    nothing at all is not a number.
    """
    query, key = segments[:, None, :, None], segments[:, None, None, :]
    length = segments.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    return ((query == key) | ((key == PROMPT) & (query != PADDING))) & causal
