"""The options of a run, and the environment variables that they set for the libraries."""

import os

import pytest
from helpers import ROOT, problems_of

from fine_tuning.run import options as options_module
from fine_tuning.run.command_line import make_parser, to_options
from fine_tuning.run.options import Options, set_environment


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


@pytest.mark.parametrize(
    ("model", "processors", "given", "threads"),
    [
        ("embedded", 1, None, "1"),
        ("embedded", 2, None, "1"),
        ("embedded", 2, "2", "2"),
        ("embedded", 8, None, None),
        ("someone/some-model", 2, None, None),
    ],
)
def test_the_embedded_model_uses_one_thread_on_two_processors(monkeypatch, model, processors, given, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", given or "")  # so monkeypatch restores the old value after the test
    if given is None:
        monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(options_module, "usable_processors", lambda: processors)
    set_environment(Options(model))
    assert os.environ.get("OMP_NUM_THREADS") == threads


@pytest.mark.parametrize("flag", ["--seed", "--max-rows"])
def test_a_number_of_thousands_of_digits_is_refused_with_what_is_right(capsys, flag):
    with pytest.raises(SystemExit):
        make_parser("").parse_args([flag, "9" * 5000])
    message = capsys.readouterr().err
    assert "is not a whole number" in message and len(message) < 2000


def options_of(*flags: str) -> Options:
    return to_options(make_parser("").parse_args(flags))


def test_no_gradient_checkpointing_is_short_for_a_setting():
    short = options_of("--no-gradient-checkpointing")
    assert short == options_of("--set", "gradient_checkpointing=false")
    assert short.settings_given == {"gradient_checkpointing": False}
    (problem,) = problems_of(options_of, "--no-gradient-checkpointing", "--set", "gradient_checkpointing=true")
    assert "Give each setting one value" in problem


def test_plain_steps_are_no_setting_of_a_run_and_are_passed_on_to_the_next_step():
    assert options_of("--plain").settings() == options_of().settings()
    assert options_of("--plain").command("orpo_fine_tuning").endswith(" --plain")
    assert "--plain" not in options_of().command("orpo_fine_tuning")
