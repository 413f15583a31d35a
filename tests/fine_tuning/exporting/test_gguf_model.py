"""Which models can be written as GGUF, and under which names."""

import pytest
from helpers import problems_of

from fine_tuning.exporting.gguf_model import check_family, gguf_model, tensor_name
from fine_tuning.exporting.pre_tokenizer import pre_tokenizer_name

CONFIG = {
    "model_type": "llama",
    "num_attention_heads": 4,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "intermediate_size": 128,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
}
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
STORED = {"model": {"type": "BPE"}, "pre_tokenizer": BYTE_LEVEL}


@pytest.mark.parametrize("family", ["gemma", "granite", "cohere", "phi3", "mixtral", None])
def test_another_family_is_refused_with_the_known_ones(family):
    (problem,) = problems_of(check_family, CONFIG | {"model_type": family})
    assert f"the family {family} " in problem and "llama, mistral, qwen2, qwen3" in problem


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "type yarn"),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "type dynamic"),
        ({"hidden_act": "gelu"}, "the activation gelu"),
        ({"model_type": "qwen2", "use_sliding_window": True}, "sliding-window attention"),
        ({"model_type": "qwen3", "attention_bias": True}, "attention biases"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "a part of each head"),
    ],
)
def test_a_model_that_llama_cpp_would_compute_otherwise_is_refused(changes, what):
    (problem,) = problems_of(check_family, CONFIG | changes)
    assert what in problem


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e5}},
        {"rope_theta": 1e5, "rope_scaling": {"type": "linear", "factor": 4.0}},
    ],
)
def test_rotary_settings_are_read_from_configurations_of_both_versions(rope):
    read = gguf_model(CONFIG | rope, 100).rope
    assert (read["rope_type"], read["factor"], read["rope_theta"]) == ("linear", 4.0, 1e5)


def test_the_context_of_a_mistral_model_ends_with_its_first_window():
    window = {"model_type": "mistral", "sliding_window": 512}
    assert gguf_model(CONFIG | window, 100).context == 512
    assert gguf_model(CONFIG | window | {"sliding_window": None}, 100).context == 2048


def test_a_weight_without_a_name_is_refused():
    assert tensor_name("model.layers.11.self_attn.o_proj.weight") == "blk.11.attn_output.weight"
    (problem,) = problems_of(tensor_name, "model.layers.0.mlp.experts.gate.weight")
    assert "mlp.experts.gate" in problem


def test_plain_byte_level_is_known():
    assert pre_tokenizer_name(STORED) == "gpt-2"


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"model": {"type": "Unigram"}}, "not a byte-level BPE"),
        ({"model": {"type": "BPE", "byte_fallback": True}}, "not a byte-level BPE"),
        ({"model": {"type": "BPE", "ignore_merges": True}}, "merges differently"),
        ({"pre_tokenizer": None}, "in its own way"),
        ({"pre_tokenizer": BYTE_LEVEL | {"add_prefix_space": True}}, "in its own way"),
        ({"pre_tokenizer": {"type": "Metaspace"}}, "in its own way"),
        ({"normalizer": {"type": "Sequence", "normalizers": [{"type": "Lowercase"}]}}, "changes text"),
        ({"added_tokens": [{"content": "<|end|>", "rstrip": True}]}, "<|end|>"),
    ],
)
def test_a_tokenizer_that_llama_cpp_would_not_match_is_refused(changes, what):
    (problem,) = problems_of(pre_tokenizer_name, STORED | changes)
    assert what in problem
