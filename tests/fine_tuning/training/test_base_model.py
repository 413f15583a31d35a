"""Loading the base model and its tokenizer, and what is refused."""

import json
import shutil
from pathlib import Path

import huggingface_hub
import pytest
import torch
from helpers import ROOT, problems_of
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, GPT2Config, Phi3Config, PreTrainedConfig, T5Config

from fine_tuning.data.tokens import encode_row
from fine_tuning.run.model_folder import folder_problems
from fine_tuning.run.options import Options
from fine_tuning.run.presets import EMBEDDED, REAL
from fine_tuning.training import base_model, device
from fine_tuning.training.base_model import check_modules, load_base_model, load_config, load_tokenizer

FOLDER = ROOT / "fine_tuning" / "embedded_model"


def copy_model(folder: Path, *left_out: str) -> Options:
    """The options of a local copy of the embedded model."""
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__", *left_out))
    return Options(str(folder))


@pytest.mark.parametrize(
    ("text", "is_explained"),
    [("We encountered some issues", True), ("CUDA out of memory", False)],
    ids=["bitsandbytes", "a full GPU"],
)
def test_a_broken_bitsandbytes_is_explained_but_a_full_gpu_is_not_mistaken_for_it(monkeypatch, text, is_explained):
    def fails(*_, **__):
        raise RuntimeError(text)

    monkeypatch.setattr(base_model.AutoModelForCausalLM, "from_pretrained", fails)
    monkeypatch.setattr(base_model.transformers, "BitsAndBytesConfig", lambda **_: None)
    options = Options("embedded", load_in_4bit=True)
    if is_explained:
        (problem,) = problems_of(load_base_model, options)
        assert problem.startswith("--load-in-4bit: bitsandbytes is installed but does not run here")
    else:
        with pytest.raises(RuntimeError, match=text):
            load_base_model(options)


def test_a_download_has_a_progress_bar():
    assert not huggingface_hub.utils.are_progress_bars_disabled()


def test_only_the_embedded_model_may_leave_a_gpu_unused(tmp_path, monkeypatch):
    monkeypatch.setattr(device, "has_cuda_device", lambda: True)
    load_base_model(Options("embedded"))
    (problem,) = problems_of(load_base_model, copy_model(tmp_path / "model"))
    assert "Install a CUDA build of torch" in problem


def test_padding_equal_to_eos_changes_no_token(tmp_path):
    options = copy_model(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(tmp_path / "model")
    changed = load_tokenizer(options)
    assert changed.pad_token_id == changed.eos_token_id
    assert encode_row(changed, "a", "[0]") == encode_row(AutoTokenizer.from_pretrained(FOLDER), "a", "[0]")


def test_code_that_comes_with_a_model_is_not_run_and_the_user_is_not_asked(tmp_path, monkeypatch):
    folder = tmp_path / "model"
    options = copy_model(folder)
    (folder / "code.py").write_text(
        f"import os\nos.mkdir({str(tmp_path / 'exploded')!r})\nclass M: ...\nclass C: ...\n"
    )
    config = json.loads((folder / "config.json").read_text())
    auto = {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"}
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "own", "auto_map": auto}))
    monkeypatch.setattr("builtins.input", lambda _: pytest.fail("the user was asked"))
    load_tokenizer(options)
    for load in (load_config, load_base_model):
        (problem,) = problems_of(load, options)
        assert problem.startswith(f"--model {folder}: ")
    assert not (tmp_path / "exploded").exists()


def test_weights_that_are_not_safetensors_are_not_read(tmp_path):
    options = copy_model(tmp_path / "model", "*.safetensors")
    torch.save(load_file(FOLDER / "model.safetensors"), tmp_path / "model" / "pytorch_model.bin")
    (problem,) = problems_of(load_base_model, options)
    assert "safetensors" in problem


LAYER = "model.layers.7.mlp.up_proj.weight"


@pytest.mark.parametrize(
    "change",
    [lambda weights: weights.pop(LAYER), lambda weights: weights.update({LAYER: weights[LAYER][:8].clone()})],
    ids=["missing", "of another size"],
)
def test_missing_weights_are_reported_and_not_initialised_at_random(tmp_path, change):
    folder = tmp_path / "model"
    options = copy_model(folder, "*.safetensors")
    weights = load_file(FOLDER / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert folder_problems(folder) == []
    said = f"--model {folder}: 1 weights that config.json asks for are missing or have another size, such as {LAYER}"
    assert problems_of(load_base_model, options) == (said,)


def test_weights_that_are_not_numbers_are_refused_before_training(tmp_path):
    folder = tmp_path / "model"
    options = copy_model(folder, "*.safetensors")
    weights = load_file(FOLDER / "model.safetensors")
    weights[LAYER][0] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (problem,) = problems_of(load_base_model, options)
    assert problem.startswith(f"--model {folder}: the weights are damaged: {LAYER} holds numbers that are not finite")


def test_stored_weights_that_the_model_does_not_use_are_noted_once(tmp_path, capsys):
    folder = tmp_path / "model"
    options = copy_model(folder, "*.safetensors")
    weights = load_file(FOLDER / "model.safetensors")
    save_file(weights | {"model.layers.99.mlp.up_proj.weight": torch.zeros(2, 2)}, folder / "model.safetensors")
    load_base_model(options)
    load_base_model(options)
    (note,) = capsys.readouterr().err.splitlines()
    assert note.startswith("note: ") and note.endswith("not used, such as model.layers.99.mlp.up_proj.weight")


def test_a_tokenizer_that_changes_letters_is_refused(tmp_path):
    options = copy_model(tmp_path / "model")
    path = tmp_path / "model" / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"normalizer": {"type": "Lowercase"}}))
    (problem,) = problems_of(load_tokenizer, options)
    assert "the tokenizer changes texts" in problem


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (GPT2Config(), "no modules q_proj, k_proj, v_proj, o_proj, which the adapter needs"),
        (Phi3Config(), "no modules q_proj, k_proj, v_proj, which the adapter needs"),
        (T5Config(), "Unrecognized configuration class"),
    ],
    ids=["other names", "some of them", "no causal LM"],
)
def test_a_model_without_the_adapters_modules_is_refused(tmp_path, config: PreTrainedConfig, said):
    config.save_pretrained(tmp_path / "model")
    (problem,) = problems_of(check_modules, Options(str(tmp_path / "model")), REAL.lora.modules)
    assert problem.startswith(f"--model {tmp_path / 'model'}: ") and said in problem


@pytest.mark.parametrize("module", ["lm_head", "embed_tokens", "mlp", "self_attn", "model", "layers"])
def test_only_linear_layers_of_the_models_blocks_can_have_an_adapter(module):
    (problem,) = problems_of(check_modules, Options("embedded"), ("q_proj", module))
    assert f"no modules {module}, which the adapter needs" in problem and "q_proj, k_proj, v_proj, o_proj" in problem
    assert "--set lora.modules=" in problem


@pytest.mark.parametrize("preset", [REAL, EMBEDDED], ids=["real", "embedded"])
def test_the_embedded_model_has_the_modules_of_both_presets(preset):
    check_modules(Options("embedded"), preset.lora.modules)
