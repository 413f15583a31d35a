"""The settings and figures of a training run, stored beside its adapter."""

import pytest
from helpers import problems_of

from fine_tuning.run.run_state import RunState

SETTINGS = {"model": "embedded", "revision": None, "seed": 2025, "lora modules": ("q_proj", "v_proj"), "rate": 2e-4}
FIGURES = {"final average training loss": 0.25, "wall seconds": 12.5}


@pytest.fixture
def state(tmp_path) -> RunState:
    return RunState(tmp_path / "models" / "sft")


def test_a_folder_without_a_run_is_accepted_and_reading_writes_nothing(state, tmp_path):
    assert (state.read(), state.is_finished, state.differences(SETTINGS)) == (None, False, [])
    state.check(SETTINGS, "")
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_began_is_stored_as_unfinished(state):
    state.begin(SETTINGS, restart=False)
    assert state.read()["figures"] is None
    assert not RunState(state.folder).is_finished


def test_the_same_settings_compare_equal_after_a_round_trip_through_json(state):
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


def test_a_restart_discards_everything_of_the_earlier_run(state):
    state.begin(SETTINGS, restart=False)
    state.checkpoints.mkdir()
    (state.folder / "adapter_model.safetensors").write_bytes(b"old")
    state.finish(SETTINGS, FIGURES)
    state.begin(SETTINGS | {"seed": 7}, restart=True)
    assert not state.is_finished
    assert state.read()["settings"]["seed"] == 7
    assert list(state.folder.iterdir()) == [state.path]


def test_a_restart_without_an_earlier_run_starts_a_new_one(state):
    state.begin(SETTINGS, restart=True)
    assert state.differences(SETTINGS) == []


def test_finishing_keeps_the_figures_and_deletes_the_checkpoints(state):
    state.begin(SETTINGS, restart=False)
    (state.checkpoints / "checkpoint-100").mkdir(parents=True)
    state.finish(SETTINGS, FIGURES)
    assert state.is_finished
    assert state.read()["figures"] == FIGURES
    assert list(state.folder.iterdir()) == [state.path]


def test_a_finished_run_has_figures(state):
    state.begin(SETTINGS, restart=False)
    assert state.figures is None
    state.finish(SETTINGS, FIGURES)
    assert state.figures == FIGURES


@pytest.mark.parametrize("finished", [False, True])
def test_a_run_with_other_settings_is_refused_with_the_remedy(state, finished):
    state.begin(SETTINGS, restart=False)
    if finished:
        state.finish(SETTINGS, FIGURES)
    before = state.path.read_bytes()
    (problem,) = problems_of(state.check, SETTINGS | {"seed": 7}, "To repeat it: --restart")
    assert "seed was 2025 and is now 7" in problem and str(state.folder) in problem
    assert problem.endswith("To repeat it: --restart")
    assert state.path.read_bytes() == before


def test_a_run_that_another_process_has_begun_since_the_check_is_kept(state):
    state.check(SETTINGS, "")
    RunState(state.folder).begin(SETTINGS | {"seed": 7}, restart=False)
    (problem,) = problems_of(state.begin, SETTINGS, restart=False)
    assert "seed was 7 and is now 2025" in problem
    assert state.read()["settings"]["seed"] == 7
