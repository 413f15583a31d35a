"""What steps ask of each other: their order, the same model, data and split; and no row of a user is lost."""

from pathlib import Path

import pytest
from helpers import DIAGRAM, ORPO_HEADER, STEP_1, STEP_2, STEP_3, finish_step_1

from fine_tuning.data.csv_rows import Row
from fine_tuning.data.split import split_prompts
from fine_tuning.run import sample_store
from fine_tuning.run.options import make_parser, to_options
from fine_tuning.run.presets import preset_for
from fine_tuning.run.step_order import sampling_settings


@pytest.mark.parametrize("script", [STEP_2, STEP_3])
def test_before_step_1_its_command_is_named_with_the_same_flags(refused, tmp_path, script):
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


def test_step_3_before_step_2_names_the_command_of_step_2(refused, workspace):
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
def test_steps_2_and_3_refuse_other_held_out_prompts_than_step_1_had(refused, workspace, script, flags, named):
    finish_step_1(workspace)
    (message,) = refused(script, "--model", "embedded", "--workspace", workspace, *flags)
    command = f"python {STEP_1} --model embedded --workspace {workspace} {' '.join(flags)} --restart"
    assert named in message and message.endswith(command)


@pytest.mark.parametrize("script", [STEP_2, STEP_3])
def test_steps_2_and_3_refuse_other_data_than_step_1_had(refused, workspace, script):
    finish_step_1(workspace)
    with open(workspace / "create_dataset" / "sft_dataset_llm.csv", "a") as file:
        file.write(f"more,{DIAGRAM}\n")
    (message,) = refused(script, "--model", "embedded", "--workspace", workspace)
    assert "data sha256 was " in message and "--restart" in message


def begin_step_2(workspace: Path, seed: int = 2025) -> Path:
    """The state in which step 2 leaves a workspace when it is stopped before its first batch."""
    flags = ["--model", "embedded", "--workspace", str(workspace), "--seed", str(seed)]
    options = to_options(make_parser("").parse_args(flags))
    (workspace / "log").mkdir()
    finish_step_1(workspace)
    settings = sampling_settings(options, preset_for(options.is_embedded))
    sample_store.begin(options.workspace.orpo_csv, settings, [6])
    return options.workspace.orpo_csv


def test_step_3_refuses_samples_that_are_not_all_drawn(refused, workspace):
    begin_step_2(workspace)
    messages = refused(STEP_3, "--model", "embedded", "--workspace", workspace)
    assert len(messages) == 1 and "step 2 has not finished" in messages[0] and STEP_2 in messages[0]


@pytest.fixture
def sampled(workspace):
    """A workspace after step 2."""
    path = begin_step_2(workspace)
    samples = [{"input_data": prompt, "output_data": "a sample", "score": "0.5"} for prompt in "cccddd"]
    sample_store.append(path, list(samples[0]), samples)
    return path


def test_step_3_takes_samples_however_it_loads_the_weights(start, workspace, sampled):
    run = start(STEP_3, "--model", "embedded", "--workspace", workspace, "--dtype", "bfloat16")
    assert run.stderr.endswith(" was imported\n")


def test_step_3_refuses_samples_of_another_model(refused, workspace, sampled):
    (workspace / "models" / "sft" / "adapter_model.safetensors").write_bytes(b"another adapter")
    (message,) = refused(STEP_3, "--model", "embedded", "--workspace", workspace)
    assert "adapter sha256 was " in message and f"{STEP_2} --model embedded" in message and "--restart" in message


def test_step_2_loses_no_rows_that_were_added_behind_its_samples(refused, workspace, sampled):
    with open(sampled, "a") as file:
        file.write(f"e,{DIAGRAM},1.0\n")
    for flags in ([], ["--restart"]):
        (message,) = refused(STEP_2, "--model", "embedded", "--workspace", workspace, *flags)
        assert message.startswith(f"error: {sampled}: rows that step 2 did not write follow its samples")


def test_step_3_refuses_references_that_were_changed_since(refused, workspace, sampled):
    sampled.write_text(sampled.read_text().replace("(255, 228, 196)", "(255, 228, 190)", 1))
    (message,) = refused(STEP_3, "--model", "embedded", "--workspace", workspace)
    assert message.startswith(f"error: {sampled}: its first 2 rows are not those")


def test_step_2_refuses_to_mix_samples_drawn_otherwise(refused, workspace):
    begin_step_2(workspace, seed=7)
    messages = refused(STEP_2, "--model", "embedded", "--workspace", workspace)
    assert len(messages) == 1 and "seed was 7 and is now 2025" in messages[0] and "--restart" in messages[0]


@pytest.mark.parametrize(
    "content", [f"c,{DIAGRAM},1.0\n", f"c,{DIAGRAM},1.0\nother,{DIAGRAM},1.0\n"], ids=["shortened", "reworded"]
)
def test_step_2_refuses_references_that_were_changed_since(refused, workspace, content):
    path = begin_step_2(workspace)
    path.write_text(ORPO_HEADER + content)
    for flags in ([], ["--restart"]):
        messages = refused(STEP_2, "--model", "embedded", "--workspace", workspace, *flags)
        assert len(messages) == 1
        assert messages[0].startswith(f"error: {path}: its first 2 rows are not those")
        assert messages[0].endswith("sampling.json")


def test_run_all_tells_before_it_restarts_that_rows_would_be_lost(refused, workspace, sampled):
    with open(sampled, "a") as file:
        file.write(f"e,{DIAGRAM},1.0\n")
    (message,) = refused("fine_tuning/run_all.py", "--model", "embedded", "--workspace", workspace, "--restart")
    assert message.startswith(f"error: {sampled}: rows that step 2 did not write follow its samples")


def test_step_3_refuses_pairs_that_are_all_held_out(refused, workspace):
    finish_step_1(workspace)
    path = workspace / "create_dataset" / "orpo_dataset_llm.csv"
    prompts = "abcdefghij"
    _, held_out = split_prompts([Row(prompt, "", 1.0, "diagram", {}) for prompt in prompts], 2025)
    more = "".join(f"{prompt},a sample,0.5\n" for prompt in sorted(held_out))
    path.write_text(ORPO_HEADER + "".join(f"{prompt},{DIAGRAM},1.0\n" for prompt in prompts) + more)
    (message,) = refused(STEP_3, "--model", "embedded", "--workspace", workspace)
    assert message.startswith(f"error: {path}: all pairs of answers (2) belong to held-out prompts. Draw samples: ")
