"""The options of a run, and the environment variables that they set for the libraries."""

import os

import pytest
from helpers import ROOT

from fine_tuning.run.options import Options, make_parser, set_environment, to_options


@pytest.mark.parametrize(("given", "used"), [(None, "0"), ("0,1", "0"), ("3,2", "3"), ("", "")])
def test_at_most_one_gpu_is_used(monkeypatch, given, used):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    if given is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    set_environment(Options())
    assert os.environ["CUDA_VISIBLE_DEVICES"] == used


@pytest.mark.parametrize(
    ("model", "offline"),
    [("embedded", "1"), (str(ROOT / "fine_tuning" / "embedded_model"), "1"), ("someone/some-model", None)],
    ids=["embedded", "a local folder", "a hub id"],
)
def test_only_a_hub_model_may_access_the_hub(monkeypatch, model, offline):
    monkeypatch.setenv("HF_HUB_OFFLINE", "")  # so monkeypatch restores the old value after the test
    monkeypatch.delenv("HF_HUB_OFFLINE")
    set_environment(Options(model))
    assert os.environ.get("HF_HUB_OFFLINE") == offline


def test_the_users_own_setting_to_be_online_is_kept(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    set_environment(Options("embedded"))
    assert os.environ["HF_HUB_OFFLINE"] == "0"


@pytest.mark.parametrize("flag", ["--seed", "--max-rows"])
def test_a_number_of_thousands_of_digits_is_refused_with_what_is_right(capsys, flag):
    with pytest.raises(SystemExit):
        make_parser("").parse_args([flag, "9" * 5000])
    message = capsys.readouterr().err
    assert "is not a whole number" in message and len(message) < 2000


def test_a_command_for_another_step_keeps_the_flag_for_the_plain_way():
    options = to_options(make_parser("").parse_args(["--model", "embedded", "--plain"]))
    assert options.plain and options.command("orpo_fine_tuning").endswith("--plain")
    assert "plain" not in options.settings()  # it decides no result, so a run may continue without it
