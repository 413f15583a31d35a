"""--report-to: the figures of a training in a dashboard, under the JSON log's names, each step once."""

import json
import math
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from helpers import problems_of
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fine_tuning.run.errors import UserError
from fine_tuning.run.log import TrainingLog
from fine_tuning.run.report_to import PACKAGES, check_report_to
from fine_tuning.training.dashboards import DashboardCallback, Training
from fine_tuning.training.history import record

STEPS = 12  # in two epochs


def entries(step: int) -> list[dict[str, float]]:
    """What the trainer logs at a step; after each epoch also a validation."""
    found = [{"step": step, "epoch": step / 6, "loss": 1 / step, "grad_norm": 2.0, "learning_rate": 1e-3 / step}]
    if step % 6 == 0:
        found.append({"step": step, "epoch": step / 6, "eval_loss": 0.5 / step, "eval_chosen_preferred": 0.75})
    return found


HISTORY = [entry for step in range(1, STEPS + 1) for entry in entries(step)]


def train(name, folder, first=0, last=STEPS, saved=0, log=True):
    """Train from a checkpoint at step `first` to `last`, with a checkpoint at `saved`; then end, or be killed."""
    training = Training("sft", folder / "log", folder / "checkpoints", {"model": "embedded", "lora rank": 16})
    callback = DashboardCallback(name, training)
    kept = [entry for entry in HISTORY if entry["step"] <= first]
    state = SimpleNamespace(global_step=first, log_history=kept, is_world_process_zero=True)
    callback.on_train_begin(None, state, None)
    for step in range(first + 1, last + 1):
        for entry in entries(step):
            state.log_history.append(entry)
            callback.on_log(None, state, None)
        if step == saved:
            callback.on_save(None, state, None)
    if last == STEPS:
        callback.on_train_end(None, state, None)
    else:
        callback._dashboard.flush()  # what a killed run may have written, too
    return callback


def curves(folder) -> dict[str, list[tuple[int, Any]]]:
    """The curves in a folder of event files, as TensorBoard reads them."""
    reader = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {
        name: [(event.step, pytest.approx(event.value)) for event in reader.Scalars(name)]
        for name in reader.Tags()["scalars"]
    }


def curves_of_log(folder) -> dict[str, list[tuple[int, float]]]:
    """The same from the JSON log of the whole history."""
    log = TrainingLog(folder, "log", "training")
    record(log, HISTORY, plot=False)
    log.write()
    stored = json.loads((folder / "log.json").read_text())
    found: dict[str, list[tuple[int, float]]] = {}
    for rows, left_out in ((stored["history"], {"step"}), (stored["Loss by epoch"], {"step", "epoch"})):
        for row in rows:
            for name in row.keys() - left_out:
                found.setdefault(name, []).append((row["step"], row[name]))
    return found


def test_a_tensorboard_file_has_the_curves_of_the_json_log_under_the_same_names(tmp_path):
    train("tensorboard", tmp_path)
    found = curves(tmp_path / "log" / "tensorboard" / "sft")
    assert found == curves_of_log(tmp_path / "log")
    assert {"loss", "gradient norm", "learning rate", "validation loss", "validation chosen preferred"} <= found.keys()


@pytest.mark.parametrize(("saved", "killed"), [(4, 9), (4, 4), (6, 8), (1, 11)])
def test_a_killed_run_that_continues_has_the_curves_of_one_that_was_not_killed(tmp_path, saved, killed):
    train("tensorboard", tmp_path / "whole")
    train("tensorboard", tmp_path / "killed", last=killed, saved=saved)
    train("tensorboard", tmp_path / "killed", first=saved)
    whole, continued = (curves(tmp_path / name / "log" / "tensorboard" / "sft") for name in ("whole", "killed"))
    assert {name: [step for step, _ in curve] for name, curve in continued.items()} == {
        name: [step for step, _ in curve] for name, curve in whole.items()
    }
    assert continued == {name: [(step, value.expected) for step, value in curve] for name, curve in whole.items()}


def test_a_run_killed_in_the_middle_of_writing_continues(tmp_path):
    train("tensorboard", tmp_path, last=9, saved=4)
    (file,) = (tmp_path / "log" / "tensorboard" / "sft").iterdir()
    file.write_bytes(file.read_bytes()[:-7])
    train("tensorboard", tmp_path, first=4)
    assert [step for step, _ in curves(file.parent)["loss"]] == list(range(1, STEPS + 1))


def test_a_run_that_begins_again_replaces_its_curves_and_leaves_other_files(tmp_path):
    folder = tmp_path / "log" / "tensorboard" / "sft"
    train("tensorboard", tmp_path, last=9)
    (folder / "notes.txt").write_text("mine")
    train("tensorboard", tmp_path)
    assert [step for step, _ in curves(folder)["loss"]] == list(range(1, STEPS + 1))
    assert len(list(folder.glob("events*"))) == 1 and (folder / "notes.txt").exists()


