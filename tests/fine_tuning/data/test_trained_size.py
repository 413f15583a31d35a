"""How many shapes the largest diagram has that an adapter was trained on: stored, or else found in the SFT CSV."""

import csv
import json

import pytest
from helpers import finish_step_1

from fine_tuning.data.sft_csv import read_sft_rows
from fine_tuning.data.split import split_prompts
from fine_tuning.data.trained_size import LARGEST, largest_of, largest_trained
from fine_tuning.run.command_line import make_parser, to_options
from fine_tuning.run.files import sha256
from fine_tuning.run.run_state import RunState

LINE = "[{}, {}, 300, 'circle', 40, 40, 'solid arrow', (255, 228, 196), (0, 0, 0), []]"


def shapes(count):
    return "\n".join(LINE.format(k, 60 * k + 50) for k in range(count))


@pytest.fixture
def options(workspace):
    with open(workspace / "create_dataset" / "sft_dataset_llm.csv", "w", newline="") as file:
        csv.writer(file).writerows([("input_data", "output_data"), *((f"p{k}", shapes(k)) for k in range(1, 13))])
    finish_step_1(workspace)
    return to_options(make_parser("").parse_args(["--model", "embedded", "--workspace", str(workspace)]))


def store(folder, size):
    state = RunState(folder)
    settings = dict(state.stored_settings)
    state.begin(settings, restart=False)
    state.finish(settings, {LARGEST: size} if size else {"loss": 0.1})


def test_the_largest_reference_counts():
    assert largest_of([shapes(2), shapes(7), shapes(3)]) == 7
    assert largest_of([]) == 0


def test_the_stored_size_is_used(options):
    store(options.workspace.sft_model, 9)
    assert largest_trained(options, options.workspace.sft_model) == 9


@pytest.mark.parametrize(("in_step_3", "expected"), [(12, 12), (4, 9), (None, 9)])
def test_step_3_adds_what_it_was_trained_on(options, in_step_3, expected):
    store(options.workspace.sft_model, 9)
    store(options.workspace.orpo_model, in_step_3)
    assert largest_trained(options, options.workspace.orpo_model) == expected


def test_a_run_of_an_earlier_version_has_the_size_of_the_training_rows_of_its_csv(options):
    rows = read_sft_rows(options).rows
    trained, held_out = split_prompts(rows, options.seed)
    assert held_out
    expected = max(int(prompt[1:]) for prompt in trained)
    assert largest_trained(options, options.workspace.sft_model) == expected


@pytest.mark.parametrize("damage", ["another CSV", "no CSV", "a broken CSV"])
def test_without_the_csv_that_step_1_read_the_size_is_unknown(options, damage):
    path = options.workspace.sft_csv
    if damage == "no CSV":
        path.unlink()
    else:
        path.write_text(path.read_text() + ("p99,x\n" if damage == "another CSV" else '"'))
    if damage == "a broken CSV":
        run = RunState(options.workspace.sft_model)
        stored = json.loads(run.path.read_text())
        stored["settings"]["data sha256"] = sha256(path)
        run.path.write_text(json.dumps(stored))
    assert largest_trained(options, options.workspace.sft_model) is None
