"""The benchmarks run and print a table with ratios and, as the last line, JSON."""

import json
import sys
import time

import pytest
from families import tiny_model
from helpers import ROOT

from benchmarks import architecture, embedded_model, generation, grammar, loss_equality, pipeline, training_speed
from fine_tuning.run.commands import PROJECT

NARROW = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 2, "num_key_value_heads": 2}
REAL = ["--architecture", "real", "--layers", "1"]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(generation, "PLAIN_LIMIT", 40)
    monkeypatch.setattr(generation, "token_limit", lambda reference: min(reference, 40))
    for name, value in NARROW.items():
        monkeypatch.setitem(architecture.REAL_ARCHITECTURE, name, value)
    for module in (generation, training_speed):
        monkeypatch.setattr(module, "MEAN_PROMPT", 8)
        monkeypatch.setattr(module, "MEAN_ANSWER", 10)
    monkeypatch.setattr(training_speed, "LONGEST_PROMPT", 12)
    monkeypatch.setattr(training_speed, "LONGEST_ANSWER", 20)


def run(module, monkeypatch, capsys, *flags):
    monkeypatch.setattr(sys, "argv", [module.__name__, *flags])
    module.main()
    *table, last = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("|", "{"))]
    assert all(line.count("|") == table[0].count("|") for line in table)
    return table[2:], json.loads(last)


@pytest.mark.parametrize("flags", [[], REAL, [*REAL, "--longest"]])
def test_training_speed_reports_the_ratio_to_trl(monkeypatch, capsys, flags):
    table, result = run(training_speed, monkeypatch, capsys, *flags, "--steps", "1", "--rounds", "1")
    assert [row.split("|")[1].strip() for row in table] == ["ORPO", "SFT"]
    for name in ("ORPO", "SFT"):
        measured = result[name]
        assert measured["ratio"] == pytest.approx(measured["steps per second"] / measured["TRL steps per second"])


@pytest.mark.parametrize("flags", [["--longest"], ["--load-in-4bit"], [*REAL, "--pairs", "orpo.csv"]])
def test_training_speed_refuses_flags_of_the_other_architecture(monkeypatch, capsys, flags):
    monkeypatch.setattr(sys, "argv", ["training_speed.py", *flags])
    with pytest.raises(SystemExit) as end:
        training_speed.main()
    assert end.value.code == 2 and f"{flags[-1 if len(flags) == 1 else -2]}" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [[], REAL])
def test_generation_reports_how_much_faster_step_2_is_than_the_plain_loop(monkeypatch, capsys, flags):
    table, result = run(generation, monkeypatch, capsys, *flags, "--samples", "3", "--alone", "1", "--continuous")
    plain, *_, generate, ours, continuous = result["results"]
    assert (generate["way"], ours["way"]) == ("transformers' generate", "static cache")
    assert generate["tokens"] == ours["tokens"]
    assert continuous["name"] == "continuous batching" and continuous["samples"] == 3 and continuous["tokens"] > 3
    assert len(table) == len(result["results"])
    assert (plain["samples"], plain["tokens"], ours["samples"]) == (1, 10 if flags else 40, 3)
    assert ours["times faster"] == pytest.approx(ours["per minute"] / plain["per minute"])


def test_answers_of_a_random_model_parse_only_if_they_are_held_to_the_grammar(monkeypatch, capsys, tmp_path):
    model = tiny_model(tmp_path / "model", "qwen2")
    flags = ["--model", str(model), "--workspace", str(tmp_path), "--prompts", "3", "--alone", "1", "--limit", "60"]
    table, result = run(grammar, monkeypatch, capsys, *flags)
    shares = [figures["parses without a problem"] for figures in result["figures"].values()]
    assert len(table) == 4 and shares == [0, 1, 0, 1]


def test_loss_equality_finds_all_losses_equal(monkeypatch, capsys):
    monkeypatch.setattr(loss_equality, "NARROW", NARROW)
    table, result = run(loss_equality, monkeypatch, capsys)
    assert len(table) == len(result) == 12
    assert all(row.split("|")[-2].strip() == "yes" for row in table)


def test_every_file_that_an_evaluation_depends_on_exists():
    assert [name for name in embedded_model.MADE_BY if not (PROJECT / name).is_file()] == []


def test_a_stopwatch_counts_nested_calls_once():
    watch = pipeline.Stopwatch()
    inner = watch.around(lambda: time.sleep(0.05))
    begin = time.perf_counter()
    watch.around(lambda: (inner(), inner()))()
    assert 0.1 <= watch.seconds <= time.perf_counter() - begin


@pytest.mark.slow
def test_pipeline_reports_importing_tokenising_and_logging_for_each_step(monkeypatch, capsys):
    table, result = run(pipeline, monkeypatch, capsys, "--max-rows", "6")
    assert len(table) == 4
    for step in pipeline.STEPS:
        assert all(0 < result[step][name] < result[step]["seconds"] for name in ("importing", "tokenising", "logging"))


@pytest.mark.slow
def test_pipeline_times_the_real_architecture_with_random_weights(monkeypatch, capsys):
    folder = ROOT.parent / "shared" / "deepseek-coder-1.3b-instruct"
    if not folder.is_dir():
        pytest.skip(f"the real tokenizer is not at {folder}")
    table, result = run(pipeline, monkeypatch, capsys, *REAL, "--tokenizer", str(folder), "--max-rows", "5")
    assert len(table) == 4 and result["all"]["seconds"] > 0


def test_the_real_architecture_is_not_timed_without_its_tokenizer(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["pipeline.py", *REAL])
    with pytest.raises(SystemExit):
        pipeline.main()
    assert "--tokenizer FOLDER" in capsys.readouterr().err
