"""The benchmark of a pre-trained model: which samples SFT repeats with, the intervals, the tables, and a whole run."""

import json
import shutil
import subprocess
import sys

import pytest
from helpers import DIAGRAM, ORPO_HEADER, ROOT

from benchmarks import evaluation, pretrained_model, pretrained_tables
from benchmarks.paired import differences_by_prompt, paired_interval
from benchmarks.pretrained_tables import (
    BASE,
    EXAMPLES,
    GRAPH,
    GREEDY,
    LAID_OUT,
    ON_BEST,
    ORPO,
    ROUND_2,
    SETS,
    SFT,
    WAYS,
    SeedRun,
)
from benchmarks.rejection_sampling import best_samples, repetitions, samples_of
from fine_tuning.data.csv_rows import Row, read_rows
from fine_tuning.run import sample_store
from fine_tuning.run.errors import UserError

ENDED, CUT_OFF = {"ended": "true"}, {"ended": "false"}


def sample(prompt: str, answer: str, score: float, ended: bool = True) -> Row:
    return Row(prompt, answer, score, "flowchart", ENDED if ended else CUT_OFF, ended=ended)


def seed_run(score: dict[str, float], models=(BASE, SFT, ON_BEST, ORPO)) -> SeedRun:
    answers = {
        (model, prompts, way): [{"score": score[model], "ended by itself": 1.0}] * 3
        for model in models
        for prompts in SETS
        for way in (GREEDY if model in (EXAMPLES, GRAPH) else WAYS)
    }
    return SeedRun({name: ["a", "b", "c"] for name in SETS}, answers, {"ORPO: steps": 5})


def test_the_best_sample_of_each_training_prompt_is_trained_on():
    rows = [sample("a", "1", 0.5), sample("a", "2", 0.9), sample("a", "3", 0.9), sample("b", "4", 0.8)]
    assert [row.answer for row in best_samples([*rows, sample("held out", "5", 1.0)], {"a", "b"})] == ["2", "4"]


def test_a_prompt_whose_best_sample_is_below_the_mean_of_all_samples_is_left_out():
    rows = [sample("a", "1", 0.9), sample("a", "2", 0.8), sample("b", "3", 0.2), sample("b", "4", 0.1)]
    assert [row.answer for row in best_samples(rows, {"a", "b"})] == ["1"]


def test_a_sample_that_never_ended_is_not_trained_on():
    rows = [sample("a", "1", 0.9, ended=False), sample("a", "2", 0.3)]
    assert [row.answer for row in best_samples(rows, {"a"})] == ["2"]
    assert best_samples(rows[:1], {"a"}) == []


def test_only_step_2s_rows_are_samples(workspace):
    options = evaluation.options_of(["--model", "embedded", "--workspace", str(workspace)])
    csv_path = options.workspace.orpo_csv
    csv_path.write_text(ORPO_HEADER + f"c,{DIAGRAM},1.0\nd,{DIAGRAM},1.0\n")
    rows = read_rows(csv_path, scored=True, remedy="")
    assert samples_of(rows, options) == []
    sample_store.begin(csv_path, {}, [1])
    with open(csv_path, "a") as file:
        file.write("c,none,0.0\n")
    assert [row.answer for row in samples_of(read_rows(csv_path, scored=True, remedy=""), options)] == ["none"]


def test_repetitions_use_all_rows_equally_often():
    indices = repetitions(4, 10, seed=1)
    assert sorted(map(indices.count, range(4))) == [2, 2, 3, 3]
    assert len(set(repetitions(10, 4, seed=1))) == 4
    assert repetitions(4, 10, seed=1) != repetitions(4, 10, seed=2)


def test_an_interval_is_near_that_of_the_normal_approximation_and_the_same_each_time():
    differences = [0.1 * (k % 7) - 0.2 for k in range(700)]  # mean 0.1, standard deviation 0.2
    interval = paired_interval(differences)
    assert interval.mean == pytest.approx(0.1)
    assert interval.high - interval.mean == pytest.approx(1.96 * 0.2 / 700**0.5, rel=0.1)
    assert interval.mean - interval.low == pytest.approx(1.96 * 0.2 / 700**0.5, rel=0.1)
    assert interval == paired_interval(differences)


def test_an_interval_of_equal_differences_is_a_point():
    assert paired_interval([0.0] * 9) == (0, 0, 0)


