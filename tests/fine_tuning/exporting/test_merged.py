"""A merged folder answers alike in transformers 5 and 4."""

import json
import os
import subprocess
import sys

import pytest
import torch
from families import FAMILIES, VOCABULARY, tiny_tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from fine_tuning.exporting.compatible import config_for_both, tokenizer_config_for_both
from fine_tuning.exporting.merged import save_merged

REQUEST = "Draw \"two\" boxes: 'a' -> 'b'\n\n  [0, 100, 'circle', (0, 0, 0)] 한국어"
LINEAR = {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 100_000.0}}
LLAMA3 = {
    "rope_parameters": {
        "rope_type": "llama3",
        "rope_theta": 500_000.0,
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
}
TRANSFORMERS_4 = os.environ.get("TRANSFORMERS_4", "")  # a folder made by pip install --target
PROGRAM = """
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer, __version__
folder, request, ids = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
text = tokenizer.apply_chat_template([{"role": "user", "content": request}], tokenize=False, add_generation_prompt=True)
print(json.dumps({
    "version": __version__,
    "ids": tokenizer(text, add_special_tokens=False).input_ids,
    "logits": model(torch.tensor([ids])).logits[0, -1].tolist(),
    "special": [tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id],
}))
"""


def make_model(folder, family, **changes):
    """A tiny model with large random weights, so that its logits depend on every detail, and its tokenizer."""
    kind = FAMILIES[family]
    tiny_tokenizer(kind).save_pretrained(folder / "base")
    torch.manual_seed(0)
    small = {
        "vocab_size": VOCABULARY + 64,  # the embedding has more rows than tokens
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 2048,
        "initializer_range": 0.2,
        "pad_token_id": None,
    }
    config = AutoConfig.for_model(kind.model_type, **(small | kind.changes | changes))
    config.save_pretrained(folder / "base")
    return AutoModelForCausalLM.from_config(config).eval(), AutoTokenizer.from_pretrained(folder / "base")


def last_logits(model, ids):
    with torch.inference_mode():
        return model(torch.tensor([ids])).logits[0, -1]


def ids_of(tokenizer):
    messages = [{"role": "user", "content": REQUEST}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return tokenizer(text, add_special_tokens=False).input_ids


@pytest.mark.parametrize(
    ("family", "changes"),
    [("llama", {}), ("llama", LINEAR), ("llama", LLAMA3), ("smollm2", {"tie_word_embeddings": True}), ("qwen2", {}),
     ("mistral", {"sliding_window": 32}), ("gemma3_text", {})],
)  # fmt: skip
def test_transformers_5_reads_the_same_model_and_tokens(tmp_path, family, changes):
    model, tokenizer = make_model(tmp_path, family, **changes)
    ids = ids_of(tokenizer)
    save_merged(model, tokenizer, tmp_path / "merged")
    read = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert ids_of(AutoTokenizer.from_pretrained(tmp_path / "merged")) == ids
    assert read.dtype == model.dtype and torch.equal(last_logits(read, ids), last_logits(model, ids))


@pytest.mark.parametrize(
    ("family", "changes"), [("llama", LINEAR), ("llama", LLAMA3), ("qwen2", {}), ("gemma3_text", {})]
)
def test_transformers_4_reads_the_same_model_and_tokens(tmp_path, family, changes):
    if not TRANSFORMERS_4:
        pytest.skip("TRANSFORMERS_4 does not name a folder with transformers 4")
    model, tokenizer = make_model(tmp_path, family, **changes)
    ids = ids_of(tokenizer)
    save_merged(model, tokenizer, tmp_path / "merged")
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "merged"), REQUEST, json.dumps(ids)]
    run = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": TRANSFORMERS_4})
    assert run.returncode == 0, run.stderr[-2000:]
    found = json.loads(run.stdout.splitlines()[-1])
    assert found["version"].startswith("4.") and found["ids"] == ids
    assert found["special"] == [tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id]
    assert torch.allclose(torch.tensor(found["logits"]), last_logits(model, ids), atol=1e-4)


def test_rotary_settings_stand_where_transformers_4_looks_for_them():
    config = config_for_both({"dtype": "bfloat16"} | LINEAR)
    assert (config["rope_theta"], config["rope_parameters"]) == (100_000.0, LINEAR["rope_parameters"])
    assert config["rope_scaling"] == {"rope_type": "linear", "type": "linear", "factor": 4.0}
    assert config["dtype"] == config["torch_dtype"] == "bfloat16" and config["use_cache"] is True


def test_a_model_without_scaling_gets_theta_alone():
    config = config_for_both({"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}})
    assert (config["rope_theta"], config["rope_scaling"]) == (5e5, None)


def test_two_kinds_of_layers_keep_their_two_thetas():
    kinds = {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    }
    config = config_for_both({"rope_parameters": kinds})
    assert (config["rope_theta"], config["rope_local_base_freq"]) == (1e6, 1e4)
    assert config["rope_scaling"] == {"rope_type": "linear", "type": "linear", "factor": 8.0}


def test_the_tokenizer_has_a_class_that_both_know_and_its_template():
    stored = {"tokenizer_class": "TokenizersBackend", "backend": "tokenizers", "extra_special_tokens": ["<|a|>"]}
    assert tokenizer_config_for_both(stored, "template") == {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "chat_template": "template",
        "additional_special_tokens": ["<|a|>"],
    }


def test_generation_is_greedy_and_ends_with_the_token_that_ends_answers(tmp_path):
    model, tokenizer = make_model(tmp_path, "smollm2")
    model.generation_config = GenerationConfig(do_sample=True, temperature=0.2, repetition_penalty=1.1)
    save_merged(model, tokenizer, tmp_path / "merged")
    stored = json.loads((tmp_path / "merged" / "generation_config.json").read_text())
    assert (stored["do_sample"], stored["eos_token_id"]) == (False, tokenizer.eos_token_id)
    assert stored["pad_token_id"] == tokenizer.pad_token_id and "repetition_penalty" not in stored


def test_padding_outside_of_the_embedding_is_left_out(tmp_path):
    _, tokenizer = make_model(tmp_path, "llama")
    model, _ = make_model(tmp_path, "llama", vocab_size=len(tokenizer))
    tokenizer.add_special_tokens({"pad_token": "<|fill|>"})
    assert tokenizer.pad_token_id == model.config.vocab_size
    save_merged(model, tokenizer, tmp_path / "merged")
    read = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert read.config.pad_token_id is None
    assert read.generation_config.pad_token_id == tokenizer.eos_token_id


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_weights_keep_their_dtype(tmp_path, dtype):
    model, tokenizer = make_model(tmp_path, "llama")
    save_merged(model.to(getattr(torch, dtype)), tokenizer, tmp_path / "merged")
    config = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert config["dtype"] == config["torch_dtype"] == dtype
    assert str(AutoModelForCausalLM.from_pretrained(tmp_path / "merged").dtype) == f"torch.{dtype}"


def test_no_adapter_stands_beside_the_weights(tmp_path):
    save_merged(*make_model(tmp_path, "llama"), tmp_path / "merged")
    assert not list((tmp_path / "merged").glob("adapter*"))
