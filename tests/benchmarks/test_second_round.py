"""Round 2: which prompts it samples, what its CSVs keep of those of round 1, and that it notices a new round 1."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from helpers import DIAGRAM, finish_step_1, problems_of

from benchmarks import second_round
from benchmarks.evaluation import options_of
from fine_tuning.data.csv_rows import Row
from fine_tuning.data.orpo_csv import read_answers, read_references
from fine_tuning.data.sft_csv import read_sft_rows
from fine_tuning.data.split import limit_prompts, split_prompts
from fine_tuning.run import sample_store
from fine_tuning.run.csv_bytes import columns_of
from fine_tuning.run.errors import UserError
from fine_tuning.run.run_state import RunState
from fine_tuning.run.step_order import check_split, check_step_1
from fine_tuning.run.workspace import Workspace

PROMPTS = [f"prompt {number}, with a comma" for number in range(10)]
COLUMNS = ["mine", "input_data", "output_data", "score", "ended", ""]
FLAWLESS = PROMPTS[:6]


@pytest.fixture
def options(tmp_path):
    """A workspace after step 3, with samples: all those of FLAWLESS have score 1.0."""
    root = tmp_path / "demo"
    place = Workspace(root)
    place.sft_csv.parent.mkdir(parents=True)
    diagram = DIAGRAM.strip('"')
    references = [[f"note {prompt}", prompt, diagram, "1.0", "", ""] for prompt in PROMPTS]
    write(place.sft_csv, COLUMNS[1:3], [[f"sft {prompt}", diagram] for prompt in PROMPTS])
    write(place.orpo_csv, COLUMNS, references)
    sample_store.begin(place.orpo_csv, {}, [20])
    scores = {prompt: ("1", "1") if prompt in FLAWLESS else ("1", "0.4") for prompt in PROMPTS}
    samples = [[f"note {prompt}", prompt, diagram, score, "true", ""] for prompt in PROMPTS for score in scores[prompt]]
    write(place.orpo_csv, None, samples)
    finish_step_1(root)
    shutil.copytree(place.sft_model, place.orpo_model)
    (place.orpo_model / "adapter_model.safetensors").write_bytes(b"the adapter of step 3")
    (place.orpo_model / "tokenizer.json").write_text("{}")
    return options_of(["--model", "embedded", "--workspace", str(root)])


def write(path: Path, columns: list[str] | None, records: list[list[str]]) -> None:
    with open(path, "a", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([columns, *records] if columns else records)


def prepare(options) -> tuple[Workspace, list[Row], set[str], set[str]]:
    rows = limit_prompts(read_answers(options).rows, options.max_rows)
    train, _ = split_prompts(rows, options.seed)
    left_out = second_round.always_flawless(rows, options) & train
    place = second_round.round_workspace(options)
    second_round._prepare(options, place, rows, train, left_out)
    return place, rows, train, left_out


def options_of_round(options, place: Workspace):
    seed = str(second_round._seed(options))
    return options_of(["--model", "embedded", "--workspace", str(place.root), "--seed", seed])


def records_of(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_prompts_whose_samples_are_all_flawless_are_left_out_for_training(options):
    place, _, train, left_out = prepare(options)
    assert left_out == set(FLAWLESS) & train
    prompts = [record["input_data"] for record in records_of(place.orpo_csv)]
    assert prompts == [prompt for prompt in PROMPTS if prompt not in left_out]


def test_a_prompt_that_is_held_out_stays_held_out(options):
    place, rows, _, left_out = prepare(options)
    new = options_of_round(options, place)
    held_out = split_prompts(rows, options.seed)[1]
    assert split_prompts(read_references(new).rows, new.seed)[1] == held_out
    sft = [read_sft_rows(some).rows for some in (options, new)]
    assert split_prompts(sft[0], options.seed) == split_prompts(sft[1], new.seed)


def test_columns_of_the_users_own_survive_and_samples_get_the_round(options):
    place, *_ = prepare(options)
    assert columns_of(place.orpo_csv) == [*COLUMNS, "round", "split"]
    reference = read_references(options_of_round(options, place)).rows[0]  # a sample has its cells
    assert (reference.fields["mine"], reference.fields["round"]) == (f"note {reference.prompt}", "2")
    assert reference.fields["ended"] == ""


def test_the_new_workspace_is_as_step_1_would_leave_it_with_the_adapter_of_step_3(options):
    place, *_ = prepare(options)
    new = options_of_round(options, place)
    check_step_1(new)
    check_split(new)
    assert (place.sft_model / "adapter_model.safetensors").read_bytes() == b"the adapter of step 3"
    assert (place.sft_model / "tokenizer.json").exists() and place.sampling_state() is None


def test_samples_of_both_rounds_are_told_apart_by_a_column(options):
    place, rows, _, _ = prepare(options)
    new = options_of_round(options, place)
    count = len(read_references(new).rows)
    sample_store.begin(place.orpo_csv, {}, [1])
    write(place.orpo_csv, None, [["note", PROMPTS[9], "none", "0.0", "false", "", "2", "train"]])
    second_round._write_both_rounds(place, rows, read_answers(new).rows, options, new)
    records = records_of(place.orpo_csv.with_name(second_round.BOTH_ROUNDS))
    assert [record["round"] for record in records] == [""] * 10 + ["1"] * 20 + ["2"]
    assert records[-1]["output_data"] == "none" and records[0]["mine"] == f"note {PROMPTS[0]}"
    assert count < 10


def test_a_second_start_keeps_the_workspace_and_a_new_round_1_discards_it(options, capsys):
    place, *_ = prepare(options)
    (place.root / "mark").touch()
    prepare(options)
    assert (place.root / "mark").exists() and capsys.readouterr().err == ""
    (options.workspace.orpo_model / "adapter_model.safetensors").write_bytes(b"another adapter")
    prepare(options)
    assert not (place.root / "mark").exists() and "round 1 has changed" in capsys.readouterr().err


def test_a_workspace_that_a_stop_left_unfinished_is_made_again(options):
    left = options.workspace.root / f".{second_round.FOLDER}.unfinished" / "create_dataset"
    left.mkdir(parents=True)
    (left / "half.csv").write_text("half")
    place, *_ = prepare(options)
    assert place.orpo_csv.exists() and not left.parent.exists()
    assert not (place.root / "create_dataset" / "half.csv").exists()


def test_a_folder_of_the_users_own_is_not_discarded(options):
    own = options.workspace.root / second_round.FOLDER / "notes.txt"
    own.parent.mkdir()
    own.write_text("mine")
    with pytest.raises(UserError, match="is not a workspace of round 2. Rename it"):
        prepare(options)
    assert own.read_text() == "mine"


def test_an_adapter_counts_only_if_it_is_finished_and_made_from_the_present_one(options):
    place, *_ = prepare(options)
    assert second_round.finished_adapter(options) is None
    state = RunState(place.orpo_model)
    state.begin({}, restart=False)
    assert second_round.finished_adapter(options) is None
    state.finish({}, {"training steps": 1})
    assert second_round.finished_adapter(options) == place.orpo_model
    (options.workspace.orpo_model / "adapter_model.safetensors").write_bytes(b"another adapter")
    assert second_round.finished_adapter(options) is None


def test_a_column_named_round_of_the_users_own_is_not_overwritten(options):
    csv_path = options.workspace.orpo_csv
    csv_path.write_text(csv_path.read_text().replace("mine,", "round,", 1))
    sample_store.state_path(csv_path).unlink()
    assert "column 'round'" in problems_of(prepare, options)[0]


def test_round_2_before_step_3_names_the_command(options, monkeypatch, start):
    shutil.rmtree(options.workspace.orpo_model)
    done = start("benchmarks/second_round.py", "--model", "embedded", "--workspace", options.workspace.root)
    assert done.returncode == 2 and "orpo_fine_tuning.py" in done.stderr and "Traceback" not in done.stderr


def test_where_everything_is_flawless_round_2_says_so_and_trains_nothing(options, start):
    csv_path = options.workspace.orpo_csv
    csv_path.write_text(csv_path.read_text().replace("0.4,true", "1,true"))
    done = start("benchmarks/second_round.py", "--model", "embedded", "--workspace", options.workspace.root)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["training prompts"] == 0 and "nothing left to prefer" in result["not trained"]
    assert second_round.round_figures(options) == result and second_round.finished_adapter(options) is None
