"""All steps with the real tokenizer and architecture, cut to 2 layers with random weights, as a local model folder."""

import json
from pathlib import Path
from typing import Any

import pytest
from forked import Forked
from helpers import ROOT, small_workspace

REAL = ROOT.parent / "shared" / "deepseek-coder-1.3b-instruct"
NARROW = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 2, "num_key_value_heads": 2}


def make_model(folder: Path, **changes: Any) -> Path:
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    if not REAL.is_dir():
        pytest.skip(f"the real tokenizer and configuration are not at {REAL}")
    torch.manual_seed(0)
    config = LlamaConfig.from_pretrained(REAL, num_hidden_layers=2, **changes)
    LlamaForCausalLM(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(REAL).save_pretrained(folder)
    return folder


def check(forked: Forked, model: Path, workspace: Path, prompts: int) -> None:
    sft, sampling, orpo = (json.loads(run.stdout.splitlines()[-1]) for run in forked.steps(model, workspace))
    assert sft["training steps"] == 4 * (prompts - 1)
    assert sampling["samples"] == 3 * prompts
    assert orpo["training steps"] > 0
    config = json.loads((workspace / "models" / "orpo" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == model.name
    assert sorted(config["target_modules"]) == ["k_proj", "o_proj", "q_proj", "v_proj"]


def test_all_three_steps_run_with_the_real_tokenizer_and_a_narrow_model(forked, tmp_path):
    check(forked, make_model(tmp_path / "model", **NARROW), small_workspace(tmp_path / "work", 4), 4)


@pytest.mark.slow
def test_all_three_steps_run_with_the_real_architecture_cut_to_two_layers(forked, tmp_path):
    check(forked, make_model(tmp_path / "model"), small_workspace(tmp_path / "work", 2), 2)
