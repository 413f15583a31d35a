"""Messages that suggest something to do: no remedy is named again once it has been carried out."""

import json
from pathlib import Path

import pytest
from helpers import DIAGRAM, EMBEDDED_RUN, ORPO_HEADER, SFT_HEADER, STEP_1, STEP_2, STEP_3, finish_step_1

from fine_tuning.data.csv_rows import Row
from fine_tuning.data.split import split_prompts
from fine_tuning.run import sample_store
from fine_tuning.run.command_line import make_parser, to_options
from fine_tuning.run.errors import explain
from fine_tuning.run.run_state import RunState
from fine_tuning.run.step_order import sampling_settings
from fine_tuning.run.step_preset import preset_for


def finish_step_2(workspace: Path, scores: dict[str, list[str]], temperature: float = 1.0) -> Path:
    """Write what a finished step 2 leaves: samples with these scores for each prompt. Returns the CSV."""
    options = to_options(make_parser("").parse_args(["--model", "embedded", "--workspace", str(workspace)]))
    finish_step_1(workspace)
    path = options.workspace.orpo_csv
    settings = sampling_settings(options, preset_for(options)) | {"temperature": temperature}
    samples = [
        {"input_data": prompt, "output_data": DIAGRAM.strip('"').replace("100", str(200 + k)), "score": score}
        for prompt, of_prompt in scores.items()
        for k, score in enumerate(of_prompt)
    ]
    sample_store.begin(path, settings, [len(samples)])
    sample_store.append(path, list(samples[0]), samples)
    return path


FLAWLESS = {"c": ["1"], "d": ["1"]}


def test_without_step_2_its_command_is_the_only_remedy(refused, workspace):
    finish_step_1(workspace)
    (message,) = refused(STEP_3, *EMBEDDED_RUN, workspace)
    assert message.endswith(f"Draw samples: python {STEP_2} --model embedded --workspace {workspace}")


def test_when_all_samples_are_flawless_step_3_says_so_and_what_helps(refused, workspace):
    path = finish_step_2(workspace, FLAWLESS)
    (message,) = refused(STEP_3, *EMBEDDED_RUN, workspace)
    command = f"python {STEP_2} --model embedded --workspace {workspace}"
    assert message.startswith(f"error: {path}: all 2 samples have score 1.0, so ")
    assert f"a higher temperature: {command} --set sampling.temperature=1.5 --restart. Or " in message
    assert f"delete the samples (rows 3 to 4) and the file {sample_store.state_path(path)}, add rows" in message
    assert message.endswith(f"python fine_tuning/ask.py --model embedded --workspace {workspace} 'a request'")


@pytest.mark.parametrize(("used", "suggested"), [(1.0, "1.5"), (1.5, "2.0"), (2.0, None), (3.0, None)])
def test_a_temperature_that_was_tried_is_not_suggested_again(refused, workspace, used, suggested):
    finish_step_2(workspace, FLAWLESS, temperature=used)
    (message,) = refused(STEP_3, *EMBEDDED_RUN, workspace)
    given = message.partition("sampling.temperature=")[2].split(" ")[0]
    assert given == (suggested or "")


def test_the_remedy_to_use_more_prompts_can_be_carried_out(start, refused, workspace):
    path = finish_step_2(workspace, FLAWLESS)
    path.write_text(f"{ORPO_HEADER}c,{DIAGRAM},1.0\nd,{DIAGRAM},1.0\nharder,{DIAGRAM},1.0\n")
    sample_store.state_path(path).unlink()
    assert start(STEP_2, *EMBEDDED_RUN, workspace).stderr.endswith(" was imported\n"), "step 2 does not begin again"


def test_samples_with_too_small_differences_do_not_lead_back_to_step_2(refused, workspace):
    finish_step_2(workspace, {"c": ["0.999"], "d": ["1"]})
    (message,) = refused(STEP_3, *EMBEDDED_RUN, workspace)
    assert (
        "no prompt has an answer that ended and another whose score is lower by 0.01 or more. Draw more varied samples"
        in message
    )
    assert "ask.py" not in message and "Draw samples" not in message


