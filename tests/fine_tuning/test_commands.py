"""The commands as a user starts them: they answer --help and mistakes at once, without a traceback, and write nothing.

In these tests torch, transformers and pandas are replaced by modules that end the program when they are imported.
"""

import importlib.util
import re

import pytest
from helpers import DIAGRAM, ORPO_HEADER, ROOT, SFT_HEADER, STEP_1, STEP_2, STEP_3, contents, cpu_seconds, finish_step_1

from fine_tuning.ask import check_output
from fine_tuning.data.csv_rows import read_rows
from fine_tuning.data.scoring import Scoring, scoring_of_answers
from fine_tuning.data.split import limit_prompts, references_of
from fine_tuning.run.command_line import make_parser, to_options
from fine_tuning.run.report_to import PACKAGES

HELP = [
    STEP_1,
    STEP_2,
    STEP_3,
    "fine_tuning/run_all.py",
    "fine_tuning/ask.py",
    "fine_tuning/page.py",
    "create_dataset/create_dataset.py",
]


@pytest.mark.parametrize("script", HELP)
def test_help_is_printed_within_two_seconds_and_without_torch(start, script):
    begin = cpu_seconds()
    run = start(script, "--help")
    assert cpu_seconds() - begin < 2
    assert (run.returncode, run.stderr) == (0, "")
    assert f"python {script}" in run.stdout
    flags = {"--model", "--revision", "--workspace", "--dtype", "--load-in-4bit"}
    ask = {"--output", "--requests", "--samples", "--top", "--seed", "--grammar", "--plain"}
    step = {"--seed", "--max-rows", "--skip-bad-rows", "--restart", "--report-to", "--set", "--plain"}
    step |= {"--no-gradient-checkpointing", "--global-batch"}
    own = {"fine_tuning/ask.py": ask, "fine_tuning/page.py": {"--port", "--open", "--plain"}}
    flags |= own.get(script, step)
    if script.startswith("create_dataset/"):
        flags = {"--seed", "--output"}
    assert set(re.findall(r"^  (--[\w-]+)", run.stdout, re.MULTILINE)) - {"--help"} == flags


