"""What a training run remembers of itself beside its adapter."""

import json

import pytest

from fine_tuning.run.run_state import RunState

SETTINGS = {"model": "embedded", "revision": None, "seed": 2025, "lora modules": ("q_proj", "v_proj"), "rate": 2e-4}
FIGURES = {"final average training loss": 0.25, "wall seconds": 12.5}


@pytest.fixture
def state(tmp_path) -> RunState:
    return RunState(tmp_path / "models" / "sft")


def test_where_nothing_ran_there_is_nothing_to_read_and_asking_writes_nothing(state, tmp_path):
    assert (state.read(), state.is_finished, state.differences(SETTINGS)) == (None, False, [])
    assert not state.answer_if_done(SETTINGS, 1)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_began_is_remembered_but_not_finished(state):
    state.begin(SETTINGS, restart=False)
    assert state.read()["figures"] is None
    assert not RunState(state.folder).is_finished


def test_the_same_settings_differ_in_nothing_even_after_their_way_through_json(state):
    state.begin(SETTINGS, restart=False)
    assert state.differences(SETTINGS) == []


def test_every_difference_is_named_with_both_values(state):
    state.begin(SETTINGS, restart=False)
    changed = {name: value for name, value in SETTINGS.items() if name != "rate"} | {"seed": 7, "max rows": 50}
    assert state.differences(changed) == [
        "max rows was None and is now 50",
        "rate was 0.0002 and is now None",
        "seed was 2025 and is now 7",
    ]


def test_beginning_again_keeps_the_run_and_its_checkpoints(state):
    state.begin(SETTINGS, restart=False)
    state.checkpoints.mkdir()
    state.begin(SETTINGS, restart=False)
    assert state.checkpoints.is_dir()
    assert state.read()["settings"]["seed"] == SETTINGS["seed"]


def test_a_restart_throws_everything_of_the_earlier_run_away(state):
    state.begin(SETTINGS, restart=False)
    state.checkpoints.mkdir()
    (state.folder / "adapter_model.safetensors").write_bytes(b"old")
    state.finish(SETTINGS, FIGURES)
    state.begin(SETTINGS | {"seed": 7}, restart=True)
    assert not state.is_finished
    assert state.read()["settings"]["seed"] == 7
    assert list(state.folder.iterdir()) == [state.path]


def test_a_restart_where_nothing_ran_is_a_start(state):
    state.begin(SETTINGS, restart=True)
    assert state.differences(SETTINGS) == []


def test_finishing_keeps_the_figures_and_drops_the_checkpoints(state):
    state.begin(SETTINGS, restart=False)
    (state.checkpoints / "checkpoint-100").mkdir(parents=True)
    state.finish(SETTINGS, FIGURES)
    assert state.is_finished
    assert state.read()["figures"] == FIGURES
    assert list(state.folder.iterdir()) == [state.path]


def test_a_finished_run_says_so_and_prints_its_figures_last(state, capsys):
    state.begin(SETTINGS, restart=False)
    state.finish(SETTINGS, FIGURES)
    assert state.answer_if_done(SETTINGS, 1)
    lines = capsys.readouterr().out.splitlines()
    assert "step 1 is done" in lines[0] and "--restart" in lines[0]
    assert json.loads(lines[-1]) == FIGURES


@pytest.mark.parametrize("finished", [False, True])
def test_a_run_with_other_settings_is_neither_continued_nor_taken_for_done(state, capsys, finished):
    state.begin(SETTINGS, restart=False)
    if finished:
        state.finish(SETTINGS, FIGURES)
    before = state.path.read_bytes()
    with pytest.raises(SystemExit) as stopped:
        state.answer_if_done(SETTINGS | {"seed": 7}, 1)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert "seed was 2025 and is now 7" in error and str(state.folder) in error and "--restart" in error
    assert state.path.read_bytes() == before


def test_a_run_that_another_process_began_meanwhile_is_left_alone(state, capsys):
    assert not state.answer_if_done(SETTINGS, 1)
    RunState(state.folder).begin(SETTINGS | {"seed": 7}, restart=False)
    with pytest.raises(SystemExit) as stopped:
        state.begin(SETTINGS, restart=False)
    assert stopped.value.code == 2
    assert "seed was 7 and is now 2025" in capsys.readouterr().err
    assert state.read()["settings"]["seed"] == 7
