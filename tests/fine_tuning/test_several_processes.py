"""A training is continued by as many processes as began it, with the same global batch. No test here loads torch."""

import json
from dataclasses import replace

import pytest
from helpers import STEP_1, STEP_3
from launching import launch

from fine_tuning.run.command_line import make_parser, to_options
from fine_tuning.run.commands import restart_command
from fine_tuning.run.errors import UserError
from fine_tuning.run.options import Options
from fine_tuning.run.run_state import GLOBAL_BATCH, PROCESSES, RunState, changes, check_processes


def stored(folder, settings, figures=None) -> RunState:
    state = RunState(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state.path.write_text(json.dumps({"settings": settings, "figures": figures}))
    return state


def command(batch: int, count: int) -> str:
    return replace(Options("embedded"), global_batch=batch).command("sft_fine_tuning", count)


def test_without_the_flag_each_process_has_one_example():
    assert Options().examples_per_step == 1
    assert to_options(make_parser("").parse_args(["--global-batch", "6"])).examples_per_step == 6


@pytest.mark.parametrize("script", [STEP_1, STEP_3])
def test_a_global_batch_that_the_processes_cannot_share_is_refused_once(script, workspace):
    (status, output, errors), other = launch(2, script, "--workspace", workspace, "--global-batch", "3")
    assert (status, output) == (2, "")
    line = "error: --global-batch 3: 2 processes cannot share so many rows equally. Give a multiple of 2\n"
    assert errors == line
    assert other == (2, "", "")


@pytest.mark.parametrize("value", ["0", "-2", "1.5", "two"])
def test_a_global_batch_is_a_whole_number(refused, value):
    (line,) = refused(STEP_1, "--global-batch", value)
    assert "argument --global-batch" in line and "is not a whole number from 1" in line


def test_a_training_that_several_processes_began_names_both_commands(tmp_path):
    state = stored(tmp_path / "sft", {GLOBAL_BATCH: 4, PROCESSES: 2})
    with pytest.raises(UserError) as error:
        check_processes(state, command, restart_command())
    (line,) = error.value.problems
    assert "this training began with 2 processes and can only go on with as many, not with 1" in line
    assert "To continue it: torchrun --nproc_per_node 2 fine_tuning/sft_fine_tuning.py --model embedded" in line
    assert "--global-batch 4. To discard it and repeat it with 1: python" in line
    assert line.endswith("--restart")


@pytest.mark.parametrize(
    ("settings", "figures"),
    [({}, None), ({GLOBAL_BATCH: 4, PROCESSES: 1}, None), ({GLOBAL_BATCH: 4, PROCESSES: 2}, {"training steps": 1})],
    ids=["of an earlier version", "with one process", "finished"],
)
def test_any_other_training_goes_on(tmp_path, settings, figures):
    check_processes(stored(tmp_path / "sft", settings, figures), command, restart_command())


def test_another_global_batch_is_another_run_and_the_number_of_processes_is_not():
    before = {GLOBAL_BATCH: 8, PROCESSES: 8}
    assert changes(before, {GLOBAL_BATCH: 8, PROCESSES: 1}) == []
    assert changes(before, {GLOBAL_BATCH: 1, PROCESSES: 1}) == [
        "global batch was 8 and is now 1 (to keep it: --global-batch 8)"
    ]


def test_a_run_of_an_earlier_version_had_one_example_in_a_step():
    assert changes({"seed": 1}, {"seed": 1, GLOBAL_BATCH: 1, PROCESSES: 1}) == []
    assert changes({"seed": 1}, {"seed": 1, GLOBAL_BATCH: 2, PROCESSES: 2}) == [
        "global batch was 1 and is now 2 (to keep it: --global-batch 1)"
    ]
