"""Damaged files that the project wrote itself: named with a remedy, never a traceback."""

import json
from pathlib import Path

import pytest
from helpers import EMBEDDED_RUN, STEP_1, STEP_2, STEP_3, finish_step_1

from fine_tuning.run.log import stored_result
from fine_tuning.run.run_state import RunState

DAMAGE = {
    "cut": '{"settings": {',
    "empty": "",
    "a list": "[]",
    "not UTF-8": "\udcff",
    "deep": "[" * 100_000,
    "without settings": '{"figures": null}',
    "settings of the wrong kind": '{"settings": 7, "figures": null}',
}


def damage_file(path: Path, text: str) -> None:
    path.write_bytes(text.encode(errors="surrogateescape"))


@pytest.mark.parametrize("text", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("script", [STEP_1, STEP_2, STEP_3, "fine_tuning/ask.py"])
def test_a_damaged_run_json_is_named_with_a_remedy(refused, workspace, script, text):
    finish_step_1(workspace)
    path = workspace / "models" / "sft" / "run.json"
    damage_file(path, text)
    message = refused(script, *EMBEDDED_RUN, workspace, *(["a request"] if "ask" in script else []))[0]
    assert message.startswith(f"error: {path}: this file is damaged") and "--restart" in message


def test_a_restart_does_not_need_the_damaged_run_json(tmp_path):
    state = RunState(tmp_path / "models" / "sft")
    state.begin({"seed": 7}, restart=False)
    damage_file(state.path, "{")
    state.begin({"seed": 8}, restart=True)
    assert state.read()["settings"] == {"seed": 8}


def test_files_without_a_run_json_are_refused(refused, workspace):
    (workspace / "models" / "sft" / "checkpoints" / "checkpoint-10").mkdir(parents=True)
    (message,) = refused(STEP_1, *EMBEDDED_RUN, workspace)
    assert "no run.json" in message and message.endswith(f"--workspace {workspace} --restart")


def test_a_missing_adapter_is_named_with_the_command_that_makes_it(refused, workspace):
    finish_step_1(workspace)
    (workspace / "models" / "sft" / "adapter_model.safetensors").unlink()
    (message,) = refused(STEP_2, *EMBEDDED_RUN, workspace)
    assert "adapter_model.safetensors is missing" in message and f"python {STEP_1} --model embedded" in message


STATE = {"settings": {}, "batch_sizes": [1], "reference_rows": 2, "reference_sha256": "0"}
BAD_STATES = [*DAMAGE.values(), json.dumps(STATE | {"more": 1}), json.dumps(STATE | {"reference_rows": -1}),
              json.dumps(STATE | {"batch_sizes": ["1"]}), json.dumps(STATE | {"reference_rows": 1.5})]  # fmt: skip


@pytest.mark.parametrize("text", BAD_STATES)
@pytest.mark.parametrize("script", [STEP_2, STEP_3])
def test_a_damaged_sampling_state_is_named_with_a_remedy(refused, workspace, script, text):
    finish_step_1(workspace)
    path = workspace / "create_dataset" / "orpo_dataset_llm.sampling.json"
    damage_file(path, text)
    message = refused(script, *EMBEDDED_RUN, workspace)[0]
    assert message.startswith(f"error: {path}: this file is damaged") and "delete this file" in message


@pytest.mark.parametrize("text", [*DAMAGE.values(), '{"Result": "sampling has begun"}'])
def test_a_log_that_cannot_be_read_counts_as_unfinished(tmp_path, text):
    damage_file(tmp_path / "log.json", text)
    assert stored_result(tmp_path, "log") is None