def test_an_import_of_torch_would_be_noticed(start, tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import torch\n")
    run = start(str(script))
    assert (run.returncode, run.stderr) == (1, "torch was imported\n")


def test_a_script_starts_from_its_own_folder_too(start):
    run = start("sft_fine_tuning.py", "--help", cwd=ROOT / "fine_tuning")
    assert (run.returncode, run.stderr) == (0, "")
    assert "Step 1 of 3" in run.stdout


BAD_CSVS = {
    "missing": (STEP_1, "sft", None, "there is no such file"),
    "empty": (STEP_1, "sft", "", "the file is empty"),
    "without rows": (STEP_1, "sft", SFT_HEADER, "a header but no rows"),
    "without a column": (STEP_1, "sft", f"input_data,answer\na,{DIAGRAM}\n", "no column output_data"),
    "without a prompt": (STEP_1, "sft", f"{SFT_HEADER}a,{DIAGRAM}\n,{DIAGRAM}\n", "row 2: input_data is empty"),
    "with a broken reference": (
        STEP_1,
        "sft",
        f"{SFT_HEADER}a,{DIAGRAM}\nb,no\n",
        "row 2: output_data is not a valid diagram",
    ),
    "with one prompt": (STEP_1, "sft", f"{SFT_HEADER}a,{DIAGRAM}\n", "at least 2 different prompts"),
    "missing in step 2": (STEP_2, "orpo", None, "there is no such file"),
    "without scores": (STEP_2, "orpo", f"{SFT_HEADER}a,{DIAGRAM}\n", "no column score"),
    "with a bad score": (STEP_2, "orpo", f"{ORPO_HEADER}a,{DIAGRAM},1.0\nb,x,1.2\n", "row 2: score is '1.2'"),
    "without references": (STEP_2, "orpo", f"{ORPO_HEADER}a,{DIAGRAM},0.9\n", "0 prompts have a row with score 1.0"),
    "missing in step 3": (STEP_3, "orpo", None, "there is no such file"),
    "with a bad score in step 3": (STEP_3, "orpo", f"{ORPO_HEADER}a,{DIAGRAM},nan\n", "row 1: score is 'nan'"),
    "for validation in step 3 empty": (STEP_3, "sft", "", "the file is empty"),
}


@pytest.mark.parametrize(("script", "name", "content", "expected"), BAD_CSVS.values(), ids=BAD_CSVS)
def test_a_csv_with_a_problem_is_refused_and_named(refused, workspace, script, name, content, expected):
    path = workspace / "create_dataset" / f"{name}_dataset_llm.csv"
    path.unlink()
    if content is not None:
        path.write_text(content)
    finish_step_1(workspace)
    messages = refused(script, "--model", "embedded", "--workspace", workspace)
    assert len(messages) == 1
    assert messages[0].startswith(f"error: {path}") and expected in messages[0]


def test_problems_of_different_checks_are_reported_together(refused, workspace):
    (workspace / "create_dataset" / "orpo_dataset_llm.csv").write_text(f"{ORPO_HEADER},x,0.5\nb,x,2\n")
    messages = refused(STEP_2, "--model", "./none", "--workspace", workspace)
    for expected in ("row 1: input_data", "row 2: score", "error: --model ./none", "no adapter of step 1"):
        assert sum(expected in message for message in messages) == 1
    assert len(messages) == 4


@pytest.mark.parametrize("script", [STEP_1, STEP_2, STEP_3])
def test_without_a_gpu_the_default_model_is_refused_and_the_embedded_one_suggested(refused, tmp_path, script):
    messages = refused(script, "--workspace", tmp_path / "new")
    assert "CUDA" in messages[0] and "--model embedded" in messages[0]


def test_loading_in_4_bits_needs_a_gpu_and_bitsandbytes(refused, workspace):
    messages = refused(STEP_1, "--model", "embedded", "--load-in-4bit", "--workspace", workspace)
    assert "error: --load-in-4bit needs a CUDA GPU and none was found" in messages
    if importlib.util.find_spec("bitsandbytes") is None:
        assert "error: --load-in-4bit needs bitsandbytes: python -m pip install bitsandbytes" in messages


@pytest.mark.parametrize("script", [STEP_1, STEP_2, STEP_3, "fine_tuning/run_all.py"])
def test_a_dashboard_whose_package_is_missing_is_refused_with_the_command_that_installs_it(refused, workspace, script):
    missing = next((name for name in PACKAGES if importlib.util.find_spec(name) is None), None)
    if missing is None:
        pytest.skip("the packages of all dashboards are installed")
    finish_step_1(workspace)
    messages = refused(script, "--model", "embedded", "--workspace", workspace, "--report-to", missing)
    assert (
        f"error: --report-to {missing} needs the package {missing}: python -m pip install {PACKAGES[missing]}"
        in messages
    )


@pytest.mark.parametrize(("limit", "expected"), [(2, "ba"), (3, "bca"), (None, "bca")])
def test_each_prompt_within_the_limit_has_its_first_reference(tmp_path, limit, expected):
    path = tmp_path / "orpo.csv"
    path.write_text(f"{ORPO_HEADER}a,x,0.5\nb,{DIAGRAM},1.0\nc,{DIAGRAM},1.0\na,{DIAGRAM},1.0\nb,{DIAGRAM},1.0\n")
    rows = read_rows(path, scored=True, remedy="")
    found = references_of(limit_prompts(rows, limit))
    assert "".join(row.prompt for row in found) == expected
    assert all(row.score == 1 and row.number < 5 for row in found)


@pytest.mark.parametrize("output", [".", "no/folder.png"])
def test_an_output_path_that_cannot_be_written_is_refused_before_the_model_is_loaded(refused, workspace, output):
    finish_step_1(workspace)
    flags = ["--model", "embedded", "--workspace", workspace, "--output", output]
    (message,) = refused("fine_tuning/ask.py", *flags, "a request")
    assert message.startswith(f"error: --output {output}: ")


@pytest.mark.parametrize("output", ["net", "net.jpg", "net.svg.txt", "net.svgz"])
def test_an_output_path_that_names_no_kind_of_picture_is_refused_with_the_three_that_there_are(
    refused, workspace, output
):
    finish_step_1(workspace)
    flags = ["--model", "embedded", "--workspace", workspace, "--output", output]
    (message,) = refused("fine_tuning/ask.py", *flags, "a request")
    assert message.startswith(f"error: --output {output}: ") and message.endswith(" .png, .svg or .drawio")


def test_both_faults_of_an_output_path_are_reported(refused, workspace):
    finish_step_1(workspace)
    messages = refused("fine_tuning/ask.py", "--model", "embedded", "--workspace", workspace, "--output=no/a.jpg", "a")
    assert [message.startswith("error: --output no/a.jpg: ") for message in messages] == [True, True]


def test_a_tilde_in_an_output_path_is_the_home_folder(refused, workspace, monkeypatch, environment):
    finish_step_1(workspace)
    monkeypatch.setitem(environment, "HOME", str(workspace))
    flags = ["--model", "embedded", "--workspace", workspace, "--output=~/no/net.svg"]
    (message,) = refused("fine_tuning/ask.py", *flags, "a request")
    assert message.startswith(f"error: --output {workspace}/no/net.svg: there is no such folder")


@pytest.mark.parametrize("name", ["net.png", "net.PNG", "net.svg", "net.v2.drawio"])
def test_an_output_path_may_name_each_kind_of_picture_in_any_case(tmp_path, name):
    check_output(tmp_path / name)


def test_ask_refuses_an_empty_request(refused, workspace):
    finish_step_1(workspace)
    (message,) = refused("fine_tuning/ask.py", "--model", "embedded", "--workspace", workspace, " \n")
    assert message == "error: the request is empty. Say what to draw"


def test_ask_needs_no_csv_beside_an_adapter_of_an_earlier_version(workspace):
    finish_step_1(workspace)
    options = to_options(make_parser("").parse_args(["--model", "embedded", "--workspace", str(workspace)]))
    (workspace / "create_dataset" / "sft_dataset_llm.csv").unlink()
    assert scoring_of_answers(options) == Scoring(style_fixed=True, order_fixed=True)


def test_ask_refuses_no_request_and_two_sources_of_requests(refused, workspace):
    finish_step_1(workspace)
    ask = ["fine_tuning/ask.py", "--model", "embedded", "--workspace", workspace]
    (message,) = refused(*ask)
    assert message == "error: there is no request. Say what to draw, or name a file of requests with --requests"
    (workspace / "r.txt").write_text("a request\n")
    (message,) = refused(*ask, "--requests", workspace / "r.txt", "a request")
    assert message == f"error: give a request or --requests {workspace}/r.txt, not both"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "there is no such file"),
        (b"", "there is no request. Write one on each line"),
        (b"\n \t\r\n", "there is no request. Write one on each line"),
        (b"a request\n\nund noch f\xfcnf\n", "line 3 is not UTF-8. Save the file as UTF-8"),
    ],
)
def test_ask_refuses_a_file_of_requests_that_cannot_be_read(refused, workspace, content, expected):
    finish_step_1(workspace)
    path = workspace / "requests.txt"
    if content is not None:
        path.write_bytes(content)
    flags = ["--model", "embedded", "--workspace", workspace, "--requests", path]
    (message,) = refused("fine_tuning/ask.py", *flags)
    assert message == f"error: --requests {path}: {expected}"


