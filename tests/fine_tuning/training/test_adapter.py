"""Adapters: made from a seed, stored, loaded again, and described by a card."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from helpers import ROOT, problems_of
from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from fine_tuning.data.prompt_frame import PromptFrame, stored_frame
from fine_tuning.run.options import Options
from fine_tuning.run.presets import EMBEDDED
from fine_tuning.run.workspace import Workspace
from fine_tuning.training.adapter import add_adapter, load_adapter, save_adapter
from fine_tuning.training.adapter_card import add_verdict
from fine_tuning.training.base_model import load_base_model, load_tokenizer

FOLDER = ROOT / "fine_tuning" / "embedded_model"
OPTIONS = Options("embedded")
FRAME = PromptFrame("Draw this.\n\n", "\n\nThanks.")


def new_adapter(options: Options = OPTIONS) -> PeftModel:
    return add_adapter(load_base_model(options), EMBEDDED.lora, seed=2025)


def test_only_the_adapter_is_trained_and_it_is_float32():
    trained = {name: weight for name, weight in new_adapter().named_parameters() if weight.requires_grad}
    assert trained and all("lora_" in name and weight.dtype is torch.float32 for name, weight in trained.items())


def test_the_same_seed_gives_the_same_adapter():
    for (name, a), (_, b) in zip(new_adapter().named_parameters(), new_adapter().named_parameters(), strict=True):
        assert torch.equal(a, b), name


@pytest.fixture
def saved(tmp_path):
    """An adapter's folder, as step 1 leaves it."""
    save_adapter(new_adapter(), load_tokenizer(OPTIONS), tmp_path / "sft", OPTIONS, FRAME)
    return tmp_path / "sft"


def test_the_frame_of_the_prompts_is_stored_with_the_adapter(saved):
    assert stored_frame(saved, OPTIONS) == (FRAME, "")


def test_only_weights_are_read_from_an_adapters_folder(saved):
    hostile = {"peft_type": "LORA", "r": 3, "init_lora_weights": "corda", "corda_config": {"cache_file": "bomb.pt"}}
    (saved / "adapter_config.json").write_text(json.dumps(hostile))
    loaded = load_adapter(load_base_model(OPTIONS), saved, EMBEDDED.lora, OPTIONS, trainable=False)
    assert loaded.peft_config["default"].r == EMBEDDED.lora.rank
    stored = load_file(saved / "adapter_model.safetensors")
    assert all(torch.equal(weight, stored[name]) for name, weight in get_peft_model_state_dict(loaded).items())


@pytest.mark.parametrize("trainable", [True, False])
def test_a_loaded_adapter_is_trainable_only_if_asked(saved, trainable):
    loaded = load_adapter(load_base_model(OPTIONS), saved, EMBEDDED.lora, OPTIONS, trainable)
    assert any(weight.requires_grad for weight in loaded.parameters()) is trainable


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
    ids=["cut", "garbled", "another size", "a layer missing", "another model", "missing"],
)
def test_an_adapter_that_does_not_fit_is_refused_with_its_path(saved, damage):
    damage(saved / "adapter_model.safetensors")
    (problem,) = problems_of(load_adapter, load_base_model(OPTIONS), saved, EMBEDDED.lora, OPTIONS, trainable=False)
    assert problem.startswith(f"{saved / 'adapter_model.safetensors'}: ")
    assert problem.endswith(f"Repeat step 1: {OPTIONS.command('sft_fine_tuning')} --restart")


def test_a_bad_adapter_of_step_3_says_to_repeat_step_3(tmp_path):
    options = Options("embedded", workspace=Workspace(tmp_path))
    folder = options.workspace.orpo_model
    (problem,) = problems_of(load_adapter, load_base_model(options), folder, EMBEDDED.lora, options, trainable=False)
    assert problem.endswith(f"Repeat step 3: {options.command('orpo_fine_tuning')} --restart")


def card_of(folder: Path, options: Options) -> str:
    """The card of an adapter for the model of these options."""
    save_adapter(new_adapter(options), load_tokenizer(options), folder / "sft", options, FRAME)
    return (folder / "sft" / "README.md").read_text("utf-8")


def copy_model(folder: Path) -> Options:
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    return Options(str(folder))


def test_the_card_does_not_present_a_local_model_as_a_hub_model(tmp_path):
    card = card_of(tmp_path, copy_model(tmp_path / "mine"))
    assert "from_pretrained('the folder of mine', " in card and str(tmp_path) not in card


def test_the_card_says_in_which_folder_the_embedded_models_program_runs(tmp_path):
    card = card_of(tmp_path, OPTIONS)
    assert "runs in the project's folder:\n\n    from peft" in card
    assert "from_pretrained('fine_tuning/embedded_model', " in card


def test_a_models_name_cannot_break_the_card(tmp_path):
    name = tmp_path / "a\n---\n<b>`[x](http://example.org)"
    lines = card_of(tmp_path, copy_model(name)).splitlines()
    assert lines[0] == lines[3] == "---" and lines[2] == f"base_model: {json.dumps(name.name)}"
    assert "<b>" not in "".join(lines[4:9]) and "](" not in "".join(lines[4:9])


def test_the_card_shows_the_verdict_once_the_run_has_finished(tmp_path):
    card = card_of(tmp_path, OPTIONS)
    assert "training run has not finished" in card
    add_verdict(tmp_path / "sft", ["Validation loss: 0.03", "Answers that ended by themselves: 99 %"])
    finished = (tmp_path / "sft" / "README.md").read_text("utf-8")
    assert "\n\n- Validation loss: 0.03\n- Answers that ended by themselves: 99 %\n\n" in finished
    assert "not finished" not in finished and "\n    from peft import PeftModel\n" in finished
