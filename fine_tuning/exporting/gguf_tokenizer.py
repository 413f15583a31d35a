"""The tokenizer's part of a GGUF file: tokens, their types, merges, and the name of the pre-tokenizer."""

import json
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from fine_tuning.exporting.ending import stop_ids
from fine_tuning.exporting.pre_tokenizer import pre_tokenizer_name

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5  # llama.cpp's token types


@dataclass(frozen=True, slots=True)
class GgufVocabulary:
    """What a GGUF file says about a tokenizer. `tokens` has one entry for each row of the embedding."""

    pre: str
    tokens: list[str]
    types: list[int]
    merges: list[str]
    chat_template: str
    bos: int | None
    stop: tuple[int, ...]
    pad: int | None
    unk: int | None


def vocabulary(tokenizer: PreTrainedTokenizerBase, rows: int, pre: str | None = None) -> GgufVocabulary:
    """The vocabulary of a fast tokenizer for an embedding of `rows` rows. Rows without a token become unused tokens.

    Raises UserError if llama.cpp cannot tokenise like the tokenizer. `pre` names a pre-tokenizer without this check.
    """
    stored = json.loads(tokenizer.backend_tokenizer.to_str())
    name = pre_tokenizer_name(stored) if pre is None else pre
    tokens, types = [f"[PAD{number}]" for number in range(rows)], [UNUSED] * rows
    for token, number in stored["model"]["vocab"].items():
        tokens[number], types[number] = token, NORMAL
    stop = stop_ids(tokenizer)
    control = {*tokenizer.all_special_ids, *stop}
    for number, added in tokenizer.added_tokens_decoder.items():
        if number < rows:
            is_control = added.special or number in control
            tokens[number], types[number] = added.content, CONTROL if is_control else USER_DEFINED
    pairs = stored["model"]["merges"]
    optional = (tokenizer.pad_token_id, tokenizer.unk_token_id)  # they may lie outside of the embedding
    return GgufVocabulary(
        name,
        tokens,
        types,
        [pair if isinstance(pair, str) else " ".join(pair) for pair in pairs],
        tokenizer.get_chat_template(),
        tokenizer.bos_token_id,
        stop,
        *(token if token is not None and token < rows else None for token in optional),
    )
