"""Batches of pre-training rows as token ids, with what each prompt token mentions."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from create_dataset.create_dataset import INSTRUCTION
from fine_tuning.chat import encode_completion, encode_prompt
from fine_tuning.embedded_model.pretraining_data import PretrainingRow
from fine_tuning.embedded_model.pretraining_wording import Mention

IGNORE = -100
MAX_SHAPES = 16
LENGTHS = 32  # batches are padded to a multiple of it: matrix libraries prepare for every new size they meet
EDGES = 1 + 2 * MAX_SHAPES  # no connection, reached from shape k, points to shape k


@dataclass(frozen=True, slots=True)
class Batch:
    """Token ids and their targets, each [B, T], IGNORE where there is none.

    `labels` are the answers' tokens, at their own places; `shapes` and `edges` say what a prompt token mentions.
    """

    ids: torch.Tensor
    labels: torch.Tensor
    shapes: torch.Tensor
    edges: torch.Tensor


def batches_of(tokenizer: PreTrainedTokenizerBase, rows: Sequence[PretrainingRow], size: int) -> list[Batch]:
    """Batches of `size` rows, the shortest first; rows of like length share a batch."""
    encoded = sorted((_encode(tokenizer, row) for row in rows), key=lambda row: len(row["ids"]))
    return [_pad(encoded[k : k + size], tokenizer.pad_token_id) for k in range(0, len(encoded), size)]


def _encode(tokenizer: PreTrainedTokenizerBase, row: PretrainingRow) -> dict[str, list[int]]:
    prompt, completion = encode_prompt(tokenizer, row.prompt), encode_completion(tokenizer, row.answer)
    request = row.prompt.removesuffix(f"\n\n{INSTRUCTION}")
    pieces = tokenizer(request, add_special_tokens=False, return_offsets_mapping=True)
    before = 2  # BOS and the heading of the instruction, one token each
    if prompt[before : before + len(pieces.input_ids)] != pieces.input_ids:
        raise ValueError(f"tokenised by itself, the request is not what it is in the prompt: {request!r}")
    shapes, edges = [IGNORE] * len(prompt), [IGNORE] * len(prompt)
    for mention in row.mentions:
        for k, (start, end) in enumerate(pieces.offset_mapping, start=before):
            if start < mention.end and end > mention.start:
                shapes[k], edges[k] = mention.shape, _edge(mention)
    rest = [IGNORE] * len(completion)
    return {
        "ids": prompt + completion,
        "labels": [IGNORE] * len(prompt) + completion,
        "shapes": shapes + rest,
        "edges": edges + rest,
    }


def _edge(mention: Mention) -> int:
    if mention.source is not None:
        return 1 + mention.source
    return 0 if mention.target is None else 1 + MAX_SHAPES + mention.target


def _pad(rows: list[dict[str, list[int]]], pad: int) -> Batch:
    """Padding stands at the right, where a causal model's real tokens never look: no mask is needed."""
    length = -(-max(len(row["ids"]) for row in rows) // LENGTHS) * LENGTHS
    fillers = {"ids": pad, "labels": IGNORE, "shapes": IGNORE, "edges": IGNORE}
    return Batch(
        **{
            name: torch.tensor([row[name] + [filler] * (length - len(row[name])) for row in rows])
            for name, filler in fillers.items()
        }
    )
