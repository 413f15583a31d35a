"""Complete the JSON files that transformers 5 writes, so that transformers 4 reads the same model from them.

transformers 5 stores rotary embeddings as `rope_parameters` only. transformers 4 does not know that key: it silently
takes theta 10,000 without scaling, and answers differ. It does not know the tokenizer class of transformers 5 either.
"""

from collections.abc import Mapping
from typing import Any

NOT_SCALING = ("rope_theta", "partial_rotary_factor")
LAYER_KINDS = ("full_attention", "sliding_attention")


def config_for_both(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config.json of transformers 5, with the keys of transformers 4 added."""
    both = dict(config) | {"use_cache": True}
    if dtype := both.get("dtype") or both.get("torch_dtype"):
        both["dtype"] = both["torch_dtype"] = dtype
    rope = both.get("rope_parameters")
    if isinstance(rope, dict):
        if all(isinstance(rope.get(kind), dict) for kind in LAYER_KINDS):  # Gemma 3: one for each kind of layer
            both["rope_local_base_freq"] = rope["sliding_attention"].get("rope_theta")
            rope = rope["full_attention"]
        both |= {name: rope[name] for name in NOT_SCALING if name in rope}
        scaling = {name: value for name, value in rope.items() if name not in NOT_SCALING}
        if scaling.get("rope_type", "default") == "default":
            both["rope_scaling"] = None
        else:
            both["rope_scaling"] = scaling | {"type": scaling["rope_type"]}  # its name before transformers 4.45
    return both


def tokenizer_config_for_both(config: Mapping[str, Any], chat_template: str) -> dict[str, Any]:
    """A tokenizer_config.json of transformers 5 that transformers 4 reads too, with the chat template in it."""
    both = dict(config) | {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": chat_template}
    for how_it_was_loaded in ("backend", "is_local", "local_files_only"):
        both.pop(how_it_was_loaded, None)
    extra = both.pop("extra_special_tokens", None)
    if isinstance(extra, list):
        both["additional_special_tokens"] = extra  # its name in transformers 4
    elif extra:
        both["extra_special_tokens"] = extra
    return both
