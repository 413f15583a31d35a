"""A `Step`: what it checks before a script's method runs, and what it stores before and afterwards."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest
from helpers import STEPS, problems_of

from fine_tuning.common import Step
from fine_tuning.run import commands, lock, sample_store
from fine_tuning.run.commands import continue_command
from fine_tuning.run.errors import UserError
from fine_tuning.run.workspace import Workspace
from fine_tuning.training.memory_check import row_loss
from fine_tuning.training_step import TrainingStep

SETTINGS = {"seed": 2025}
FIGURES = {  # what the verdicts of the three steps need
    "final average training loss": 0.5,
    "training loss in the last epoch": 0.25,
    "training steps": 8,
    "samples": 1,
    "rows": 3,
    "mean score": 0.5,
    "flawless samples": 0.0,
}
ROW = {"input_ids": [0, *[7] * 30, 1], "labels": [-100] * 5 + [7] * 26 + [1]}


@pytest.fixture
def start_step(monkeypatch, workspace):
    """Start a step as its script does."""
    monkeypatch.setattr(commands, "_restart_is_done", False)  # in a real run, the process ends with it
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def start_step(number: int, *flags: str) -> Step:
        script = f"fine_tuning/{STEPS[number - 1]}.py"
        monkeypatch.setattr(sys, "argv", [script, "--model", "embedded", "--workspace", str(workspace), *flags])
        return (Step if number == 2 else TrainingStep)(number, "A step.")

    yield start_step
    while lock._held:
        lock._held.popitem()[1].release()


@pytest.fixture
def finish_step(start_step, workspace) -> Callable[[int], None]:
    """Run a step with SETTINGS to its end, with FIGURES as its result."""

    def finish_step(number: int) -> None:
        step = start_step(number)
        assert not step.is_done(SETTINGS)
        step.begin("Title")
        if number == 2:
            path = Workspace(workspace).orpo_csv
            sample_store.begin(path, SETTINGS, [1])
            sample_store.append(path, ["input_data", "output_data", "score"], [{"input_data": "c", "score": "0.5"}])
        step.finish(FIGURES)

    return finish_step


def test_the_problems_of_all_checks_are_raised_together(start_step):
    step = start_step(3, "--load-in-4bit")
    with step.checks:
        raise UserError("row 1 is wrong", "row 2 is wrong")
    with step.checks:
        raise UserError("a file is missing")
    problems = problems_of(step.check)
    assert problems[:3] == ("row 1 is wrong", "row 2 is wrong", "a file is missing")
    assert "--load-in-4bit needs a CUDA GPU and none was found" in problems
    assert "there is no adapter of step 1" in problems[-1]


def test_a_step_without_problems_passes_its_checks_and_writes_nothing(start_step, workspace):
    before = sorted(workspace.rglob("*"))
    start_step(1).check()
    assert sorted(workspace.rglob("*")) == before


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_finished_step_prints_its_figures_as_json_and_again_at_the_next_start(
    start_step, finish_step, capsys, number
):
    finish_step(number)
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["final average training loss"] == 0.5
    assert figures["peak memory MiB"] > 0 and figures["wall seconds"] >= 0
    assert start_step(number).is_done(SETTINGS)
    said, last = capsys.readouterr().out.splitlines()
    assert said.startswith(f"step {number} is done: ") and "--restart" in said and json.loads(last) == figures


def test_step_2_stays_finished_if_rows_are_added_after_the_samples(start_step, finish_step, workspace):
    finish_step(2)
    with open(Workspace(workspace).orpo_csv, "a") as file:
        file.write("my own,row,0.5\n")
    assert start_step(2).is_done(SETTINGS)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_run_with_other_settings_is_refused_with_the_command_to_repeat_it(start_step, finish_step, number):
    finish_step(number)
    step = start_step(number)
    (problem,) = problems_of(step.is_done, {"seed": 7})
    assert "seed was 2025 and is now 7" in problem
    assert problem.endswith(f"To discard it and repeat step {number}: python {' '.join(sys.argv)} --restart")


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_restart_discards_the_earlier_run_only_once_the_step_begins(start_step, finish_step, number):
    finish_step(number)
    step = start_step(number, "--restart")
    assert not step.is_done(SETTINGS)
    assert step.state.figures["final average training loss"] == 0.5 and "--restart" in continue_command()
    step.begin("Title")
    assert step.state.figures is None and "--restart" not in continue_command()


def test_the_log_contains_settings_data_and_result(start_step, workspace):
    step = start_step(1)
    step.is_done(SETTINGS)
    step.begin("Supervised fine-tuning", {"rows": 2})
    step.log.write()
    path = workspace / "log" / "log_train_final_sft.json"
    log = json.loads(path.read_text())
    assert log["title"] == "Supervised fine-tuning (embedded)" and log["Result"] == "The run has begun."
    assert log["Settings"] == SETTINGS | {"global batch": 1, "processes": 1}
    assert log["Data"] == {"rows": 2} and "python" in log["Machine"]
    step.finish(FIGURES)
    assert json.loads(path.read_text())["Result"]["final average training loss"] == 0.5


def test_the_memory_of_the_longest_row_is_printed_and_logged(start_step, capsys):
    step = start_step(1)
    step.check_memory(row_loss(ROW), "row", lambda: pytest.fail("tried on a CPU"))
    printed = capsys.readouterr().out
    assert printed.startswith("embedded: float32 on the CPU; a step on the longest row needs 0.")
    step.begin("Title")
    assert step.log.sections["Machine"]["dtype"] == "float32"
    assert step.log.sections["Machine"]["counted memory of a step"] in printed


def test_the_memory_of_orpo_is_counted_without_dropout(start_step, capsys):
    printed = []
    for number, dropout in ((3, 0.3), (3, 0.0), (1, 0.0), (1, 0.3)):
        step = start_step(number)
        step.preset = replace(step.preset, lora=replace(step.preset.lora, dropout=dropout))
        step.check_memory(row_loss(ROW), "row", lambda: pytest.fail("tried on a CPU"))
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] == printed[2] != printed[3]
