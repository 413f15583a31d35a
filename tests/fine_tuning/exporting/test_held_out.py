"""Which prompts an export is compared on, and when it cannot be compared."""

from pathlib import Path

from helpers import finish_step_1

from fine_tuning.data.sft_csv import read_sft_rows
from fine_tuning.data.split import split_prompts
from fine_tuning.exporting import held_out
from fine_tuning.exporting.held_out import SKIPPED, can_be_compared_now, to_compare
from fine_tuning.exporting.llama_cpp import LLAMA_CPP_PACKAGE
from fine_tuning.run.command_line import make_parser, to_options


def finished(folder: Path):
    finish_step_1(folder)
    return to_options(make_parser("").parse_args(["--model", "embedded", "--workspace", str(folder)]))


def test_the_prompts_are_20_that_step_1_has_not_trained_on(tmp_path):
    options = finished(tmp_path / "new")
    found, why = to_compare(options, options.workspace.sft_model, "merged", 20)
    trained, _ = split_prompts(read_sft_rows(options).rows, options.seed)
    prompts = {row.prompt for row in found.rows}
    assert (len(prompts), why, found.name) == (20, "", "held-out prompts") and not prompts & trained
    assert {row.family for row in found.rows} == {"dl_model", "flowchart"}


def test_a_small_csv_gives_what_it_held_out(workspace):
    options = finished(workspace)
    found, why = to_compare(options, options.workspace.sft_model, "merged", 20)
    assert (len(found.rows), why) == (1, "")


def test_the_prompts_of_a_csv_that_has_changed_are_not_called_held_out(workspace):
    options = finished(workspace)
    with options.workspace.sft_csv.open("a") as file:
        file.write(options.workspace.sft_csv.read_text().splitlines()[1].replace("a,", "e,", 1) + "\n")
    found, _ = to_compare(options, options.workspace.sft_model, "merged", 20)
    assert found.name == "prompts of a CSV that has changed since step 1"


def test_a_csv_that_cannot_be_read_is_the_reason_not_to_compare(workspace):
    options = finished(workspace)
    options.workspace.sft_csv.write_text("other,columns\n1,2\n")
    found, why = to_compare(options, options.workspace.sft_model, "merged", 20)
    assert found.rows == [] and str(options.workspace.sft_csv) in why and not can_be_compared_now(why)


def test_a_missing_package_is_the_reason_and_can_be_mended(workspace, monkeypatch):
    monkeypatch.setattr(held_out, "is_installed", lambda: False)
    options = finished(workspace)
    _, why = to_compare(options, options.workspace.sft_model, "gguf", 20)
    assert why.endswith(f"python -m pip install {LLAMA_CPP_PACKAGE}") and can_be_compared_now(why)
    assert to_compare(options, options.workspace.sft_model, "merged", 0)[1] == SKIPPED
    assert can_be_compared_now(SKIPPED)
