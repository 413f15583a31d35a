"""Loading, adapters and dtypes."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest
import torch
from helpers import ROOT
from peft import get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, GPT2Config, Phi3Config, T5Config

from fine_tuning import common
from fine_tuning.common import (
    add_adapter,
    check_modules,
    for_generation,
    load_adapter,
    load_base_model,
    load_config,
    load_tokenizer,
    save_adapter,
)
from fine_tuning.run.model_folder import folder_problems
from fine_tuning.run.options import Options, make_parser, to_options
from fine_tuning.run.presets import EMBEDDED, REAL
from fine_tuning.run.workspace import Workspace
from fine_tuning.sampling.generation import generate_batch

FOLDER = ROOT / "fine_tuning" / "embedded_model"


def options(model="embedded", dtype="auto"):
    return Options(str(model), None, Workspace(Path("nowhere")), 2025, None, dtype, False, False)


@pytest.mark.parametrize(("text", "told"), [("We encountered some issues", True), ("CUDA out of memory", False)])
def test_bitsandbytes_that_does_not_run_is_told_apart_from_a_full_gpu(monkeypatch, capsys, text, told):
    def fails(*_, **__):
        raise RuntimeError(text)

    monkeypatch.setattr(common.AutoModelForCausalLM, "from_pretrained", fails)
    monkeypatch.setattr(common.transformers, "BitsAndBytesConfig", lambda **_: None)
    with pytest.raises(SystemExit if told else RuntimeError):
        load_base_model(replace(options(), load_in_4bit=True))
    assert ("--load-in-4bit: bitsandbytes is installed but does not run here" in capsys.readouterr().err) is told


def test_a_download_has_a_progress_bar():
    assert not huggingface_hub.utils.are_progress_bars_disabled()


def test_a_tokenizer_whose_padding_is_eos_is_refused(tmp_path, capsys):
    shutil.copytree(FOLDER, tmp_path / "model", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(tmp_path / "model")
    with pytest.raises(SystemExit) as stopped:
        load_tokenizer(options(tmp_path / "model"))
    assert stopped.value.code == 2 and "three different tokens" in capsys.readouterr().err


def test_only_the_adapter_is_trained_and_it_is_float32():
    model = add_adapter(load_base_model(options()), options(), EMBEDDED)
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    assert trained and all("lora_" in name and weight.dtype is torch.float32 for name, weight in trained.items())


def test_the_same_seed_starts_from_the_same_adapter():
    first, second = (add_adapter(load_base_model(options()), options(), EMBEDDED) for _ in range(2))
    for (name, a), (_, b) in zip(first.named_parameters(), second.named_parameters(), strict=True):
        assert torch.equal(a, b), name


def test_merging_the_adapter_for_generation_changes_no_prediction():
    model = add_adapter(load_base_model(options()), options(), REAL).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.05)
        ids = torch.arange(5, 60)[None]
        unmerged = model(ids).logits
        merged = for_generation(model)(ids).logits
    assert torch.allclose(unmerged, merged, atol=1e-3)
    assert not torch.allclose(unmerged, load_base_model(options())(ids).logits, atol=1e-1)


def test_what_a_models_own_generation_settings_forbid_is_answered_all_the_same():
    tokenizer = load_tokenizer(options())
    answers = []
    for penalty in (1.0, 9.0):
        model = load_base_model(options())
        model.generation_config.repetition_penalty = penalty
        answers += generate_batch(for_generation(model), tokenizer, [[5, 6, 7]], 40, temperature=0, seed=1)
    assert answers[0] == answers[1]


@pytest.fixture
def saved(tmp_path):
    """An adapter's folder, as step 1 leaves it."""
    model = add_adapter(load_base_model(options()), options(), EMBEDDED)
    save_adapter(model, load_tokenizer(options()), tmp_path / "sft", options())
    return tmp_path / "sft"


def test_nothing_but_weights_is_taken_from_an_adapters_folder(saved):
    hostile = {"peft_type": "LORA", "r": 3, "init_lora_weights": "corda", "corda_config": {"cache_file": "bomb.pt"}}
    (saved / "adapter_config.json").write_text(json.dumps(hostile))
    loaded = load_adapter(load_base_model(options()), saved, options(), trainable=False)
    assert loaded.peft_config["default"].r == EMBEDDED.lora_rank
    stored = load_file(saved / "adapter_model.safetensors")
    assert all(torch.equal(weight, stored[name]) for name, weight in get_peft_model_state_dict(loaded).items())


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-9]),
        lambda path: path.write_bytes(b"no safetensors"),
        lambda path: save_file({name: weight[:1] for name, weight in load_file(path).items()}, path),
        lambda path: save_file(dict(list(load_file(path).items())[1:]), path),
        lambda path: save_file({f"other.{name}": weight for name, weight in load_file(path).items()}, path),
        lambda path: path.unlink(),
    ],
    ids=["cut", "garbled", "another size", "a layer missing", "another model", "gone"],
)
def test_an_adapter_that_does_not_fit_is_refused_by_name(saved, capsys, damage):
    damage(saved / "adapter_model.safetensors")
    with pytest.raises(SystemExit) as stopped:
        load_adapter(load_base_model(options()), saved, options(), trainable=False)
    message = capsys.readouterr().err
    assert stopped.value.code == 2
    assert message.startswith(f"error: {saved / 'adapter_model.safetensors'}: ")
    assert message.endswith("Do step 1 again, with --restart\n")


