"""Tiny models with random weights, one for each family of real models, as local model folders.

`tiny_model(folder, family)` writes config.json, weights, tokenizer and chat template. Configuration, special tokens and
template have the form of the family's instruct models. The vocabulary is the embedded model's (byte-level families) or
characters with a byte fallback (SentencePiece families: Llama 2, Mistral, Gemma), so the folders are small.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from helpers import ROOT
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

EMBEDDED = ROOT / "fine_tuning" / "embedded_model"
VOCABULARY = json.loads((EMBEDDED / "config.json").read_text(encoding="utf-8"))["vocab_size"]

CHATML = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}"
    "{% endif %}"
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# Qwen3 writes an empty block of thoughts before the last answer, but not into the generation prompt.
CHATML_THINK = (
    "{% for message in messages %}{% if message.role == 'assistant' %}"
    "{% set content = message.content.split('</think>')[-1].lstrip('\\n') %}"
    "{{ '<|im_start|>assistant\\n' }}{% if loop.last %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}"
    "{{ content + '<|im_end|>\\n' }}"
    "{% else %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}"
    "{% endif %}"
)
LLAMA3 = (
    "{{- bos_token }}"
    "{%- if not date_string is defined %}{%- if strftime_now is defined %}"
    "{%- set date_string = strftime_now('%d %b %Y') %}"
    "{%- else %}{%- set date_string = '26 Jul 2024' %}{%- endif %}{%- endif %}"
    "{{- '<|start_header_id|>system<|end_header_id|>\\n\\n' }}"
    "{{- 'Cutting Knowledge Date: December 2023\\nToday Date: ' + date_string + '\\n\\n<|eot_id|>' }}"
    "{%- for message in messages %}"
    "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim "
    "+ '<|eot_id|>' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}"
)
TINYLLAMA = (
    "{% for message in messages %}\n"
    "{% if message['role'] == 'user' %}\n{{ '<|user|>\\n' + message['content'] + eos_token }}\n"
    "{% elif message['role'] == 'system' %}\n{{ '<|system|>\\n' + message['content'] + eos_token }}\n"
    "{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\\n'  + message['content'] + eos_token }}\n"
    "{% endif %}\n"
    "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n"
    "{% endfor %}"
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] + eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}"
    "{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}"
    "{% endif %}{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}"
)
GRANITE = (
    "{% for message in messages %}"
    "{{ '<|start_of_role|>' + message['role'] + '<|end_of_role|>' + message['content'] + '<|end_of_text|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_of_role|>assistant<|end_of_role|>' }}{% endif %}"
)
COHERE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}"
    "{{ '<|START_OF_TURN_TOKEN|><|USER_TOKEN|>' + message['content'].strip() + '<|END_OF_TURN_TOKEN|>' }}"
    "{% elif message['role'] == 'assistant' %}"
    "{{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' + message['content'].strip() + '<|END_OF_TURN_TOKEN|>' }}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' }}{% endif %}"
)
PHI3 = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"
)
OLMO2 = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ '<|assistant|>\\n' + message['content'] + eos_token }}"
    "{% if not loop.last %}{{ '\\n' }}{% endif %}"
    "{% else %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + '\\n' }}{% endif %}"
    "{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}{% endfor %}"
)


@dataclass(frozen=True)
class Family:
    """How a family's instruct models look.

    model_type   transformers' name of the architecture
    template     the chat template
    bos, eos, pad, unk  the named special tokens; None where the family has none
    others       further special tokens that only the template uses; the named ones come first in the vocabulary
    sentencepiece  None: byte-level BPE; "prefix": a space before every text (Llama 2, Mistral); "plain": none (Gemma)
    changes      configuration that differs from a small Llama's
    """

    model_type: str
    template: str
    bos: str | None
    eos: str | None
    pad: str | None
    unk: str | None = None
    others: tuple[str, ...] = ()
    sentencepiece: str | None = None
    changes: dict[str, Any] = field(default_factory=dict)


_IM = ("<|im_start|>", "<|im_end|>")
_LLAMA3_OTHERS = ("<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>")
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
_TURNS = ("<start_of_turn>", "<end_of_turn>")
FAMILIES = {
    # Llama 3.2: no padding, a date in the prompt, answers end with <|eot_id|>.
    "llama": Family("llama", LLAMA3, "<|begin_of_text|>", "<|eot_id|>", None, others=_LLAMA3_OTHERS),
    # A Llama 3 whose eos_token is that of the base model.
    "llama3_base_eos": Family("llama", LLAMA3, "<|begin_of_text|>", "<|end_of_text|>", None, others=_LLAMA3_OTHERS),
    "tinyllama": Family("llama", TINYLLAMA, "<s>", "</s>", "</s>", unk="<unk>", sentencepiece="prefix"),
    # SmolLM2: a BOS before every message, padding equal to EOS, a system prompt of its own.
    "smollm2": Family("llama", CHATML, "<|im_start|>", "<|im_end|>", "<|im_end|>", unk="<|endoftext|>"),
    "qwen2": Family("qwen2", CHATML, None, "<|im_end|>", "<|endoftext|>", others=_IM),
    "qwen3": Family("qwen3", CHATML_THINK, None, "<|im_end|>", "<|endoftext|>", others=_IM),
    "mistral": Family("mistral", MISTRAL, "<s>", "</s>", None, unk="<unk>", sentencepiece="prefix"),
    "gemma": Family("gemma", GEMMA, "<bos>", "<eos>", "<pad>", "<unk>", _TURNS, "plain"),
    "gemma2": Family(
        "gemma2", GEMMA, "<bos>", "<eos>", "<pad>", "<unk>", _TURNS, "plain", {"query_pre_attn_scalar": 16}
    ),
    "gemma3_text": Family(
        "gemma3_text",
        GEMMA,
        "<bos>",
        "<eos>",
        "<pad>",
        "<unk>",
        _TURNS,
        "plain",
        {"query_pre_attn_scalar": 16, "sliding_window": 64, "layer_types": ["sliding_attention", "full_attention"]},
    ),
    "granite": Family(
        "granite",
        GRANITE,
        "<|end_of_text|>",
        "<|end_of_text|>",
        "<|end_of_text|>",
        others=("<|start_of_role|>", "<|end_of_role|>"),
        changes={
            "logits_scaling": 8.0,
            "attention_multiplier": 0.1,
            "embedding_multiplier": 12.0,
            "residual_multiplier": 0.22,
        },
    ),
    "cohere": Family(
        "cohere",
        COHERE,
        "<BOS_TOKEN>",
        "<|END_OF_TURN_TOKEN|>",
        "<PAD>",
        others=("<|START_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>"),
        changes={"logit_scale": 0.0625},
    ),
    "phi3": Family(
        "phi3", PHI3, "<s>", "<|endoftext|>", "<|endoftext|>", "<unk>", ("<|user|>", "<|assistant|>", "<|end|>")
    ),
    # Mixtures of experts.
    "qwen3_moe": Family("qwen3_moe", CHATML_THINK, None, "<|im_end|>", "<|endoftext|>", others=_IM, changes=_EXPERTS),
    "mixtral": Family(
        "mixtral", MISTRAL, "<s>", "</s>", None, unk="<unk>", sentencepiece="prefix", changes={"num_local_experts": 4}
    ),
    # Norms after attention and MLP, and over whole queries and keys.
    "olmo2": Family("olmo2", OLMO2, "<|endoftext|>", "<|endoftext|>", "<|pad|>", others=("<|user|>", "<|assistant|>")),
    # Its attention takes no arguments from outside, so not the lengths of a pair.
    "stablelm": Family("stablelm", CHATML, "<|endoftext|>", "<|im_end|>", "<|endoftext|>", others=_IM),
}


def tiny_model(folder: Path, family: str, template: str | None = None, positions: int = 2048, **changes: Any) -> Path:
    """Write a tiny random model of a family. `template` replaces the family's; `changes` go into the configuration."""
    kind = FAMILIES[family]
    tokenizer = tiny_tokenizer(kind)
    if template is not None:
        tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    small = {
        "vocab_size": (len(tokenizer) // 64 + 1) * 64,  # as in real models, the embedding has more rows than tokens
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": positions,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind.model_type, **(small | kind.changes | changes))
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def tiny_tokenizer(kind: Family) -> PreTrainedTokenizerFast:
    """The tokenizer of a family, with its special tokens and its chat template."""
    tokenizer = _characters(kind.sentencepiece) if kind.sentencepiece else _byte_level()
    named = {"bos_token": kind.bos, "eos_token": kind.eos, "pad_token": kind.pad, "unk_token": kind.unk}
    special = dict.fromkeys(name for name in (*named.values(), *kind.others) if name is not None)
    tokenizer.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in special])
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        chat_template=kind.template,
        clean_up_tokenization_spaces=False,
        **{name: token for name, token in named.items() if token is not None},
    )
    return made


def _byte_level() -> Tokenizer:
    """The embedded model's vocabulary without its special tokens and without its whole sentences."""
    stored = json.loads((EMBEDDED / "tokenizer.json").read_text(encoding="utf-8"))
    stored["added_tokens"], stored["post_processor"] = [], None
    vocabulary = [token for token in stored["model"]["vocab"] if not token.startswith("<|")]
    stored["model"]["vocab"] = {token: number for number, token in enumerate(vocabulary)}
    return Tokenizer.from_str(json.dumps(stored))


def _characters(kind: str) -> Tokenizer:
    """Characters and bytes in SentencePiece's form: spaces are written as a lower block, other bytes as <0x..>."""
    characters = ["▁", *map(chr, range(33, 127))]
    pieces = [*characters, *(f"<0x{byte:02X}>" for byte in range(256)), "▁[", "▁'", "▁▁"]
    tokenizer = Tokenizer(
        models.BPE(
            {piece: number for number, piece in enumerate(pieces)},
            [("▁", "["), ("▁", "'"), ("▁", "▁")],
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    replace = normalizers.Replace(" ", "▁")
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), replace]) if kind == "prefix" else replace
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if kind == "prefix" else steps)
    return tokenizer
