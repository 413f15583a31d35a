"""A run is continued only with the same flags, data, model and settings. Otherwise each difference is named."""

import json
import shutil
from dataclasses import fields

import pytest
from helpers import DIAGRAM, STEP_1, STEP_2

from fine_tuning.run.command_line import make_parser, to_options
from fine_tuning.run.files import sha256
from fine_tuning.run.options import EMBEDDED_FOLDER
from fine_tuning.run.presets import REAL
from fine_tuning.run.run_state import RunState
from fine_tuning.run.step_order import sampling_settings


@pytest.fixture
def started_run(workspace):
    """Step 1 with a local model, stopped after its first checkpoint."""
    model = workspace.parent / "model"
    shutil.copytree(EMBEDDED_FOLDER, model, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    options = to_options(make_parser("").parse_args(["--model", str(model), "--workspace", str(workspace)]))
    state = RunState(workspace / "models" / "sft")
    data = {"data sha256": sha256(workspace / "create_dataset" / "sft_dataset_llm.csv")}
    state.begin(options.settings() | data | REAL.settings(step=1), restart=False)
    (state.checkpoints / "checkpoint-10").mkdir(parents=True)
    return workspace, model


def test_a_run_with_the_same_settings_continues(start, started_run):
    workspace, model = started_run
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
def test_flags_that_differ_from_the_started_run_are_named_and_refused(refused, started_run, flags, named):
    workspace, model = started_run
    (message,) = refused(STEP_1, "--model", model, "--workspace", workspace, *flags)
    assert named in message and "--restart" in message


def test_a_setting_of_one_step_does_not_make_another_step_repeat(started_run, workspace):
    first, third = (set(REAL.settings(step)) for step in (1, 3))
    assert first ^ third == {
        "sft learning rate", "sft epochs", "orpo learning rate", "orpo epochs", "orpo lambda", "orpo nll over prompt",
        "min margin",
    }  # fmt: skip
    (workspace / "models" / "sft" / "adapter_model.safetensors").touch()
    options = to_options(make_parser("").parse_args(["--workspace", str(workspace)]))
    own = {field.name.replace("_", " ") for field in fields(REAL.sampling)}
    assert own == {"samples per prompt", "temperature", "batch size"} <= set(sampling_settings(options, REAL))


def test_data_that_differs_from_the_started_run_is_refused(refused, started_run):
    workspace, model = started_run
    with open(workspace / "create_dataset" / "sft_dataset_llm.csv", "a") as file:
        file.write(f"more,{DIAGRAM}\n")
    (message,) = refused(STEP_1, "--model", model, "--workspace", workspace)
    assert "data sha256 was " in message and "--restart" in message


def test_other_weights_under_the_same_model_name_are_refused(refused, started_run):
    workspace, model = started_run
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    (message,) = refused(STEP_1, "--model", model, "--workspace", workspace)
    assert "model files was " in message and "--restart" in message


@pytest.mark.parametrize("name", ["tokenizer.json", "chat_template.jinja"])
def test_a_changed_tokenizer_of_the_same_model_is_refused(refused, started_run, name):
    workspace, model = started_run
    with open(model / name, "a") as file:
        file.write("\n")
    (message,) = refused(STEP_1, "--model", model, "--workspace", workspace)
    assert "model files was " in message and "--restart" in message


@pytest.mark.parametrize("name", ["lora rank", "lora modules", "sft learning rate", "sft epochs"])
def test_training_settings_that_differ_from_the_started_run_are_refused(refused, started_run, name):
    workspace, model = started_run
    path = workspace / "models" / "sft" / "run.json"
    run = json.loads(path.read_text())
    run["settings"][name] = 0
    path.write_text(json.dumps(run))
    (message,) = refused(STEP_1, "--model", model, "--workspace", workspace)
    assert f"{name} was 0 and is now " in message and "--restart" in message


def test_the_adapter_of_another_model_of_the_same_name_is_refused(refused, started_run):
    workspace, model = started_run
    state = RunState(workspace / "models" / "sft")
    (state.folder / "adapter_model.safetensors").write_bytes(b"weights")
    state.finish(state.read()["settings"], {})
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    (message,) = refused(STEP_2, "--model", model, "--workspace", workspace)
    assert "another model of the same name" in message and f"python {STEP_1}" in message
