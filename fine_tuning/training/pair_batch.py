"""Lay out a preference pair as one sequence, so that the prompt is computed once:

    prompt  chosen  rejected

Each answer sees the prompt and itself, not the other answer, and both stand right after the prompt by their positions.
So every token's hidden state is what it would be in a row of its own, and no answer is padded to the other's length.
Attention goes over two rows, prompt with chosen and prompt with rejected, one after the other: a mask over the whole
sequence would compute what it then hides, and shut out the kernels that take no mask.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel, PreTrainedTokenizerBase
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from fine_tuning.data.preference_pairs import Pair
from fine_tuning.data.tokens import encode_completion, encode_prompt

PAIR_ATTENTION = "sdpa_within_pairs"

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

    `input_ids` and `position_ids` are [B, T]. `pair_lengths` are B triples, the tokens of prompt, chosen and rejected.
    `predictors` and `targets` are [N]: the index in the flattened [B * T] of a token that predicts another one, and the
    other one's id; first for all prompts (without BOS, which nothing predicts), then for all chosen and then for all
    rejected answers.
    """
    lengths = [(len(pair["prompt"]), len(pair["chosen"]), len(pair["rejected"])) for pair in pairs]
    total = max(map(sum, lengths))
    ids, positions = [], []
    in_prompts, in_chosen, in_rejected = [], [], []
    for row, (pair, (prompt, chosen, rejected)) in enumerate(zip(pairs, lengths, strict=True)):
        padding = [0] * (total - prompt - chosen - rejected)
        ids.append([*pair["prompt"], *pair["chosen"], *pair["rejected"], *padding])
        positions.append([*range(prompt + chosen), *range(prompt, prompt + rejected), *padding])
        first = row * total
        last = first + prompt - 1  # the prompt's last token predicts the first one of either answer
        in_prompts += range(first, last)
        in_chosen += [last, *range(last + 1, last + chosen)]
        in_rejected += [last, *range(last + chosen + 1, last + chosen + rejected)]
    targets = [pair["prompt"][1:] for pair in pairs] + [pair[side] for side in ("chosen", "rejected") for pair in pairs]
    return {
        "input_ids": torch.tensor(ids),
        "position_ids": torch.tensor(positions),
        "pair_lengths": lengths,
        "predictors": torch.tensor(in_prompts + in_chosen + in_rejected),
        "targets": torch.tensor([token for part in targets for token in part]),
    }


def attend_within_pairs(model: PreTrainedModel) -> None:
    """Have the model take batches of pairs, with `pair_lengths` given to its forward, and nothing else."""
    if model.config._attn_implementation != PAIR_ATTENTION:
        model.set_attn_implementation(PAIR_ATTENTION)


def pair_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: None,
    pair_lengths: Sequence[tuple[int, int, int]],
    **arguments: Any,
) -> tuple[Tensor, None]:
    """Causal attention [B, T, heads, D] over prompt with chosen and over prompt with rejected.

    `query`, `key` and `value` are [B, heads, T, D]. Padding gets zeros.
    """
    rows = []
    for row, (prompt, chosen, rejected) in enumerate(pair_lengths):
        states = [tensor[row : row + 1] for tensor in (query, key, value)]
        end = prompt + chosen
        first = [tensor[:, :, :end] for tensor in states]
        second = [torch.cat([tensor[:, :, :prompt], tensor[:, :, end : end + rejected]], 2) for tensor in states]
        row_of_chosen = sdpa_attention_forward(module, *first, None, **arguments)[0]
        row_of_rejected = sdpa_attention_forward(module, *second, None, **arguments)[0]
        parts = [row_of_chosen, row_of_rejected[:, prompt:]]
        if padding := query.shape[2] - end - rejected:
            parts.append(row_of_chosen.new_zeros(1, padding, *row_of_chosen.shape[2:]))
        rows.append(torch.cat(parts, 1))
    return torch.cat(rows) if len(rows) > 1 else rows[0], None


AttentionInterface.register(PAIR_ATTENTION, pair_attention)