def test_ask_refuses_a_folder_as_a_file_of_requests(refused, workspace):
    finish_step_1(workspace)
    flags = ["--model", "embedded", "--workspace", workspace, "--requests", workspace]
    (message,) = refused("fine_tuning/ask.py", *flags)
    assert message.startswith(f"error: --requests {workspace}: this is a folder")


def test_ask_refuses_to_show_more_answers_than_there_are_and_says_how_many_samples_it_takes(refused, workspace):
    finish_step_1(workspace)
    flags = ["--model", "embedded", "--workspace", workspace, "--top", "7", "--samples", "2"]
    (message,) = refused("fine_tuning/ask.py", *flags, "a request")
    assert message == "error: --top 7 needs 7 answers, but there are 3. Add --samples 6"


@pytest.mark.parametrize("flags", [["--top", "0"], ["--samples", "-1"], ["--samples", "many"], ["--seed", "1.5"]])
def test_ask_refuses_a_number_that_is_none(refused, workspace, flags):
    finish_step_1(workspace)
    (message,) = refused("fine_tuning/ask.py", "--model", "embedded", "--workspace", workspace, "a", *flags)
    assert f"argument {flags[0]}: " in message


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--max-rows", "0"], "argument --max-rows: '0' is not a whole number of at least 1"),
        (["--max-rows", "many"], "argument --max-rows: 'many' is not a whole number of at least 1"),
        (["--seed", "x"], "argument --seed: 'x' is not a whole number from 0 to 4294967295"),
        (["--seed", "-1"], "argument --seed: '-1' is not a whole number from 0 to 4294967295"),
        (["--seed", str(2**32)], "is not a whole number from 0 to 4294967295"),
        (["--dtype", "int8"], "argument --dtype: invalid choice: 'int8'"),
        (["--epochs", "3"], "unrecognized arguments: --epochs 3"),
        (["--workspace", str(ROOT / "pyproject.toml")], "a file, not a folder"),
    ],
    ids=["no rows", "rows in words", "seed", "negative seed", "large seed", "dtype", "unknown", "workspace"],
)
def test_a_wrong_flag_is_named(refused, flags, expected):
    messages = refused(STEP_1, "--model", "embedded", *flags)
    assert len(messages) == 1 and expected in messages[0]


