"""All steps with the real tokenizer and architecture, cut to 2 layers with random weights, as a local model folder."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import ROOT

REAL = ROOT.parent / "shared" / "deepseek-coder-1.3b-instruct"
NARROW = {"hidden_size": 256, "intermediate_size": 688, "num_attention_heads": 4, "num_key_value_heads": 4}
NODE = "[{}, {}, 300, 'rectangle', 90, 50, 'solid arrow', (240, 240, 240), (99, 99, 99), [{}]]"


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


def make_workspace(folder: Path, prompts: int) -> Path:
    """CSVs with a handful of short rows, and none of the optional columns."""
    (folder / "create_dataset").mkdir(parents=True)
    for name, columns in (("sft", "input_data,output_data"), ("orpo", "input_data,output_data,score")):
        lines = [columns]
        for k in range(prompts):
            answer = "\n".join([NODE.format(0, 100 + 10 * k, "1"), NODE.format(1, 300 + 10 * k, "")])
            lines.append(f'"{name}: two boxes, {k}","{answer}"' + (",1.0" if name == "orpo" else ""))
        text = "\n".join(lines)  # no newline at the end, as many editors leave a file
        (folder / "create_dataset" / f"{name}_dataset_llm.csv").write_text(text, encoding="utf-8")
    return folder


def run_all(model: Path, workspace: Path) -> dict:
    script = ROOT / "fine_tuning" / "run_all.py"
    command = [sys.executable, str(script), "--model", str(model), "--workspace", str(workspace)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def check(model: Path, workspace: Path, prompts: int) -> None:
    figures = run_all(model, workspace)
    assert figures["sft_fine_tuning"]["training steps"] == 4 * (prompts - 1)
    assert figures["orpo_create_dataset"]["samples"] == 3 * prompts
    assert figures["orpo_fine_tuning"]["training steps"] > 0
    config = json.loads((workspace / "models" / "orpo" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == model.name
    assert sorted(config["target_modules"]) == ["k_proj", "o_proj", "q_proj", "v_proj"]


def test_all_three_steps_run_with_the_real_tokenizer_and_a_narrow_model(tmp_path):
    check(make_model(tmp_path / "model", **NARROW), make_workspace(tmp_path / "work", 4), 4)


@pytest.mark.slow
def test_all_three_steps_run_with_the_real_architecture_cut_to_two_layers(tmp_path):
    check(make_model(tmp_path / "model"), make_workspace(tmp_path / "work", 2), 2)
