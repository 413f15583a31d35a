"""The texts of a tokenizer's tokens, in a tree of characters."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from transformers import PreTrainedTokenizerBase

from fine_tuning.data.chat_format import chat_format, token_ids

_CONTEXT = "0"  # some tokenizers drop the first space of a text, so tokens are decoded behind this one


@dataclass(slots=True)
class Branch:
    """The tokens that begin with some text: those that are this text, and the others by their next character."""

    tokens: list[int] = field(default_factory=list)
    longer: dict[str, "Branch"] = field(default_factory=dict)


class Vocabulary:
    """Tokens by their texts. `texts` are those that are taken."""

    def __init__(self, texts: Mapping[int, str]) -> None:
        self.texts = dict(texts)
        self.root = Branch()
        for token, text in self.texts.items():
            branch = self.root
            for character in text:
                branch = branch.longer.setdefault(character, Branch())
            branch.tokens.append(token)
        self.count = lru_cache(maxsize=2**16)(self._count)

    def _count(self, text: str) -> float:
        """The fewest tokens that spell a text, or infinity."""
        fewest = [float("inf")] * len(text) + [0.0]
        for start in reversed(range(len(text))):
            branch = self.root
            for end, character in enumerate(text[start:], start + 1):
                if character not in branch.longer:
                    break
                branch = branch.longer[character]
                if branch.tokens:
                    fewest[start] = min(fewest[start], 1 + fewest[end])
        return fewest[0]


def token_texts(tokenizer: PreTrainedTokenizerBase, special: frozenset[int] = frozenset()) -> dict[int, str]:
    """The text of every token in the middle of a text. Of special tokens, only those in `special` are taken.

    Where a token holds a part of a character, each byte of the part is a character from U+DC80 to U+DCFF, as Python's
    error handler "surrogateescape" has it.
    """
    reserved = chat_format(tokenizer).reserved
    before = token_ids(tokenizer, _CONTEXT)
    size = len(_decode(tokenizer, before))
    texts = {}
    for token in range(len(tokenizer)):
        if token not in reserved:
            texts[token] = _decode(tokenizer, [*before, token])[size:]
            if "\ufffd" in texts[token]:
                texts[token] = _with_parts(str(tokenizer.convert_ids_to_tokens(token))) or texts[token]
        elif token in special:
            texts[token] = str(tokenizer.convert_ids_to_tokens(token))
    return {token: text for token, text in texts.items() if text}


def _with_parts(piece: str) -> str | None:
    """The text of a token that holds parts of characters; None if the spelling of its bytes is not known."""
    if byte := re.fullmatch(r"<0x([0-9A-F]{2})>", piece):  # SentencePiece
        return bytes.fromhex(byte[1]).decode(errors="surrogateescape")
    if all(character in _BYTES for character in piece):
        return bytes(map(_BYTES.__getitem__, piece)).decode(errors="surrogateescape")
    return None


def _byte_level() -> dict[str, int]:
    """The bytes by the characters that byte-level BPE writes for them (GPT-2): itself if it is visible in Latin-1,
    and else the next one from U+0100 on."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(0x100 + k): byte for k, byte in enumerate(others)}


_BYTES = _byte_level()


def _decode(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
