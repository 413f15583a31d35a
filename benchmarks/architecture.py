"""The architecture of deepseek-coder-1.3b-instruct, written out here so that benchmarks need no download."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

# Tokens of the 900 committed rows, with the tokenizer of deepseek-coder.
MEAN_PROMPT, MEAN_ANSWER = 254, 587
# Together 1,536, the most tokens that steps 1 and 3 train on.
LONGEST_PROMPT, LONGEST_ANSWER = 256, 1280

REAL_ARCHITECTURE: dict[str, Any] = {
    "hidden_size": 2048,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "intermediate_size": 5504,
    "vocab_size": 32256,
    "max_position_embeddings": 16384,
    "tie_word_embeddings": False,
    "rope_parameters": {"rope_type": "linear", "rope_theta": 100000.0, "factor": 4.0},
}


@contextmanager
def random_weights(layers: int, changes: Mapping[str, Any] | None = None) -> Iterator[str]:
    """Save a model with random bfloat16 weights and `layers` layers; yield its folder, which is deleted at the end.

    `changes` are further values of its configuration.
    """
    torch.manual_seed(0)
    config = LlamaConfig(**REAL_ARCHITECTURE | {"num_hidden_layers": layers} | dict(changes or {}))
    with tempfile.TemporaryDirectory() as folder:
        with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
            LlamaForCausalLM._from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
        yield folder
