"""Batches of pre-training rows as token ids, with what each token mentions or is about."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from transformers import PreTrainedTokenizerBase

from create_dataset.create_dataset import INSTRUCTION
from fine_tuning.data.tokens import encode_completion, encode_prompt
from fine_tuning.pretraining.rows import PretrainingRow
from fine_tuning.pretraining.wording import Mention

IGNORE = -100
MAX_SHAPES = 16
LENGTHS = 32  # batches are padded to a multiple of it: matrix libraries prepare for every new size they meet
EDGES = 1 + 2 * MAX_SHAPES  # no connection, reached from shape k, points to shape k
_NUMBER = re.compile(r"\[?(\d+)")
_TARGETS = re.compile(r"\[([\d, ]*)\]\]$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Batch:
    """Token ids and their targets, each [B, T], IGNORE where there is none.

    `labels` are the answers' tokens, at their own places. For the tokens of a prompt that mention a shape, `shapes`
    says which one, `firsts` the same where these words stand for the first time, and `edges` with what they connect it.
    For the tokens of an answer, `lines` says which shape their line is about, and `kinds` of what kind it is; the line
    break belongs to the next line.

    The others say where to look back, from one token to an earlier one of the same number: at the last token of a
    mention `phrases` numbers its words, `named` the shape where it is called by its name, and `connected` the
    connection that the mention tells of; `connects` stands at the token before the number of a connection's end.

    Networks name groups of shapes: `starts` says for the tokens of such a name with which shape the group begins, and
    `groups` numbers it at the last one; `grouped` is the group of the shape that an answer's line is about. In a
    flowchart every shape is a group of its own.
    """

    ids: torch.Tensor
    labels: torch.Tensor
    shapes: torch.Tensor
    firsts: torch.Tensor
    edges: torch.Tensor
    lines: torch.Tensor
    kinds: torch.Tensor
    phrases: torch.Tensor
    named: torch.Tensor
    connects: torch.Tensor
    connected: torch.Tensor
    starts: torch.Tensor
    groups: torch.Tensor
    grouped: torch.Tensor


def batches_of(tokenizer: PreTrainedTokenizerBase, rows: Sequence[PretrainingRow], size: int) -> list[Batch]:
    """Batches of `size` rows, the shortest first; rows of like length share a batch."""
    encoded = sorted((_encode(tokenizer, row) for row in rows), key=lambda row: len(row["ids"]))
    return [_pad(encoded[k : k + size], tokenizer.pad_token_id) for k in range(0, len(encoded), size)]


def _encode(tokenizer: PreTrainedTokenizerBase, row: PretrainingRow) -> dict[str, list[int]]:
    prompt, completion = encode_prompt(tokenizer, row.prompt), encode_completion(tokenizer, row.answer)
    length = len(prompt) + len(completion)
    encoded = {field.name: [IGNORE] * length for field in fields(Batch)}
    encoded["ids"] = prompt + completion
    encoded["labels"][len(prompt) :] = completion
    request = row.prompt.removesuffix(f"\n\n{INSTRUCTION}")
    # BOS and the heading of the instruction come before it, one token each.
    _fill_prompt(encoded, row, request, _offsets(tokenizer, request, prompt, 2), 2)
    _fill_answer(encoded, row, _offsets(tokenizer, row.answer, completion, 0), len(prompt))
    return encoded


def _offsets(tokenizer: PreTrainedTokenizerBase, text: str, whole: list[int], before: int) -> Sequence[tuple[int, int]]:
    """Where in `text` each of its tokens begins and ends, which are those from `before` on in `whole`."""
    pieces = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    if whole[before : before + len(pieces.input_ids)] != pieces.input_ids:
        raise ValueError(f"tokenised by itself, this is not what it is in its place: {text!r}")
    return pieces.offset_mapping


def _fill_prompt(
    encoded: dict[str, list[int]],
    row: PretrainingRow,
    request: str,
    offsets: Sequence[tuple[int, int]],
    before: int,
) -> None:
    phrases: dict[str, int] = {}
    for mention in row.mentions:
        tokens = _tokens_of(mention, offsets, before)
        phrase = request[mention.start : mention.end]
        for k in tokens:
            encoded["shapes"][k], encoded["edges"][k] = mention.shape, _edge(mention)
            if phrase not in phrases:
                encoded["firsts"][k] = mention.shape
        last = tokens[-1]
        encoded["phrases"][last] = phrases.setdefault(phrase, len(phrases))
        if len(phrase) > 1:  # one letter stands for a name given elsewhere
            encoded["named"][last] = encoded["groups"][last] = mention.shape
        if mention.source is not None:
            encoded["connected"][last] = _connection(mention.source, mention.shape)
        elif mention.target is not None:
            encoded["connected"][last] = _connection(mention.shape, mention.target)

    for mention in row.groups:
        tokens = _tokens_of(mention, offsets, before)
        for k in tokens:
            encoded["starts"][k] = mention.shape
        encoded["groups"][tokens[-1]] = mention.group


def _tokens_of(mention: Mention, offsets: Sequence[tuple[int, int]], before: int) -> list[int]:
    return [k for k, (start, end) in enumerate(offsets, before) if start < mention.end and end > mention.start]


def _fill_answer(
    encoded: dict[str, list[int]], row: PretrainingRow, offsets: Sequence[tuple[int, int]], before: int
) -> None:
    shapes = [int(match[1]) if (match := _NUMBER.match(line)) else None for line in row.answer.split("\n")]
    for k, (_, end) in enumerate(offsets, before):
        shape = shapes[row.answer.count("\n", 0, end)]
        # In a diagram the lines follow one another; in a list the number itself says which shape is next.
        if shape is not None and (row.is_diagram or not row.answer[end - 1].isspace()):
            encoded["lines"][k], encoded["kinds"][k] = shape, row.kinds[shape]
            encoded["grouped"][k] = row.members[shape] if row.members else shape
    if not row.is_diagram:
        return
    for source, match in zip(shapes, _TARGETS.finditer(row.answer), strict=True):
        for target in re.finditer(r"\d+", match[1]):
            at = match.start(1) + target.end()
            token = next(k for k, (_, end) in enumerate(offsets, before) if end >= at)
            encoded["connects"][token - 1] = _connection(source, int(target[0]))


def _connection(source: int, target: int) -> int:
    return MAX_SHAPES * source + target


def _edge(mention: Mention) -> int:
    if mention.source is not None:
        return 1 + mention.source
    return 0 if mention.target is None else 1 + MAX_SHAPES + mention.target


def _pad(rows: list[dict[str, list[int]]], pad: int) -> Batch:
    """Padding stands at the right, where a causal model's real tokens never look: no mask is needed."""
    length = -(-max(len(row["ids"]) for row in rows) // LENGTHS) * LENGTHS
    fillers = dict.fromkeys(rows[0], IGNORE) | {"ids": pad}
    return Batch(
        **{
            name: torch.tensor([row[name] + [filler] * (length - len(row[name])) for row in rows])
            for name, filler in fillers.items()
        }
    )
