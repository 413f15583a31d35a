"""What the page shows about the three steps, from their logs."""

import json
import os

import pytest
from helpers import finish_step_1
from PIL import Image

from fine_tuning.common import LOG_NAMES
from fine_tuning.run.command_line import make_parser, to_options
from fine_tuning.run.log import TrainingLog
from fine_tuning.run.plots import loss_plot
from fine_tuning.run.processes import Processes
from fine_tuning.run.verdict import training_verdict
from fine_tuning.web.runs import Runs

FIGURES = {
    "final average training loss": 0.06,
    "training loss in the last epoch": 0.01,
    "training steps": 2240,
    "validation loss": 0.05,
    "wall seconds": 61.0,
    "peak memory MiB": 700,
}
HISTORY = [{"step": step, "epoch": step / 9, "loss": 1 / step} for step in range(1, 9)]


@pytest.fixture
def options(workspace):
    return to_options(make_parser("").parse_args(["--model", "embedded", "--workspace", str(workspace)]))


def log_of(options, number: int) -> TrainingLog:
    options.workspace.log.mkdir(exist_ok=True)
    return TrainingLog(options.workspace.log, LOG_NAMES[number - 1], "Supervised fine-tuning (embedded)")


def test_steps_that_have_not_run_come_with_their_commands(options):
    facts = Runs(options).facts()
    assert [step["state"] for step in facts] == ["none"] * 3
    for step, script in zip(facts, ("sft_fine_tuning", "orpo_create_dataset", "orpo_fine_tuning"), strict=True):
        assert step["command"].endswith(f"{script}.py --model embedded --workspace {options.workspace.root}")


def test_a_finished_step_has_the_verdict_and_the_pictures_of_its_log(options):
    log = log_of(options, 1)
    log.history = HISTORY
    log.plot(loss_plot(HISTORY, [], "loss"), "loss")
    log.sheet(Image.new("RGB", (30, 20)), "validation")
    verdict = training_verdict(FIGURES)
    log.finish(FIGURES, verdict)
    runs = Runs(options)
    step = runs.facts()[0]
    assert (step["state"], step["lines"]) == ("done", verdict.lines)
    assert sorted(step["pictures"]) == ["plot", "sheet"]
    assert runs.picture(1, "plot") == (options.workspace.log / "log_train_final_sft_loss.png").read_bytes()
    assert runs.picture(1, "sheet") == (options.workspace.log / "log_train_final_sft_validation.png").read_bytes()


def test_a_step_at_work_has_its_progress_and_a_plot_up_to_now(options):
    log = log_of(options, 1)
    log.history = HISTORY[:4]
    log.progress("Training: step 4 of 1,000, loss 0.25")
    runs = Runs(options)
    step, before = runs.facts()[0], runs.picture(1, "plot")
    assert (step["state"], step["share"], step["lines"]) == ("at work", 0.004, ["Training: step 4 of 1,000, loss 0.25"])
    assert before is not None and before.startswith(b"\x89PNG")
    log.history = HISTORY
    log.progress("Training: step 8 of 1,000, loss 0.125")
    assert runs.facts()[0]["pictures"]["plot"] != step["pictures"]["plot"] and runs.picture(1, "plot") != before


def test_the_share_of_one_of_several_processes_is_that_of_its_samples(options):
    here = Processes(rank=0, count=4)
    log_of(options, 2).progress(here.share_of("Sampling: 15 of 60 samples"))
    step = Runs(options).facts()[1]
    assert (step["share"], step["lines"]) == (0.25, ["Sampling: 15 of 60 samples (process 0 of 4)"])


def test_pictures_that_an_earlier_run_has_left_are_not_shown(options):
    log = log_of(options, 1)
    log.sheet(Image.new("RGB", (30, 20)), "validation")
    log = log_of(options, 1)  # after --restart
    log.progress("The run has begun.")
    runs = Runs(options)
    assert runs.facts()[0]["pictures"] == {} and runs.picture(1, "sheet") is None and runs.picture(1, "plot") is None


@pytest.mark.parametrize("content", ["", "{", "[1]", '"text"', "\xff"])
def test_a_damaged_log_is_like_none(options, content):
    options.workspace.log.mkdir()
    (options.workspace.log / "log_train_final_sft.json").write_text(content, "latin-1")
    assert Runs(options).facts()[0]["state"] == "none"


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize(
    "log", [{"Result": {}}, {"Result": {"samples": None}}, {"Result": "x", "history": [1], "title": 3}]
)
def test_a_log_of_another_version_does_no_harm(options, number, log):
    options.workspace.log.mkdir()
    (options.workspace.log / f"{LOG_NAMES[number - 1]}.json").write_text(json.dumps(log))
    runs = Runs(options)
    assert runs.facts()[number - 1]["lines"] and runs.picture(number, "plot") is None


def test_an_unfinished_step_comes_with_the_command_that_continues_it(options, workspace):
    finish_step_1(workspace, finished=False)
    path = workspace / "models" / "sft" / "run.json"
    stored = json.loads(path.read_text())
    stored["settings"] |= {"seed": 7, "sft epochs": 2}
    path.write_text(json.dumps(stored))
    log_of(options, 1).progress("Training: step 0 of 10")
    for k, file in enumerate((path, workspace / "log" / "log_train_final_sft.json"), start=1):
        os.utime(file, (k, k))
    step = Runs(options).facts()[0]
    assert step["seconds ago"] > 1e6 and step["command"].endswith("--seed 7 --set sft.epochs=2")


def test_a_step_that_has_just_begun_is_at_work_whatever_an_earlier_run_has_logged(options, workspace):
    runs = Runs(options)
    finish_step_1(workspace, finished=False)
    assert runs.facts()[0]["state"] == "at work"
    log_of(options, 1).finish(FIGURES, training_verdict(FIGURES))
    os.utime(workspace / "log" / "log_train_final_sft.json", (1, 1))  # that of an earlier run, before --restart
    step = runs.facts()[0]
    assert (step["state"], step["lines"]) == ("at work", ["The run has begun. Its log comes with the first steps."])
    log_of(options, 1).progress("Training: step 0 of 10")
    assert runs.facts()[0]["lines"] == ["Training: step 0 of 10"]
