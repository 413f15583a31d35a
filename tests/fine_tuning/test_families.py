"""All three steps on a tiny random model of each family, and what a run depends on besides its model's files."""

import json
import shutil
from pathlib import Path

import pytest
from families import FAMILIES, tiny_model
from forked import Forked
from helpers import problems_of, rows_of, small_workspace
from transformers import AutoTokenizer

from fine_tuning.data.tokens import encode_row
from fine_tuning.run.command_line import make_parser, to_options
from fine_tuning.run.errors import UserError
from fine_tuning.run.run_state import RunState, library_changes
from fine_tuning.run.step_order import check_tokenizer, library_versions
from fine_tuning.run.workspace import Workspace

QUICK = ("gemma", "mistral")
REFUSED = ("gemma2", "phi3", "stablelm")  # stablelm by step 3


def statuses_of(forked: Forked, model: Path, workspace: Path) -> list[int]:
    """Run the steps; returns their exit statuses."""
    return [run.returncode for run in forked.steps(model, workspace)]


def tuned(forked: Forked, folder: Path, families: list[str]) -> dict[str, Path]:
    """Run all steps on a tiny model of each family. Returns the workspaces."""
    workspaces = {family: small_workspace(folder / family / "work") for family in families}
    for family, workspace in workspaces.items():
        assert statuses_of(forked, tiny_model(folder / family / "model", family), workspace) == [0, 0, 0]
    return workspaces


def check(workspace: Path) -> None:
    for step in (1, 3):
        state = RunState(workspace / "models" / ("sft" if step == 1 else "orpo"))
        settings = state.stored_settings
        assert state.is_finished and settings["libraries"] == library_versions()
        assert {"chat sha256", "tokenizer sha256"} <= settings.keys()
    sampling = Workspace(workspace).sampling_state()
    assert sampling is not None and sampling.settings["chat sha256"] == settings["chat sha256"]


@pytest.fixture(scope="module")
def quick(forked, tmp_path_factory) -> dict[str, Path]:
    return tuned(forked, tmp_path_factory.mktemp("families"), list(QUICK))


@pytest.mark.parametrize("family", QUICK)
def test_all_three_steps_run_on_a_tiny_model(quick, family):
    check(quick[family])


@pytest.mark.slow
def test_all_three_steps_run_on_tiny_models_of_all_other_families(forked, tmp_path):
    others = [family for family in FAMILIES if family not in (*QUICK, *REFUSED)]
    for workspace in tuned(forked, tmp_path, others).values():
        check(workspace)


@pytest.mark.slow
def test_a_family_that_step_3_cannot_train_leaves_no_trace_of_step_3(forked, tmp_path):
    workspace = small_workspace(tmp_path / "work")
    assert statuses_of(forked, tiny_model(tmp_path / "model", "stablelm"), workspace) == [0, 0, 2]
    assert not (workspace / "models" / "orpo").exists()
    assert not list((workspace / "log").glob("*orpo.*"))


def test_a_model_with_few_positions_is_trained_on_rows_that_fit(forked, tmp_path):
    workspace = small_workspace(tmp_path / "work")
    rows = rows_of(workspace / "create_dataset" / "orpo_dataset_llm.csv")
    tokenizer = AutoTokenizer.from_pretrained(tiny_model(tmp_path / "model", "qwen2"))
    longest = max(len(encode_row(tokenizer, row["input_data"], row["output_data"])["input_ids"]) for row in rows) + 2
    model = tiny_model(tmp_path / "model", "qwen2", positions=longest)
    # Step 3 may find no pair that fits: samples of a random model are long.
    assert statuses_of(forked, model, workspace)[:2] == [0, 0]
    sampling = Workspace(workspace).sampling_state()
    assert sampling is not None
    for settings in (RunState(workspace / "models" / "sft").stored_settings, sampling.settings):
        assert settings["max length"] == 1536 and settings["max length of the model"] == longest
    assert str(longest) in (workspace / "log" / "log_train_final_sft.md").read_text("utf-8")


def changed(workspace: Path, name: str, value: object) -> None:
    """Change a stored setting of step 1."""
    path = workspace / "models" / "sft" / "run.json"
    run = json.loads(path.read_text("utf-8"))
    run["settings"][name] = value
    path.write_text(json.dumps(run))


@pytest.mark.parametrize("name", ["chat sha256", "tokenizer sha256"])
def test_steps_after_step_1_refuse_other_tokens_than_it_was_trained_on(quick, tmp_path, name):
    workspace = Path(shutil.copytree(quick["gemma"], tmp_path / "work"))
    options = to_options(make_parser("").parse_args(["--model", "embedded", "--workspace", str(workspace)]))
    now = {
        key: RunState(workspace / "models" / "sft").stored_settings[key] for key in ("chat sha256", "tokenizer sha256")
    }
    check_tokenizer(options, now)
    changed(workspace, name, "of another template")
    (problem,) = problems_of(check_tokenizer, options, now)
    assert name in problem and "repeat step 1" in problem


@pytest.mark.parametrize("name", ["chat sha256", "tokenizer sha256", "libraries"])
def test_runs_of_earlier_versions_lack_these_settings_and_continue(quick, tmp_path, name):
    workspace = Path(shutil.copytree(quick["gemma"], tmp_path / "work"))
    state = RunState(workspace / "models" / "sft")
    now = dict(state.stored_settings)
    run = json.loads(state.path.read_text("utf-8"))
    del run["settings"][name]
    state.path.write_text(json.dumps(run))
    state.check(now, "")


def test_a_run_with_another_template_is_refused_on_resume(quick):
    state = RunState(quick["gemma"] / "models" / "sft")
    with pytest.raises(UserError, match="chat sha256 was"):
        state.check(dict(state.stored_settings) | {"chat sha256": "another"}, "")


def test_other_library_versions_are_a_note_and_no_error(quick):
    state = RunState(quick["gemma"] / "models" / "sft")
    now = dict(state.stored_settings)
    now["libraries"] = now["libraries"] | {"torch": "99.0"}
    state.check(now, "")
    assert library_changes(state.stored_settings, now) == f"torch {library_versions()['torch']} -> 99.0"
    assert library_changes({}, now) == ""