def test_differences_are_paired_by_prompt_and_averaged_over_seeds():
    first = (["a", "b"], [{"score": 0.5}, {"score": 0.5}], [{"score": 0.75}, {"score": 0.5}])
    second = (["b", "c"], [{"score": 0.5}, {"score": 0.0}], [{"score": 1.0}, {"score": 0.25}])
    assert differences_by_prompt([first, second], "score") == [0.25, 0.25, 0.25]


def test_an_answer_without_a_figure_does_not_count_for_it():
    run = (["a", "b"], [{"labels right": 0.5}, {}], [{"labels right": 1.0}, {}])
    assert differences_by_prompt([run], "labels right") == [0.5]


def test_the_tables_show_each_seed_and_both_differences():
    runs = {
        1: seed_run({BASE: 0.0, SFT: 0.8, ON_BEST: 0.85, ORPO: 0.9}),
        2: seed_run({BASE: 0, SFT: 0.9, ON_BEST: 1, ORPO: 1}),
    }
    text = pretrained_tables.tables(runs)
    assert "belong to the seeds 1, 2, in this order." in text
    assert "| score, fresh, greedy | 0.000 0.000 | 0.800 0.900 | 0.850 1.000 | 0.900 1.000 |" in squeezed(text)
    plus, none = "+0.100 (+0.100 to +0.100)", "+0.000 (+0.000 to +0.000)"
    assert f"| score, fresh, greedy | {plus} | {plus} | {plus} |" in squeezed(text)
    assert f"| score, fresh, greedy | +0.050 (+0.050 to +0.050) | {none} | +0.025 (+0.025 to +0.025) |" in squeezed(
        text
    )
    assert "| the score of SFT is at least 0.85 | no: 0.800 and 0.850 | yes: 0.900 and 0.850 |" in squeezed(text)
    figures = pretrained_tables.as_json(runs)
    assert figures["seeds"]["1"]["means"]["ORPO, score, fresh, greedy"] == pytest.approx(0.9)
    json.dumps(figures)


def test_the_tables_leave_open_what_a_seed_could_not_train():
    run = seed_run({BASE: 0.0, SFT: 0.8, ORPO: 0.9}, models=(BASE, SFT, ORPO))
    text = squeezed(pretrained_tables.tables({1: run}))
    assert "at temperature 1. Seed 1. |" in text
    assert "| score, fresh, greedy | 0.000 | 0.800 | - | 0.900 |" in text
    assert "| score, fresh, greedy | not measured |" in text


def test_a_figure_that_no_answer_has_is_not_in_the_tables():
    assert "labels right" not in pretrained_tables.tables({1: seed_run({BASE: 0.0, SFT: 0, ON_BEST: 0, ORPO: 0})})


def test_round_2_and_the_yardsticks_stand_beside_the_models_and_are_compared_with_them():
    score = {BASE: 0.0, EXAMPLES: 0.3, GRAPH: 0.4, SFT: 0.5, LAID_OUT: 0.6, ON_BEST: 0.5, ORPO: 0.7, ROUND_2: 0.8}
    runs = {seed: seed_run(score, tuple(score)) for seed in (1, 2)}
    text = squeezed(pretrained_tables.tables(runs))
    assert "| score, fresh, greedy | 0.000 0.000 | 0.300 0.300 | 0.400 0.400 | 0.500 0.500 | 0.600 0.600 |" in text
    assert "| score, fresh, sampled | 0.000 0.000 | - - | - - | 0.500 0.500 | 0.600 0.600 |" in text
    assert f"{ROUND_2} minus {ORPO}: the mean difference" in text
    plus = [f"{difference} ({difference} to {difference})" for difference in ("+0.300", "+0.200", "+0.400", "+0.100")]
    assert f"| score, fresh, greedy | {plus[0]} | {plus[1]} | {plus[2]} | {plus[3]} |" in text
    assert f"| score, fresh, sampled | - | - | - | - | - | {plus[3]} | {plus[3]} |" in text
    assert f"| the score of {ROUND_2} is higher than that of {ORPO} | yes: 0.800 and 0.700 |" in text
    figures = pretrained_tables.as_json(runs)
    assert figures["differences"][f"{SFT} - {EXAMPLES}, score, fresh, greedy"]["all seeds"][0] == pytest.approx(0.2)