def test_too_few_rows_to_split_are_refused(refused, workspace):
    messages = refused(STEP_1, "--model", "embedded", "--workspace", workspace, "--max-rows", "1")
    assert len(messages) == 1 and "at least 2 different prompts" in messages[0]


def test_run_all_reports_before_step_1_what_step_2_would_refuse(refused, workspace):
    path = workspace / "create_dataset" / "orpo_dataset_llm.csv"
    path.write_text(f"{ORPO_HEADER}c,{DIAGRAM},1.0\nd,{DIAGRAM},1,0\n")
    (message,) = refused("fine_tuning/run_all.py", "--model", "embedded", "--workspace", workspace)
    assert message.startswith(f"error: {path}, row 2: ")


def test_run_all_reports_the_problems_of_both_csvs_the_model_and_the_workspace_together(refused, workspace):
    sft, orpo = (workspace / "create_dataset" / f"{name}_dataset_llm.csv" for name in ("sft", "orpo"))
    sft.write_text(f"{SFT_HEADER}a,{DIAGRAM}\nb,no\n")
    orpo.write_text(f"{ORPO_HEADER}c,{DIAGRAM},1.0\nd,{DIAGRAM},2\n")
    (workspace / "log").write_text("a file instead of a folder")
    (workspace / "log").chmod(0o400)
    messages = refused("fine_tuning/run_all.py", "--model", "./none", "--workspace", workspace)
    starts = (f"{sft}, row 2: ", f"{orpo}, row 2: ", "--model ./none: ", f"{workspace / 'log'}: ")
    assert [message.startswith(f"error: {start}") for message, start in zip(messages, starts, strict=True)] == [
        True
    ] * 4


def test_suggested_commands_work_from_the_folder_that_the_user_is_in(start, workspace):
    run = start("orpo_create_dataset.py", "--model", "embedded", "--workspace", workspace, cwd=ROOT / "fine_tuning")
    assert f"Run it first: python sft_fine_tuning.py --model embedded --workspace {workspace}\n" in run.stderr
    script = ROOT / "fine_tuning" / "orpo_create_dataset.py"
    run = start(str(script), "--model", "embedded", "--workspace", workspace, cwd=workspace)
    assert f"Run it first: python {script.with_name('sft_fine_tuning.py')} --model" in run.stderr


@pytest.mark.parametrize("obstacle", ["a file with this name", "a folder with the name of the CSV"])
def test_an_output_folder_that_cannot_be_written_is_reported(start, tmp_path, obstacle):
    output = tmp_path / "rows"
    if obstacle == "a file with this name":
        output.write_text("x")
    else:
        (output / "sft_dataset_llm.csv").mkdir(parents=True)
    run = start("create_dataset/create_dataset.py", "--seed", "7", "--output", output)
    assert run.returncode == 2 and f"error: --output {output}: " in run.stderr and "Traceback" not in run.stderr


def test_run_all_stops_at_the_first_step_that_fails(start, workspace):
    (workspace / "models" / "sft").mkdir(parents=True)
    (workspace / "models" / "sft" / "notes.txt").write_text("mine")
    before = contents(workspace)
    run = start("fine_tuning/run_all.py", "--model", "embedded", "--workspace", workspace)
    assert run.returncode == 2
    assert run.stdout == "step 1 of 3: sft_fine_tuning\n"
    assert "holds files but no run.json" in run.stderr and "Traceback" not in run.stderr
    assert contents(workspace) == before