@pytest.mark.parametrize("sampled", [False, True])
def test_pairs_that_are_all_held_out_lead_to_step_2_only_before_it_has_run(refused, workspace, sampled):
    finish_step_1(workspace)
    path = workspace / "create_dataset" / "orpo_dataset_llm.csv"
    prompts = "abcdefghij"
    _, held_out = split_prompts([Row(prompt, "", 1.0, "diagram", {}) for prompt in prompts], 2025)
    path.write_text(ORPO_HEADER + "".join(f"{prompt},{DIAGRAM},1.0\n" for prompt in prompts))
    scores = {prompt: ["0.5" if prompt in held_out else "1"] for prompt in prompts}
    if sampled:
        finish_step_2(workspace, scores)
    else:
        with open(path, "a") as file:
            file.writelines(f"{prompt},a sample,0.5\n" for prompt in held_out)
    (message,) = refused(STEP_3, *EMBEDDED_RUN, workspace)
    assert ("Draw samples: " in message) is not sampled and ("more varied samples" in message) is sampled
    assert "all pairs of answers (2) belong to held-out prompts" in message and "another --seed for all" in message


def test_rows_added_after_the_samples_can_be_sampled_too_and_the_message_says_how(start, refused, workspace):
    path = finish_step_2(workspace, FLAWLESS)
    with open(path, "a") as file:
        file.write(f"more,{DIAGRAM},1.0\n")
    (message,) = refused(STEP_2, *EMBEDDED_RUN, workspace, "--restart")
    state = sample_store.state_path(path)
    assert message.endswith(f"Or, to draw samples for them too, delete the samples (rows 3 to 4) and {state}")
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:3], lines[-1]]))
    state.unlink()
    assert start(STEP_2, *EMBEDDED_RUN, workspace).stderr.endswith(" was imported\n")


def test_step_3_names_changed_references_not_an_unfinished_step_2(refused, workspace):
    path = finish_step_2(workspace, FLAWLESS)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], *lines[2:]]))
    (message,) = refused(STEP_3, *EMBEDDED_RUN, workspace)
    assert "its first 2 rows have changed" in message and "has not finished" not in message


def test_the_command_that_continues_step_1_has_its_settings_not_those_of_the_later_step(refused, workspace):
    finish_step_1(workspace, finished=False)
    state = RunState(workspace / "models" / "sft")
    run = json.loads(state.path.read_text())
    run["settings"] |= {"seed": 7, "max rows": 2, "dtype": "float32"}
    state.path.write_text(json.dumps(run))
    (message,) = refused("fine_tuning/ask.py", *EMBEDDED_RUN, workspace, "a request")
    flags = "--max-rows 2 --seed 7 --dtype float32"
    assert message.endswith(f"Continue it: python {STEP_1} --model embedded --workspace {workspace} {flags}")


@pytest.mark.parametrize(
    ("flags", "suggested"),
    [
        ([], ["--dtype bfloat16", "--load-in-4bit"]),
        (["--dtype", "bfloat16"], ["--load-in-4bit"]),
        (["--dtype=bfloat16"], ["--load-in-4bit"]),
        (["--load-in-4bit"], []),
    ],
)
def test_a_machine_without_memory_is_not_told_to_use_flags_that_were_used(monkeypatch, flags, suggested):
    monkeypatch.setattr("sys.argv", ["sft_fine_tuning.py", *flags])
    text = explain(MemoryError())
    assert [words for words in ("--dtype bfloat16", "--load-in-4bit") if words in text] == suggested


@pytest.mark.parametrize("content", ["", "\n", SFT_HEADER], ids=["empty", "a blank line", "a header"])
def test_the_command_that_makes_a_missing_csv_makes_one_without_rows_too(start, tmp_path, content):
    (tmp_path / "sft_dataset_llm.csv").write_text(content)
    assert start("create_dataset/create_dataset.py", "--output", tmp_path).returncode == 0
    assert len((tmp_path / "sft_dataset_llm.csv").read_text().splitlines()) > 700


def test_the_command_that_makes_a_missing_csv_keeps_samples_in_the_other_one(start, tmp_path):
    assert start("create_dataset/create_dataset.py", "--output", tmp_path).returncode == 0
    orpo, sft = tmp_path / "orpo_dataset_llm.csv", tmp_path / "sft_dataset_llm.csv"
    made = sft.read_bytes()
    with open(orpo, "a") as file:
        file.write('prompt,answer,"{}",0.5\n')
    sampled = orpo.read_bytes()
    sft.unlink()
    assert start("create_dataset/create_dataset.py", "--output", tmp_path).returncode == 0
    assert (sft.read_bytes(), orpo.read_bytes()) == (made, sampled)