def test_of_an_adapter_of_step_3_that_step_is_named(tmp_path, capsys):
    asked = replace(options(), workspace=Workspace(tmp_path))
    with pytest.raises(SystemExit):
        load_adapter(load_base_model(asked), asked.workspace.orpo_model, asked, trainable=False)
    assert capsys.readouterr().err.endswith("Do step 3 again, with --restart\n")


@pytest.mark.parametrize(("given", "taken"), [(None, "0"), ("0,1", "0"), ("3,2", "3"), ("", "")])
def test_one_gpu_is_used_at_most(monkeypatch, given, taken):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    if given is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    to_options(make_parser("").parse_args([]))
    assert os.environ["CUDA_VISIBLE_DEVICES"] == taken


def test_the_card_names_no_local_model_as_one_of_the_hub(tmp_path):
    shutil.copytree(FOLDER, tmp_path / "mine", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    local = options(tmp_path / "mine")
    model = add_adapter(load_base_model(local), local, EMBEDDED)
    save_adapter(model, load_tokenizer(local), tmp_path / "sft", local)
    card = (tmp_path / "sft" / "README.md").read_text("utf-8")
    assert "from_pretrained('the folder of mine', " in card and str(tmp_path) not in card


def test_the_card_says_where_the_program_for_the_embedded_model_runs(tmp_path):
    embedded = options()
    model = add_adapter(load_base_model(embedded), embedded, EMBEDDED)
    save_adapter(model, load_tokenizer(embedded), tmp_path / "sft", embedded)
    card = (tmp_path / "sft" / "README.md").read_text("utf-8")
    assert "runs in the project's folder:\n\n    from peft" in card
    assert "from_pretrained('fine_tuning/embedded_model', " in card


def test_the_name_of_a_model_cannot_break_the_card_of_its_adapter(tmp_path):
    name = tmp_path / "a\n---\n<b>`[x](http://example.org)"
    shutil.copytree(FOLDER, name, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    model = add_adapter(load_base_model(options(name)), options(name), EMBEDDED)
    save_adapter(model, load_tokenizer(options(name)), tmp_path / "sft", options(name))
    lines = (tmp_path / "sft" / "README.md").read_text("utf-8").splitlines()
    assert lines[0] == lines[3] == "---" and lines[2] == f"base_model: {json.dumps(name.name)}"
    assert "<b>" not in "".join(lines[4:9]) and "](" not in "".join(lines[4:9])


def test_code_that_comes_with_a_model_is_not_run_and_nobody_is_asked(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "model"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    (folder / "code.py").write_text(
        f"import os\nos.mkdir({str(tmp_path / 'exploded')!r})\nclass M: ...\nclass C: ...\n"
    )
    config = json.loads((folder / "config.json").read_text())
    auto = {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"}
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "own", "auto_map": auto}))
    monkeypatch.setattr("builtins.input", lambda _: pytest.fail("the user was asked"))
    load_tokenizer(options(folder))
    for load in (load_config, load_base_model):
        with pytest.raises(SystemExit):
            load(options(folder))
        assert capsys.readouterr().err.startswith(f"error: --model {folder}: ")
    assert not (tmp_path / "exploded").exists()


def test_weights_that_are_no_safetensors_are_not_read(tmp_path, capsys):
    folder = tmp_path / "model"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__", "*.safetensors"))
    torch.save(load_file(FOLDER / "model.safetensors"), folder / "pytorch_model.bin")
    with pytest.raises(SystemExit):
        load_base_model(options(folder))
    assert "safetensors" in capsys.readouterr().err


def with_weights(folder: Path, change) -> Path:
    """A model's folder with other weights, which `change` makes of the embedded model's."""
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__", "*.safetensors"))
    weights = load_file(FOLDER / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


LAYER = "model.layers.7.mlp.up_proj.weight"


@pytest.mark.parametrize(
    "change",
    [lambda weights: weights.pop(LAYER), lambda weights: weights.update({LAYER: weights[LAYER][:8].clone()})],
    ids=["missing", "of another size"],
)
def test_weights_that_a_model_lacks_are_told_and_not_made_up(tmp_path, capsys, change):
    folder = with_weights(tmp_path / "model", change)
    assert folder_problems(folder) == []
    with pytest.raises(SystemExit) as stopped:
        load_base_model(options(folder))
    assert stopped.value.code == 2
    told = f"error: --model {folder}: 1 weights that config.json asks for are missing or of another size, such as "
    assert told + LAYER in capsys.readouterr().err


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (GPT2Config(), "no modules q_proj, k_proj, v_proj, o_proj, on which"),
        (Phi3Config(), "no modules q_proj, k_proj, v_proj, on which"),
        (T5Config(), "Unrecognized configuration class"),
    ],
    ids=["other names", "some of them", "no causal LM"],
)
def test_a_model_without_the_modules_of_the_adapter_is_refused(tmp_path, capsys, config, said):
    config.save_pretrained(tmp_path / "model")
    with pytest.raises(SystemExit) as stopped:
        check_modules(options(tmp_path / "model"), REAL)
    assert stopped.value.code == 2 and said in capsys.readouterr().err


@pytest.mark.parametrize("preset", [REAL, EMBEDDED])
def test_the_embedded_model_has_the_modules_of_either_adapter(preset):
    check_modules(options(), preset)
