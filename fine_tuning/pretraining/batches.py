"""Batches of pre-training rows: token ids, and for each token what it mentions or describes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

import torch
from transformers import PreTrainedTokenizerBase

from create_dataset.create_dataset import INSTRUCTION
from create_dataset.graphs import MAX_SHAPES
from fine_tuning.data.tokens import encode_completion, encode_prompt
from fine_tuning.pretraining.mentions import Mention
from fine_tuning.pretraining.rows import PretrainingRow

IGNORE = -100
LENGTH_MULTIPLE = 32  # batches are padded to a multiple of this: each new size costs time and memory
EDGES = 1 + 2 * MAX_SHAPES  # classes: no connection, connected from shape k, connected to shape k
_TOKENS = 1 << 16  # more than the vocabulary has
SIGN = re.compile(r"[A-Za-z]?\d*")  # a letter, a number or an id such as w3, in place of a name
_NUMBER = re.compile(r"\[?(\d+)")
_LABEL = re.compile(r"^\[\d+, '([^']*)'", re.MULTILINE)
_TARGETS = re.compile(r"\[([\d, ]*)\]\]$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Batch:
    """Token ids and targets, each [B, T]. A target is IGNORE at every token that has none.

    Some targets are classes, which a linear head predicts at the token itself. Some are keys: a token is trained to
    attend to earlier tokens with the same key (POINTERS in auxiliary_heads.py). `lines` is both.

    A flowchart's prompt mentions single shapes. A network's prompt names groups of shapes. In a flowchart, each shape
    counts as a group of its own.
    """

    ids: torch.Tensor
    labels: torch.Tensor  # the tokens of the answer, not shifted

    # Classes, at all tokens of a mention in a flowchart's prompt.
    shapes: torch.Tensor  # number of the shape
    firsts: torch.Tensor  # the same, but only where the prompt uses these words for the first time
    edges: torch.Tensor  # connection stated by the mention (EDGES)

    # Classes, at the tokens of an answer. A line break belongs to the line after it; in a list it has no target.
    lines: torch.Tensor  # number of the shape that the line describes
    kinds: torch.Tensor  # kind of that shape

    # Keys. All but `copies`, `copied` and `connects` are at the last token of a mention.
    phrases: torch.Tensor  # number of the words: equal words have equal numbers
    copies: torch.Tensor  # group and text of the next token, which belongs to a label
    copied: torch.Tensor  # group and text of a token of a mention
    connects: torch.Tensor  # connection to the target whose number is the next token of the answer
    connected: torch.Tensor  # connection stated by the mention

    # Groups of shapes.
    starts: torch.Tensor  # class, at all tokens of a group's name: number of its first shape
    groups: torch.Tensor  # key, at the last token of a name, not of a letter or number for it: number of the group
    grouped: torch.Tensor  # key, at the tokens of an answer: group of the shape that the line describes


def batches_of(tokenizer: PreTrainedTokenizerBase, rows: Sequence[PretrainingRow], size: int) -> list[Batch]:
    """Sort the rows by length, shortest first, and split them into batches of `size` rows."""
    encoded = sorted((_encode(tokenizer, row) for row in rows), key=lambda row: len(row["ids"]))
    return [_pad(encoded[k : k + size], tokenizer.pad_token_id) for k in range(0, len(encoded), size)]


def _encode(tokenizer: PreTrainedTokenizerBase, row: PretrainingRow) -> dict[str, list[int]]:
    prompt, completion = encode_prompt(tokenizer, row.prompt), encode_completion(tokenizer, row.answer)
    length = len(prompt) + len(completion)
    encoded = {field.name: [IGNORE] * length for field in fields(Batch)}
    encoded["ids"] = prompt + completion
    encoded["labels"][len(prompt) :] = completion
    request = row.prompt.removesuffix(f"\n\n{INSTRUCTION}")
    # The request starts at the third token: BOS and the heading of the instruction take one token each.
    words = _words(tokenizer)
    encoded_words = [words[token] for token in encoded["ids"]]
    _fill_prompt(encoded, encoded_words, row, request, _offsets(tokenizer, request, prompt, 2), 2)
    _fill_answer(encoded, encoded_words, row, _offsets(tokenizer, row.answer, completion, 0), len(prompt))
    return encoded


@lru_cache(maxsize=1)
def _words(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Map each token to the first one with the same text, without the space at its end."""
    texts = [str(tokenizer.decode([token])).rstrip() for token in range(len(tokenizer))]
    first: dict[str, int] = {}
    return [first.setdefault(text, token) for token, text in enumerate(texts)]


