"""A run that is gone on with under other circumstances: what differs is named, and nothing is mixed."""

import json
import shutil
from dataclasses import fields

import pytest
from helpers import DIAGRAM, STEP_1, STEP_2

from fine_tuning.run.files import sha256
from fine_tuning.run.options import EMBEDDED_FOLDER, make_parser, to_options
from fine_tuning.run.presets import REAL
from fine_tuning.run.run_state import RunState
from fine_tuning.run.step_order import sampling_settings


@pytest.fixture
def begun(workspace):
    """Step 1 stopped after its first checkpoint, by a local model that the user has."""
    model = workspace.parent / "model"
    shutil.copytree(EMBEDDED_FOLDER, model, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    options = to_options(make_parser("").parse_args(["--model", str(model), "--workspace", str(workspace)]))
    state = RunState(workspace / "models" / "sft")
    data = {"data sha256": sha256(workspace / "create_dataset" / "sft_dataset_llm.csv")}
    state.begin(options.settings() | data | REAL.settings(step=1), restart=False)
    (state.checkpoints / "checkpoint-10").mkdir(parents=True)
    return workspace, model


def test_the_same_circumstances_are_gone_on_with(start, begun):
    workspace, model = begun
    assert start(STEP_1, "--model", model, "--workspace", workspace).stderr.endswith(" was imported\n")


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--seed", "7"], "seed was 2025 and is now 7"),
        (["--max-rows", "2"], "max rows was None and is now 2"),
        (["--dtype", "float32"], "dtype was 'auto' and is now 'float32'"),
        (["--model", "embedded"], "model was 'model' and is now 'embedded'"),
    ],
    ids=["seed", "rows", "dtype", "model"],
)
def test_other_flags_than_a_begun_runs_are_named_and_refused(refused, begun, flags, named):
    workspace, model = begun
    (message,) = refused(STEP_1, "--model", model, "--workspace", workspace, *flags)
    assert named in message and "--restart" in message


def test_a_step_is_not_done_again_for_a_setting_of_another(begun, workspace):
    first, third = (set(REAL.settings(step)) for step in (1, 3))
    assert first ^ third == {
        "sft learning rate", "sft epochs", "orpo learning rate", "orpo epochs", "orpo lambda", "orpo nll over prompt",
        "min margin",
    }  # fmt: skip
    (workspace / "models" / "sft" / "adapter_model.safetensors").touch()
    options = to_options(make_parser("").parse_args(["--workspace", str(workspace)]))
    own = {field.name.replace("_", " ") for field in fields(REAL.sampling)}
    assert own == {"samples per prompt", "temperature", "batch size"} <= set(sampling_settings(options, REAL))


def test_other_data_than_a_begun_runs_are_refused(refused, begun):
    workspace, model = begun
    with open(workspace / "create_dataset" / "sft_dataset_llm.csv", "a") as file:
        file.write(f"more,{DIAGRAM}\n")
    (message,) = refused(STEP_1, "--model", model, "--workspace", workspace)
    assert "data sha256 was " in message and "--restart" in message


def test_other_weights_of_the_same_name_are_refused(refused, begun):
    workspace, model = begun
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    (message,) = refused(STEP_1, "--model", model, "--workspace", workspace)
    assert "model files was " in message and "--restart" in message


@pytest.mark.parametrize("name", ["tokenizer.json", "chat_template.jinja"])
def test_another_tokenizer_of_the_same_model_is_refused(refused, begun, name):
    workspace, model = begun
    with open(model / name, "a") as file:
        file.write("\n")
    (message,) = refused(STEP_1, "--model", model, "--workspace", workspace)
    assert "model files was " in message and "--restart" in message


@pytest.mark.parametrize("name", ["lora rank", "lora modules", "sft learning rate", "sft epochs"])
def test_other_training_settings_than_a_begun_runs_are_refused(refused, begun, name):
    workspace, model = begun
    path = workspace / "models" / "sft" / "run.json"
    run = json.loads(path.read_text())
    run["settings"][name] = 0
    path.write_text(json.dumps(run))
    (message,) = refused(STEP_1, "--model", model, "--workspace", workspace)
    assert f"{name} was 0 and is now " in message and "--restart" in message


def test_the_adapter_of_another_model_of_the_same_name_is_refused(refused, begun):
    workspace, model = begun
    state = RunState(workspace / "models" / "sft")
    (state.folder / "adapter_model.safetensors").write_bytes(b"weights")
    state.finish(state.read()["settings"], {})
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    (message,) = refused(STEP_2, "--model", model, "--workspace", workspace)
    assert "another model of the same name" in message and f"python {STEP_1}" in message
