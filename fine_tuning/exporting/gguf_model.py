"""The model's part of a GGUF file: which families can be written, their settings, and the names of their tensors.

Names and settings are those of llama.cpp's convert_hf_to_gguf.py and of its models llama, qwen2 and qwen3.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fine_tuning.run.errors import UserError

ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}  # by transformers' name
ROPE_TYPES = ("default", "linear", "llama3")
TENSORS = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


@dataclass(frozen=True, slots=True)
class GgufModel:
    """What a GGUF file says about a model; heads are numbers of attention heads, sizes are in numbers."""

    architecture: str
    vocabulary: int
    context: int
    width: int
    layers: int
    feed_forward: int
    heads: int
    kv_heads: int
    head_size: int
    epsilon: float
    rope: Mapping[str, Any]

    @property
    def is_permuted(self) -> bool:
        """True if llama.cpp rotates neighbouring pairs of q and k; transformers rotates the two halves of a head."""
        return self.architecture == "llama"


def check_family(config: Mapping[str, Any]) -> None:
    """Raise UserError if a model with this config.json cannot be written as GGUF."""
    family = config.get("model_type")
    if family not in ARCHITECTURES:
        raise UserError(
            f"--to gguf: models of the family {family} cannot be written (only {', '.join(ARCHITECTURES)}). Export "
            "with --to merged, and convert that folder with llama.cpp's convert_hf_to_gguf.py"
        )
    kinds = set(config.get("layer_types") or ())
    misfits = {
        f"rotary embeddings of the type {_rope(config)['rope_type']}": _rope(config)["rope_type"] not in ROPE_TYPES,
        f"the activation {config.get('hidden_act')}": config.get("hidden_act", "silu") != "silu",
        "sliding-window attention": bool(config.get("use_sliding_window")) or len(kinds) > 1,
        "rotary embeddings of a part of each head": _rope(config).get("partial_rotary_factor", 1.0) != 1.0,
        "attention biases": family == "qwen3" and bool(config.get("attention_bias")),
    }
    if found := [name for name, is_misfit in misfits.items() if is_misfit]:
        raise UserError(f"--to gguf: a {family} model with {' and '.join(found)} cannot be written. Use --to merged")


def gguf_model(config: Mapping[str, Any], rows: int) -> GgufModel:
    """The settings for a GGUF file, from a configuration as a dict and the number of rows of the embedding.

    Raises UserError as `check_family` does.
    """
    check_family(config)
    heads = config["num_attention_heads"]
    # llama.cpp does not slide the window of Mistral's models. Inside the first window there is no difference.
    window = config.get("sliding_window") if config["model_type"] == "mistral" else None
    return GgufModel(
        ARCHITECTURES[config["model_type"]],
        rows,
        min(config["max_position_embeddings"], window or config["max_position_embeddings"]),
        config["hidden_size"],
        config["num_hidden_layers"],
        config["intermediate_size"],
        heads,
        config.get("num_key_value_heads") or heads,
        config.get("head_dim") or config["hidden_size"] // heads,
        config["rms_norm_eps"],
        _rope(config),
    )


def tensor_name(name: str) -> str:
    """llama.cpp's name for a weight of transformers. Raises UserError for an unknown one."""
    module, _, part = name.rpartition(".")
    in_layer = re.fullmatch(r"model\.layers\.(\d+)\.(.+)", module)
    renamed = TENSORS.get(in_layer[2] if in_layer else module)
    if renamed is None or part not in ("weight", "bias"):
        raise UserError(f"--to gguf: the model has weights that GGUF has no name for, such as {name}. Use --to merged")
    return f"blk.{in_layer[1]}.{renamed}.{part}" if in_layer else f"{renamed}.{part}"


def rotary_factors(model: GgufModel) -> list[float]:
    """What llama.cpp divides each rotary frequency by, for the scaling of Llama 3; one for each pair of a head.

    Source: `_compute_llama3_parameters` in transformers. Between the two wavelengths, factor and 1 are blended.
    """
    rope = model.rope
    factor, low, high = (rope[name] for name in ("factor", "low_freq_factor", "high_freq_factor"))
    context = rope["original_max_position_embeddings"]
    factors = []
    for k in range(0, model.head_size, 2):
        turns = context / (2 * math.pi * rope["rope_theta"] ** (k / model.head_size))  # in the original context
        share = min(1.0, max(0.0, (turns - low) / (high - low)))
        factors.append(1 / ((1 - share) / factor + share))
    return factors


def _rope(config: Mapping[str, Any]) -> dict[str, Any]:
    """Rotary settings from a configuration of transformers 5 or 4."""
    rope = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    rope.setdefault("rope_type", rope.get("type", "default"))
    rope.setdefault("rope_theta", config.get("rope_theta", 10000.0))
    return rope