def _offsets(tokenizer: PreTrainedTokenizerBase, text: str, whole: list[int], before: int) -> Sequence[tuple[int, int]]:
    """Return the start and end in `text` of each of its tokens.

    Raises ValueError unless these tokens are in `whole`, after the first `before` tokens.
    """
    pieces = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    if whole[before : before + len(pieces.input_ids)] != pieces.input_ids:
        raise ValueError(f"the tokenizer gives this text other tokens on its own than inside its row: {text!r}")
    return pieces.offset_mapping


def _fill_prompt(
    encoded: dict[str, list[int]],
    words: Sequence[int],
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
            encoded["shapes"][k], encoded["edges"][k] = mention.shape, IGNORE if row.unmarked else _edge(mention)
            encoded["copied"][k] = _TOKENS * mention.shape + words[k]
            if phrase not in phrases:
                encoded["firsts"][k] = mention.shape
        last = tokens[-1]
        encoded["phrases"][last] = phrases.setdefault(phrase, len(phrases))
        if not SIGN.fullmatch(phrase):  # if it is one, the prompt gives the name elsewhere
            encoded["groups"][last] = mention.shape
        if mention.source is not None:
            encoded["connected"][last] = _connection(mention.source, mention.shape)
        elif mention.target is not None:
            encoded["connected"][last] = _connection(mention.shape, mention.target)

    for mention in row.groups:
        tokens = _tokens_of(mention, offsets, before)
        for k in tokens:
            encoded["starts"][k] = mention.shape
            if mention.group is not None:
                encoded["copied"][k] = _TOKENS * mention.group + words[k]
        if mention.group is not None:
            encoded["groups"][tokens[-1]] = mention.group


def _tokens_of(mention: Mention, offsets: Sequence[tuple[int, int]], before: int) -> list[int]:
    return [k for k, (start, end) in enumerate(offsets, before) if start < mention.end and end > mention.start]


def _fill_answer(
    encoded: dict[str, list[int]],
    words: Sequence[int],
    row: PretrainingRow,
    offsets: Sequence[tuple[int, int]],
    before: int,
) -> None:
    shapes = [int(match[1]) if (match := _NUMBER.match(line)) else None for line in row.answer.split("\n")]
    for k, (_, end) in enumerate(offsets, before):
        shape = shapes[row.answer.count("\n", 0, end)]
        # In a list, a line break has no target: a list can be in any order, so the next shape is not known yet.
        if shape is not None and (row.is_diagram or row.answer[end - 1] != "\n"):
            encoded["lines"][k], encoded["kinds"][k] = shape, row.kinds[shape]
            encoded["grouped"][k] = row.members[shape] if row.members else shape
    if not row.is_diagram:
        return
    for line, match in enumerate(_LABEL.finditer(row.answer)):
        for k, (start, end) in enumerate(offsets, before):
            if start < match.end(1) and end > match.start(1):
                group = row.members[line] if row.members else line
                encoded["copies"][k - 1] = _TOKENS * group + words[k]
    if row.unmarked:
        return
    sources = [shape for shape in shapes if shape is not None]  # every line of a diagram has a number
    for source, match in zip(sources, _TARGETS.finditer(row.answer), strict=True):
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
    """Pad on the right: in a causal model no real token attends to the padding, so no mask is needed."""
    length = -(-max(len(row["ids"]) for row in rows) // LENGTH_MULTIPLE) * LENGTH_MULTIPLE
    fillers = dict.fromkeys(rows[0], IGNORE) | {"ids": pad}
    return Batch(
        **{
            name: torch.tensor([row[name] + [filler] * (length - len(row[name])) for row in rows])
            for name, filler in fillers.items()
        }
    )
