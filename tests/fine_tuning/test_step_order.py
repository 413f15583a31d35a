"""What steps need from earlier steps: the same model, data and split. No row of a user is lost."""

from pathlib import Path

import pytest
from helpers import DIAGRAM, ORPO_HEADER, STEP_1, STEP_2, STEP_3, finish_step_1

from fine_tuning.data.csv_rows import Row
from fine_tuning.data.split import split_prompts
from fine_tuning.run import sample_store
from fine_tuning.run.command_line import make_parser, to_options
from fine_tuning.run.step_order import sampling_settings
from fine_tuning.run.step_preset import preset_for


@pytest.mark.parametrize("script", [STEP_2, STEP_3])
def test_without_step_1_its_command_is_suggested_with_the_same_flags(refused, tmp_path, script):
    folder = tmp_path / "new workspace"
    messages = refused(script, "--model", "embedded", "--workspace", folder, "--max-rows", "9", "--seed", "3")
    command = f"python {STEP_1} --model embedded --workspace '{folder}' --max-rows 9 --seed 3"
    assert messages == [f"error: {folder / 'models' / 'sft'}: there is no adapter of step 1. Run it first: {command}"]


def test_step_2_refuses_an_unfinished_step_1(refused, workspace):
    finish_step_1(workspace, finished=False)
    messages = refused(STEP_2, "--model", "embedded", "--workspace", workspace)
    assert len(messages) == 1 and "step 1 has not finished" in messages[0] and STEP_1 in messages[0]


def test_step_2_refuses_the_adapter_of_another_model(refused, workspace):
    finish_step_1(workspace, model="other/model")
    messages = refused(STEP_2, "--model", "embedded", "--workspace", workspace)
    assert len(messages) == 1 and "other/model" in messages[0] and "embedded" in messages[0]


def test_step_3_without_step_2_suggests_the_command_of_step_2(refused, workspace):
    finish_step_1(workspace)
    messages = refused(STEP_3, "--model", "embedded", "--workspace", workspace)
    assert len(messages) == 1
    assert messages[0].startswith(f"error: {workspace / 'create_dataset' / 'orpo_dataset_llm.csv'}")
    assert messages[0].endswith(f"python {STEP_2} --model embedded --workspace {workspace}")


@pytest.mark.parametrize("script", [STEP_2, STEP_3])
@pytest.mark.parametrize(
    ("flags", "named"),
    [(["--seed", "7"], "seed was 2025 and is now 7"), (["--max-rows", "2"], "max rows was None and is now 2")],
    ids=["seed", "rows"],
)
def test_steps_2_and_3_refuse_flags_that_would_hold_out_other_prompts_than_step_1(
    refused, workspace, script, flags, named
):
    finish_step_1(workspace)
    (message,) = refused(script, "--model", "embedded", "--workspace", workspace, *flags)
    command = f"python {STEP_1} --model embedded --workspace {workspace} {' '.join(flags)} --restart"
    assert named in message and message.endswith(command)


@pytest.mark.parametrize("script", [STEP_2, STEP_3])
def test_steps_2_and_3_refuse_data_that_has_changed_since_step_1(refused, workspace, script):
    finish_step_1(workspace)
    with open(workspace / "create_dataset" / "sft_dataset_llm.csv", "a") as file:
        file.write(f"more,{DIAGRAM}\n")
    (message,) = refused(script, "--model", "embedded", "--workspace", workspace)
    assert "data sha256 was " in message and "--restart" in message


def begin_step_2(workspace: Path, seed: int = 2025) -> Path:
    """Write what step 2 leaves in a workspace if it is stopped before its first batch."""
    flags = ["--model", "embedded", "--workspace", str(workspace), "--seed", str(seed)]
    options = to_options(make_parser("").parse_args(flags))
    (workspace / "log").mkdir()
    finish_step_1(workspace)
    settings = sampling_settings(options, preset_for(options))
    sample_store.begin(options.workspace.orpo_csv, settings, [6])
    return options.workspace.orpo_csv


def test_step_3_refuses_an_unfinished_step_2(refused, workspace):
    begin_step_2(workspace)
    messages = refused(STEP_3, "--model", "embedded", "--workspace", workspace)
    assert len(messages) == 1 and "step 2 has not finished" in messages[0] and STEP_2 in messages[0]


