"""CSVs that are less than perfect, through the commands: warnings on stderr, and --skip-bad-rows."""

import json
from pathlib import Path

import pytest
from helpers import DIAGRAM, EMBEDDED_RUN, ORPO_HEADER, SFT_HEADER, STEP_1, STEP_2, STEP_3, finish_step_1

from diagram import parse
from diagram.contact_sheet import answered, contact_sheet
from fine_tuning.common import Step
from fine_tuning.data.csv_rows import read_rows
from fine_tuning.data.scoring import scoring_of
from fine_tuning.data.sft_csv import read_sft_rows
from fine_tuning.run.command_line import make_parser, to_options
from fine_tuning.run.run_state import RunState
from fine_tuning.sampling.generation import Answer
from fine_tuning.sampling.samples import sample_row

OFF = DIAGRAM.replace("100, 300", "20, 300")
ODD = [
    OFF,
    OFF.replace("[]]", "[0]]"),
    DIAGRAM.replace("[]]", "[0, 0]]"),
    DIAGRAM.replace("[0,", "[4,"),
    DIAGRAM + "\n\n",
]


def csv_of(workspace: Path, name: str) -> Path:
    return workspace / "create_dataset" / f"{name}_dataset_llm.csv"


@pytest.mark.parametrize(("script", "name"), [(STEP_1, "sft"), (STEP_2, "orpo")])
def test_a_step_warns_once_about_imperfect_references_and_goes_on(start, workspace, script, name):
    path = csv_of(workspace, name)
    end = ",1.0\n" if name == "orpo" else "\n"
    path.write_text((ORPO_HEADER if name == "orpo" else SFT_HEADER) + "".join(f"p{k},{OFF}{end}" for k in range(4)))
    finish_step_1(workspace) if script == STEP_2 else None
    run = start(script, *EMBEDDED_RUN, workspace)
    warning, imported = run.stderr.splitlines()
    assert imported.endswith(" was imported")
    assert warning == (
        f"warning: {path}: 4 references have shapes off the canvas (rows 1, 2, 3, ...); they are used as they are"
    )


def test_step_3_warns_about_both_files(start, workspace):
    csv_of(workspace, "sft").write_text(f"{SFT_HEADER}a,{OFF}\nb,{DIAGRAM}\n")
    csv_of(workspace, "orpo").write_text(f"{ORPO_HEADER}c,{DIAGRAM},1.0\nc,x,0.5\nd,{OFF},1.0\nd,x,0.5\n")
    finish_step_1(workspace)
    lines = start(STEP_3, *EMBEDDED_RUN, workspace).stderr.splitlines()
    assert [line.split(": ")[:2] for line in lines[:-1]] == [
        ["warning", str(csv_of(workspace, name))] for name in ("sft", "orpo")
    ]


def test_the_log_lists_the_warnings_beside_the_data(monkeypatch, workspace):
    csv_of(workspace, "sft").write_text(f"{SFT_HEADER}a,{OFF}\nb,{DIAGRAM}\nc,no\n")
    monkeypatch.setattr("sys.argv", ["sft_fine_tuning.py", *EMBEDDED_RUN, str(workspace), "--skip-bad-rows"])
    step = Step(1, "")
    step.read(read_sft_rows)
    step.log_data({"rows": 2})
    assert step.log.sections["Data"] == {
        "rows": 2,
        "sft_dataset_llm.csv: rows left out (--skip-bad-rows)": "1 (row 3): output_data is not a valid diagram (1)",
        "sft_dataset_llm.csv: references with shapes off the canvas": "1 (row 1)",
    }


@pytest.mark.parametrize("script", [STEP_1, "fine_tuning/run_all.py"])
def test_bad_rows_are_refused_without_the_flag_and_left_out_with_it(start, refused, workspace, script):
    path = csv_of(workspace, "sft")
    path.write_text(f"{SFT_HEADER}a,{DIAGRAM}\nb,no\n,{DIAGRAM}\nc,{DIAGRAM}\n")
    assert len(refused(script, *EMBEDDED_RUN, workspace)) == 2
    run = start(script, *EMBEDDED_RUN, workspace, "--skip-bad-rows")
    line = (
        f"warning: {path}: 2 rows are left out (rows 2-3): output_data is not a valid diagram (1); input_data is empty"
    )
    assert run.stderr.startswith(line) and "was imported" in run.stderr


def test_a_command_that_a_message_suggests_has_the_flag_too(refused, workspace):
    (message,) = refused(STEP_2, *EMBEDDED_RUN, workspace, "--skip-bad-rows")
    assert message.endswith(f"{STEP_1} --model embedded --workspace {workspace} --skip-bad-rows")


def test_the_flag_is_recorded_but_is_no_change_of_a_run(start, workspace):
    flags = ["--model", "embedded", "--workspace", str(workspace)]
    with_flag, without = (to_options(make_parser("").parse_args([*flags, *more])) for more in (["--skip-bad-rows"], []))
    assert (with_flag.settings()["skip bad rows"], without.settings()["skip bad rows"]) == (True, False)
    state = RunState(workspace / "models" / "sft")
    earlier = {name: value for name, value in without.settings().items() if name != "skip bad rows"}
    for stored in (earlier, without.settings(), with_flag.settings()):
        state.begin(stored, restart=True)
        assert state.differences(with_flag.settings()) == state.differences(without.settings()) == []
        assert json.loads(state.path.read_text())["settings"] == stored


def test_max_rows_does_not_look_at_the_rows_beyond(start, refused, workspace):
    csv_of(workspace, "sft").write_text(f"{SFT_HEADER}a,{DIAGRAM}\nb,{DIAGRAM}\nc,no\nd\ne,{OFF}\n")
    run = start(STEP_1, *EMBEDDED_RUN, workspace, "--max-rows", "2")
    assert run.stderr.endswith(" was imported\n") and "warning" not in run.stderr
    assert refused(STEP_1, *EMBEDDED_RUN, workspace, "--max-rows", "3")


def test_samples_validation_and_pictures_work_with_every_imperfect_reference(workspace):
    path = csv_of(workspace, "orpo")
    good = [f"g{k},{DIAGRAM},1.0\n" for k in range(20)]
    quoted = [odd.replace('"\n\n', '\n\n"') for odd in ODD]
    path.write_text(ORPO_HEADER + "".join(good) + "".join(f"p{k},{odd},1.0\n" for k, odd in enumerate(quoted)))
    rows = read_rows(path, True, "", unique=True)
    assert len(rows) == 25
    scoring = scoring_of(rows)
    for row in rows:
        sample = sample_row(row, Answer(row.answer, True, 50), scoring, row.fields)
        assert 0.3 < float(sample["score"]) <= 1
        assert float(sample_row(row, Answer("nothing", True, 50), scoring, row.fields)["score"]) == 0
    cells = [answered(row.prompt, parse(row.answer), parse(row.answer), 1.0) for row in rows]
    assert contact_sheet(cells).width == 1800