def test_a_run_that_began_without_the_flag_has_its_first_steps_too(tmp_path):
    train("tensorboard", tmp_path, first=7)
    assert curves(tmp_path / "log" / "tensorboard" / "sft") == curves_of_log(tmp_path / "log")


def test_a_figure_that_is_not_finite_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setitem(HISTORY[2], "grad_norm", math.inf)
    callback = train("tensorboard", tmp_path, first=3, last=3)
    callback.on_train_end(None, None, None)
    assert [step for step, _ in curves(tmp_path / "log" / "tensorboard" / "sft")["gradient norm"]] == [1, 2]


class FakeLibrary(ModuleType):
    """What wandb and trackio have in common. It keeps every figure, over all starts of a run."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.started: list[dict] = []
        self.logged: list[tuple[int, dict]] = []
        self.finished = 0
        self.fails_from = STEPS + 1

    def init(self, **arguments):
        self.started.append(arguments)
        return SimpleNamespace(log=self.log, finish=self.finish)

    def Settings(self, **settings):  # noqa: N802
        return settings

    def log(self, figures, step):
        if step >= self.fails_from:
            raise ConnectionError("the server is gone")
        self.logged.append((step, figures))

    def finish(self):
        self.finished += 1


@pytest.fixture(params=["wandb", "trackio"])
def library(request, monkeypatch):
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_PROJECT", "TRACKIO_DIR", "TRACKIO_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", "/dev/null")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")  # so that it is put back
    monkeypatch.setenv("TRACKIO_DIR", "")
    monkeypatch.delenv("TRACKIO_DIR")
    fake = FakeLibrary(request.param)
    monkeypatch.setitem(sys.modules, request.param, fake)
    return fake


def test_wandb_and_trackio_get_the_names_of_the_log_and_each_step_once_over_a_kill(library, tmp_path):
    train(library.__name__, tmp_path, last=9, saved=4)
    train(library.__name__, tmp_path, first=4)
    found: dict[str, list[tuple[int, float]]] = {}
    for step, figures in library.logged:
        for name, value in figures.items():
            found.setdefault(name, []).append((step, value))
    assert found == curves_of_log(tmp_path / "log")
    first, second = library.started
    assert first["name"] == second["name"] and first.get("id") == second.get("id")
    assert (first["resume"], first["config"]["lora rank"], library.finished) == ("allow", 16, 1)


def test_a_restarted_run_is_another_run(library, tmp_path):
    train(library.__name__, tmp_path)
    (tmp_path / "checkpoints" / f"{library.__name__}.json").unlink()  # a restart discards the folder
    train(library.__name__, tmp_path)
    first, second = library.started
    assert first["name"] != second["name"]


def test_a_dashboard_that_fails_later_on_does_not_stop_the_training(library, tmp_path, capsys):
    library.fails_from = 5
    train(library.__name__, tmp_path)
    assert [step for step, _ in library.logged] == [1, 2, 3, 4]
    note = f"note: --report-to {library.__name__}: no more figures are reported (the server is gone)."
    assert capsys.readouterr().err.count(note) == 1


def test_a_dashboard_that_cannot_be_started_is_an_error(library, tmp_path, monkeypatch):
    def refuse(**_):
        raise RuntimeError("no key")

    monkeypatch.setattr(library, "init", refuse)
    (problem,) = problems_of(train, library.__name__, tmp_path)
    assert problem.startswith(f"--report-to {library.__name__}: ") and "no key" in problem


@pytest.mark.parametrize("library", ["wandb"], indirect=True)
def test_wandb_is_offline_unless_the_user_asks_for_more(library, tmp_path, monkeypatch):
    train("wandb", tmp_path)
    monkeypatch.setenv("WANDB_MODE", "online")
    train("wandb", tmp_path)
    assert [start["mode"] for start in library.started] == ["offline", "online"]
    assert {start["dir"] for start in library.started} == {str(tmp_path / "log")}


@pytest.mark.parametrize("library", ["wandb"], indirect=True)
def test_wandb_stays_offline_if_the_user_is_logged_in_but_the_server_cannot_be_reached(library, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    train("wandb", tmp_path)
    assert library.started[0]["mode"] == "offline"


@pytest.mark.parametrize("name", PACKAGES)
def test_a_missing_package_is_named_with_the_command_that_installs_it(name, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    (problem,) = problems_of(check_report_to, name)
    assert problem.endswith(f"python -m pip install {PACKAGES[name]}")


def test_without_the_flag_no_package_is_needed(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: pytest.fail("looked for a package"))
    check_report_to(None)


def test_the_error_is_the_users(tmp_path):
    (tmp_path / "log").write_text("a file")
    with pytest.raises(UserError, match="--report-to tensorboard: tensorboard cannot be started"):
        train("tensorboard", tmp_path)