def test_what_was_not_measured_has_no_column():
    text = pretrained_tables.tables({1: seed_run({BASE: 0.0, SFT: 0, ON_BEST: 0, ORPO: 0})})
    assert "Graphviz" not in text and ROUND_2 not in text


def test_a_prompt_that_did_not_fit_counts_for_no_figure_of_its_yardstick():
    run = seed_run({BASE: 0.0, EXAMPLES: 0.5, SFT: 1.0, ON_BEST: 0, ORPO: 0}, (BASE, EXAMPLES, SFT, ON_BEST, ORPO))
    run.answers[EXAMPLES, "fresh", "greedy"][:] = [{}, {"score": 0.5, "ended by itself": 1.0}, {}]
    assert run.mean(EXAMPLES, "fresh", "greedy", "score") == 0.5
    assert "| score, fresh, greedy | +0.500 (+0.500 to +0.500) |" in squeezed(pretrained_tables.tables({1: run}))


def squeezed(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture
def command_line(monkeypatch):
    def command_line(*flags):
        monkeypatch.setattr(sys, "argv", ["pretrained_model.py", *map(str, flags)])
        return pretrained_model.parse()

    return command_line


def test_without_flags_the_steps_get_default_settings(command_line):
    args = command_line()
    assert (args.flags, args.seeds, args.prompts) == ([], [2025, 2026, 2027], None)


def test_quick_limits_rows_tokens_and_prompts_and_has_a_folder_of_its_own(command_line):
    args = command_line("--quick")
    assert args.flags == ["--max-rows", "120", "--skip-bad-rows", "--set", "max_length=640"]
    assert (args.seeds, args.prompts) == ([2025], 6) and args.work != command_line().work
    assert command_line("--quick", "--rows", "50", "--seeds", "7").flags[:2] == ["--max-rows", "50"]


def test_other_flags_go_to_the_steps(command_line):
    flags = ["--dtype", "bfloat16", "--set", "sft.epochs=2"]
    assert command_line("--rows", "9", *flags).flags == ["--max-rows", "9", *flags]


@pytest.mark.parametrize("flags", [["--quik"], ["--set", "sft.epoch=2"], ["--dtype", "float8"], ["--workspace", "x"]])
def test_a_flag_that_no_step_can_take_is_refused_at_once(command_line, flags):
    with pytest.raises((SystemExit, UserError)):
        command_line(*flags)


def test_a_model_and_a_package_together_are_refused(command_line, capsys):
    with pytest.raises(SystemExit) as end:
        command_line("--model", "embedded", "--package", "x.whl")
    assert end.value.code == 2 and "leave out --model" in capsys.readouterr().err


def test_a_script_that_fails_ends_the_benchmark_with_its_status(tmp_path):
    with pytest.raises(SystemExit) as end:
        evaluation.run_script("fine_tuning/sft_fine_tuning.py", ["--no-such-flag"])
    assert end.value.code == 2


@pytest.mark.slow
def test_a_whole_run_with_the_embedded_model_and_a_second_start_that_repeats_nothing(tmp_path):
    command = [sys.executable, "benchmarks/pretrained_model.py", "--model", "embedded", "--seeds", "1"]
    command += ["--rows", "6", "--prompts", "2", "--work", str(tmp_path)]

    def run() -> str:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    result = json.loads(run().splitlines()[-1])["seeds"]["1"]
    assert result["trainings"]["SFT on the best samples: steps"] == result["trainings"]["ORPO: steps"] > 0
    models = (BASE, SFT, ON_BEST, ORPO, ROUND_2)
    assert {f"{model}, score, fresh, sampled" for model in models} <= set(result["means"])
    graphviz = shutil.which("dot") is not None
    yardsticks = (EXAMPLES, GRAPH, LAID_OUT) if graphviz else (EXAMPLES,)
    assert {f"{model}, score, held-out, greedy" for model in yardsticks} <= set(result["means"])
    answers = {path: path.stat().st_mtime_ns for path in tmp_path.glob("seed-1/evaluation/*.json")}
    assert len(answers) == 20 + (8 if graphviz else 2)
    assert json.loads(run().splitlines()[-1])["seeds"]["1"] == result
    assert {path: path.stat().st_mtime_ns for path in answers} == answers
