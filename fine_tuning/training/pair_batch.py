"""Lay out a preference pair as one sequence, which computes the prompt only once:

    prompt  chosen  rejected

Each answer attends to the prompt and to itself, not to the other answer, and its positions continue the prompt's. So
every token has the same hidden state as with each answer in its own sequence, and no answer is padded to the other's
length.

Attention runs twice: over prompt and chosen, and over prompt and rejected. One run with a mask would also compute what
the mask hides, and could not use the fast kernels that take no mask.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel, PreTrainedTokenizerBase
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from fine_tuning.data.preference_pairs import Pair
from fine_tuning.data.tokens import encode_completion, encode_prompt, encode_unended_answer
from fine_tuning.run.errors import UserError

PAIR_ATTENTION = "sdpa_within_pairs"
PAIR_PARTS = ("prompt", "chosen", "rejected")

EncodedPair = dict[str, list[int]]


def encode_pair(tokenizer: PreTrainedTokenizerBase, pair: Pair) -> EncodedPair:
    """Token ids of the `prompt`, the `chosen` and the `rejected` answer.

    An answer has EOS at its end, but for a rejected answer that never ended: training must not teach that it ends
    there. Raises UserError if the prompt or the chosen answer contains a special token. A sampled answer can spell one
    in ordinary tokens. Of a rejected answer, only the part before it is used.
    """
    return {
        "prompt": encode_prompt(tokenizer, pair.prompt),
        "chosen": encode_completion(tokenizer, pair.chosen),
        "rejected": _encode_rejected(tokenizer, pair)[0],
    }


def encode_fitting(
    tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair], max_length: int
) -> Iterator[tuple[Pair, EncodedPair]]:
    """Encode pairs one by one. If prompt and rejected answer together have more than `max_length` tokens, the end of
    the rejected answer is cut off, with its EOS. The pair that is returned says so in `rejected_fits`.

    Leaves out pairs whose prompt or chosen answer contains a special token, or together have more than `max_length`
    tokens. Also those whose chosen answer begins with what is left of the rejected one: no token of it is worse.
    """
    for pair in pairs:
        try:
            prompt, chosen = encode_prompt(tokenizer, pair.prompt), encode_completion(tokenizer, pair.chosen)
        except UserError:
            continue
        rejected, is_whole = _encode_rejected(tokenizer, pair)
        room = max_length - len(prompt)
        if len(chosen) > room:
            continue
        is_whole = is_whole and len(rejected) <= room
        rejected = rejected[:room]
        if not (is_whole and pair.rejected_ended) and pair.chosen.startswith(str(tokenizer.decode(rejected))):
            continue
        yield replace(pair, rejected_fits=is_whole), {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def _encode_rejected(tokenizer: PreTrainedTokenizerBase, pair: Pair) -> tuple[list[int], bool]:
    """Token ids of the rejected answer. The second value is False if they stop in front of a special token."""
    try:
        whole = encode_completion(tokenizer, pair.rejected)
    except UserError:
        return encode_unended_answer(tokenizer, pair.rejected), False
    return whole if pair.rejected_ended else encode_unended_answer(tokenizer, pair.rejected), True


def collate_pairs(pairs: Sequence[EncodedPair]) -> dict[str, Any]:
    """A batch of B pairs, padded to the longest pair, T tokens.

    input_ids, position_ids  [B, T]
    pair_lengths             B triples: the numbers of tokens of prompt, chosen and rejected
    targets                  [N], ids of the tokens to predict: all prompts (without BOS), all chosen, all rejected
    predictors               [N], indices into the flattened [B * T] of the tokens that predict the targets
    """
    lengths = [(len(pair["prompt"]), len(pair["chosen"]), len(pair["rejected"])) for pair in pairs]
    total = max(map(sum, lengths))
    ids, positions = [], []
    in_prompts: list[int] = []
    in_chosen: list[int] = []
    in_rejected: list[int] = []
    for row, (pair, (prompt, chosen, rejected)) in enumerate(zip(pairs, lengths, strict=True)):
        padding = [0] * (total - prompt - chosen - rejected)
        ids.append([*pair["prompt"], *pair["chosen"], *pair["rejected"], *padding])
        positions.append([*range(prompt + chosen), *range(prompt, prompt + rejected), *padding])
        first = row * total
        last = first + prompt - 1  # the prompt's last token predicts the first token of both answers
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
    """Switch the model to `pair_attention`. Its forward then takes only batches of pairs, with their `pair_lengths`."""
    if model.config._attn_implementation != PAIR_ATTENTION:
        model.set_attn_implementation(PAIR_ATTENTION)


def pair_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: None,
    pair_lengths: Sequence[tuple[int, int, int]],
    sliding_window: int | None = None,
    **arguments: Any,
) -> tuple[Tensor, None]:
    """Causal attention over prompt and chosen and over prompt and rejected, as [B, T, heads, D]; zeros for padding.

    `query`, `key` and `value` are [B, heads, T, D]. With a `sliding_window`, a token attends to so many tokens at the
    most, itself included (some layers of Gemma 3 and Mistral).
    """
    rows = []
    for row, (prompt, chosen, rejected) in enumerate(pair_lengths):
        states = [tensor[row : row + 1] for tensor in (query, key, value)]
        end = prompt + chosen
        q, k, v = (tensor[:, :, :end] for tensor in states)
        row_of_chosen = attend(module, q, k, v, sliding_window, **arguments)
        q, k, v = (torch.cat([tensor[:, :, :prompt], tensor[:, :, end : end + rejected]], 2) for tensor in states)
        row_of_rejected = attend(module, q, k, v, sliding_window, **arguments)
        parts = [row_of_chosen, row_of_rejected[:, prompt:]]
        if padding := query.shape[2] - end - rejected:
            parts.append(row_of_chosen.new_zeros(1, padding, *row_of_chosen.shape[2:]))
        rows.append(torch.cat(parts, 1))
    return torch.cat(rows) if len(rows) > 1 else rows[0], None


def attend(module: nn.Module, q: Tensor, k: Tensor, v: Tensor, window: int | None, **arguments: Any) -> Tensor:
    """Causal attention over one sequence of T tokens, as [1, T, heads, D]."""
    mask, length = None, q.shape[2]  # without a mask, the fastest kernels can be used
    if window is not None and length > window:
        mask = torch.ones(length, length, dtype=torch.bool, device=q.device).tril().triu(1 - window)[None, None]
    attended: Tensor = sdpa_attention_forward(module, q, k, v, mask, **arguments)[0]
    return attended


AttentionInterface.register(PAIR_ATTENTION, pair_attention)
