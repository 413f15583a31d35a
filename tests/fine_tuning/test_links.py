"""Paths in flags: ~ is the home folder, and a link to a drive that is not plugged in is not a new workspace."""

import pytest
from helpers import EMBEDDED_RUN, ROOT, STEP_1, STEP_2

from fine_tuning.run.command_line import make_parser, to_options

SCRIPTS = [STEP_1, STEP_2, "fine_tuning/run_all.py"]


@pytest.fixture
def home(environment, monkeypatch, tmp_path, workspace):
    """A home folder with the workspace `demo`, for this process and the scripts that it starts."""
    monkeypatch.setitem(environment, "HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("inside", ["", "deeper/demo"], ids=["itself", "below it"])
def test_a_workspace_that_is_a_link_to_a_missing_drive_is_refused(refused, tmp_path, script, inside):
    link, target = tmp_path / "link", tmp_path / "unplugged"
    link.symlink_to(target)
    (message,) = refused(script, *EMBEDDED_RUN, link / inside)
    assert f"{link} is a link to {target}, which does not exist. Connect that drive" in message
    assert not target.exists()


@pytest.mark.parametrize("name", ["create_dataset", "models", "models/sft", "models/orpo", "log"])
def test_a_folder_of_the_workspace_that_is_a_link_to_a_missing_drive_is_refused(refused, tmp_path, name):
    link, target = tmp_path / "demo" / name, tmp_path / "unplugged" / "drive"
    link.parent.mkdir(parents=True)
    link.symlink_to(target)
    (message,) = refused(STEP_1, *EMBEDDED_RUN, tmp_path / "demo")
    assert f"{link} is a link to {target}, which does not exist" in message


@pytest.mark.parametrize("name", ["sft", "orpo"])
def test_a_csv_that_is_a_link_to_a_missing_file_is_named_as_such(refused, workspace, name):
    path = workspace / "create_dataset" / f"{name}_dataset_llm.csv"
    path.unlink()
    path.symlink_to("../elsewhere.csv")
    (message,) = refused(STEP_1, *EMBEDDED_RUN, workspace)
    assert f"{path} is a link to ../elsewhere.csv, which does not exist" in message


def test_links_to_places_that_exist_are_followed(start, workspace, tmp_path):
    (tmp_path / "drive").mkdir()
    (workspace / "models").symlink_to(tmp_path / "drive")
    (tmp_path / "link").symlink_to(workspace)
    assert start(STEP_1, *EMBEDDED_RUN, tmp_path / "link").stderr.endswith(" was imported\n")


@pytest.mark.parametrize("flag", [["--workspace", "~/demo"], ["--workspace=~/demo"]], ids=["apart", "with ="])
def test_a_tilde_in_the_workspace_is_the_home_folder(start, home, flag):
    (home / "demo" / "create_dataset" / "sft_dataset_llm.csv").unlink()
    run = start(STEP_1, "--model", "embedded", *flag)
    assert run.returncode == 2 and run.stderr.startswith(f"error: {home}/demo/create_dataset/sft_dataset_llm.csv")
    assert not (ROOT / "~").exists()


def test_a_tilde_in_the_model_is_the_home_folder(home):
    options = to_options(make_parser("").parse_args(["--model", "~/models/mine", "--workspace", "~/demo"]))
    assert options.model == options.model_source == f"{home}/models/mine"
    assert options.workspace.root == home / "demo"


def test_a_tilde_in_an_output_is_the_home_folder(start, home):
    run = start("create_dataset/create_dataset.py", "--output", "~/made")
    assert run.returncode == 0 and (home / "made" / "sft_dataset_llm.csv").is_file()
    flags = ["--model", "embedded", "--workspace", "~/demo", "--output", "~/none/net.png"]
    run = start("fine_tuning/ask.py", *flags, "a request")
    assert f"error: --output {home}/none/net.png: there is no such folder" in run.stderr