@pytest.fixture
def sampled(workspace):
    """The ORPO CSV of a workspace after step 2."""
    path = begin_step_2(workspace)
    samples = [{"input_data": prompt, "output_data": "a sample", "score": "0.5"} for prompt in "cccddd"]
    sample_store.append(path, list(samples[0]), samples)
    return path


def test_step_3_accepts_samples_that_were_drawn_with_another_dtype(start, workspace, sampled):
    run = start(STEP_3, "--model", "embedded", "--workspace", workspace, "--dtype", "bfloat16")
    assert run.stderr.endswith(" was imported\n")


def test_step_3_refuses_samples_of_another_model(refused, workspace, sampled):
    (workspace / "models" / "sft" / "adapter_model.safetensors").write_bytes(b"another adapter")
    (message,) = refused(STEP_3, "--model", "embedded", "--workspace", workspace)
    assert "adapter sha256 was " in message and f"{STEP_2} --model embedded" in message and "--restart" in message


def test_step_2_refuses_to_lose_rows_that_were_added_after_its_samples(refused, workspace, sampled):
    with open(sampled, "a") as file:
        file.write(f"e,{DIAGRAM},1.0\n")
    for flags in ([], ["--restart"]):
        (message,) = refused(STEP_2, "--model", "embedded", "--workspace", workspace, *flags)
        assert message.startswith(f"error: {sampled}: the rows after the samples are not from step 2")


def test_step_3_refuses_references_that_have_changed_since_sampling(refused, workspace, sampled):
    sampled.write_text(sampled.read_text().replace("(255, 228, 196)", "(255, 228, 190)", 1))
    (message,) = refused(STEP_3, "--model", "embedded", "--workspace", workspace)
    assert message.startswith(f"error: {sampled}: its first 2 rows have changed")


def test_step_2_refuses_to_mix_samples_of_different_settings(refused, workspace):
    begin_step_2(workspace, seed=7)
    messages = refused(STEP_2, "--model", "embedded", "--workspace", workspace)
    assert len(messages) == 1 and "seed was 7 and is now 2025" in messages[0] and "--restart" in messages[0]


@pytest.mark.parametrize(
    "content", [f"c,{DIAGRAM},1.0\n", f"c,{DIAGRAM},1.0\nother,{DIAGRAM},1.0\n"], ids=["shortened", "reworded"]
)
def test_step_2_refuses_references_that_have_changed_since_sampling(refused, workspace, content):
    path = begin_step_2(workspace)
    path.write_text(ORPO_HEADER + content)
    for flags in ([], ["--restart"]):
        messages = refused(STEP_2, "--model", "embedded", "--workspace", workspace, *flags)
        assert len(messages) == 1
        assert messages[0].startswith(f"error: {path}: its first 2 rows have changed")
        assert messages[0].endswith("sampling.json")


def test_run_all_refuses_a_restart_that_would_lose_rows(refused, workspace, sampled):
    with open(sampled, "a") as file:
        file.write(f"e,{DIAGRAM},1.0\n")
    (message,) = refused("fine_tuning/run_all.py", "--model", "embedded", "--workspace", workspace, "--restart")
    assert message.startswith(f"error: {sampled}: the rows after the samples are not from step 2")


def test_step_3_refuses_pairs_that_are_all_held_out(refused, workspace):
    finish_step_1(workspace)
    path = workspace / "create_dataset" / "orpo_dataset_llm.csv"
    prompts = "abcdefghij"
    _, held_out = split_prompts([Row(prompt, "", 1.0, "diagram", {}) for prompt in prompts], 2025)
    more = "".join(f"{prompt},a sample,0.5\n" for prompt in sorted(held_out))
    path.write_text(ORPO_HEADER + "".join(f"{prompt},{DIAGRAM},1.0\n" for prompt in prompts) + more)
    (message,) = refused(STEP_3, "--model", "embedded", "--workspace", workspace)
    assert message.startswith(f"error: {path}: all pairs of answers (2) belong to held-out prompts. Draw samples: ")
