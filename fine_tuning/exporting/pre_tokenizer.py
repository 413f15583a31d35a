"""llama.cpp's name for the way a tokenizer splits text.

llama.cpp knows pre-tokenizers by name only; each name stands for regular expressions in its source, llama-vocab.cpp. So
the name follows from the tokenizer's own `pre_tokenizer`. A tokenizer that splits text in another way is refused: the
model would get other tokens than it was trained on.
"""

import json
from collections.abc import Mapping
from typing import Any

from fine_tuning.run.errors import UserError

BYTES = ("ByteLevel", False, False)
BYTES_AND_WORDS = ("ByteLevel", False, True)  # splits words as GPT-2 does
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# How a tokenizer splits text -> the name that llama.cpp has for it.
PRE_TOKENIZERS: dict[tuple[tuple[Any, ...], ...], str] = {
    (
        ("Split", "[\r\n]"),
        ("Split", r"\s?\p{L}+"),
        ("Split", r"\s?\p{P}+"),
        ("Split", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"),
        ("Digits", True),
        BYTES,
    ): "deepseek-coder",
    (("Split", WORDS % "{1,3}"), BYTES): "llama-bpe",
    (("Split", WORDS % ""), BYTES): "qwen2",
    (("Digits", True), BYTES_AND_WORDS): "smollm",
    (BYTES_AND_WORDS,): "gpt-2",
}
IGNORE_MERGES = ("llama-bpe",)  # looks a whole word up before it merges
NORMALIZES = {"qwen2": ("NFC",)}  # llama.cpp leaves this out; composed letters, as keyboards type them, stay the same


def pre_tokenizer_name(stored: Mapping[str, Any]) -> str:
    """llama.cpp's name for the way a tokenizer.json splits text. Raises UserError if it has none."""
    model = stored.get("model") or {}
    known = f"llama.cpp's byte-level ones are known: {', '.join(PRE_TOKENIZERS.values())}"
    remedy = "Export with --to merged instead"
    odd = [
        name for name in ("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix") if model.get(name)
    ]
    if model.get("type") != "BPE" or model.get("byte_fallback") or odd:
        raise UserError(f"--to gguf: the model's tokenizer is not a byte-level BPE. {known}. {remedy}")
    name = PRE_TOKENIZERS.get(_splits(stored.get("pre_tokenizer")))
    if name is None:
        raise UserError(f"--to gguf: the model's tokenizer splits text in its own way. {known}. {remedy}")
    if bool(model.get("ignore_merges")) != (name in IGNORE_MERGES):
        raise UserError(f"--to gguf: the model's tokenizer splits text like {name}, but merges differently. {remedy}")
    if set(_types(stored.get("normalizer"))) - set(NORMALIZES.get(name, ())):
        raise UserError(f"--to gguf: the model's tokenizer changes text before it splits it. {remedy}")
    for token in stored.get("added_tokens") or ():
        if token.get("lstrip") or token.get("rstrip") or token.get("single_word"):
            raise UserError(
                f"--to gguf: llama.cpp cannot find the token {token['content']!r} as the tokenizer does. {remedy}"
            )
    return name


def _splits(pre_tokenizer: Mapping[str, Any] | None) -> tuple[tuple[Any, ...], ...]:
    """The steps of a pre-tokenizer in a form that can be compared."""
    if pre_tokenizer is None:
        return ()
    kind = pre_tokenizer.get("type")
    if kind == "Sequence":
        return tuple(step for part in pre_tokenizer["pretokenizers"] for step in _splits(part))
    if kind == "Split" and pre_tokenizer.get("behavior") == "Isolated" and not pre_tokenizer.get("invert"):
        return (("Split", pre_tokenizer["pattern"].get("Regex")),)
    if kind == "Digits":
        return (("Digits", pre_tokenizer["individual_digits"]),)
    if kind == "ByteLevel":
        return (("ByteLevel", pre_tokenizer["add_prefix_space"], pre_tokenizer.get("use_regex", True)),)
    return ((kind, json.dumps(pre_tokenizer, sort_keys=True)),)


def _types(normalizer: Mapping[str, Any] | None) -> list[str]:
    """The kinds of a normalizer's steps."""
    if normalizer is None:
        return []
    if normalizer.get("type") == "Sequence":
        return [kind for part in normalizer["normalizers"] for kind in _types(part)]
    return [str(normalizer.get("type"))]
