"""CSVs with mistakes: all problems are reported together, with file, row and remedy, and nothing is written."""

import csv
import json
import tracemalloc
from pathlib import Path

import pytest
from helpers import (
    DIAGRAM,
    EMBEDDED_RUN,
    ORPO_HEADER,
    SFT_CSV,
    SFT_HEADER,
    STEP_1,
    STEP_2,
    STEP_3,
    finish_step_1,
    rows_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from fine_tuning.data.csv_rows import read_rows
from fine_tuning.run import sample_store
from fine_tuning.sampling.samples import sample_info

GOOD = f"good,{DIAGRAM},1.0\n"
# name: step, CSV, parts of the messages
BAD_FILES = {
    "not UTF-8": (STEP_1, SFT_HEADER.encode() + b"f\xfcnf," + DIAGRAM.encode() + b"\n", ["row 1: not UTF-8, at byte"]),
    "a header of other columns": (STEP_1, "prompt,answer\n1,2\n", ["no column input_data or output_data; it has prom"]),
    "semicolons": (STEP_1, "input_data;output_data\n1;2\n", ["its columns are separated by ';'; save it with commas"]),
    "UTF-16": (STEP_1, f"{SFT_HEADER}a,{DIAGRAM}\n".encode("utf-16"), ["not UTF-8, at byte 0; save the file as UTF-8"]),
    "a header with a column twice": (STEP_1, f"input_data,{SFT_HEADER}a,b,{DIAGRAM}\n", ["2 columns are named 'input"]),
    "the header twice": (STEP_1, f"{SFT_HEADER}a,{DIAGRAM}\n{SFT_HEADER}", ["row 2: a copy of the header; delete"]),
    "a row of fewer fields": (STEP_1, f"{SFT_HEADER}a,{DIAGRAM}\nb\n", ["row 2: the header has 2 fields, this row 1"]),
    "a row twice": (STEP_1, SFT_HEADER + 2 * f"a,{DIAGRAM}\n", ["row 2: the same prompt and answer as row 1; delete"]),
    "a reference twice": (STEP_2, ORPO_HEADER + 2 * GOOD, ["row 2: the same prompt and answer as row 1; delete"]),
    "an open quote": (STEP_1, f'{SFT_HEADER}a,{DIAGRAM}\nb,"[0\n', ["row 2: not a valid CSV (", "Check the quotes"]),
    "no answer": (STEP_1, f"{SFT_HEADER}a,{DIAGRAM}\nb,\n", ["row 2: output_data is not a valid diagram: no"]),
    "a 10 MB cell": (STEP_1, f"{SFT_HEADER}a,{'[' * 10_000_000}\n", ["row 1: output_data is not a valid diagram"]),
    "scores": (
        STEP_2,
        f'{ORPO_HEADER}{GOOD}b,x,nan\nb,x,"1,0"\nb,x,1.2\nb,x,\n',
        ["rows 2-5 (4 rows): score is not a number from 0 to 1. For example, row 2: score is 'nan'; it must be"],
    ),
    "a prompt without a reference": (
        STEP_2,
        f"{ORPO_HEADER}{GOOD}other,{DIAGRAM},1.0\nlonely,x,0.5\n",
        ["row 3: the prompt has no row with score 1.0", "Add one, or delete the row"],
    ),
    "one score for all": (
        STEP_3,
        f"{ORPO_HEADER}{GOOD}good,x,1.0\nother,x,1.0\n".replace(",x,", f",{DIAGRAM},"),
        ["no prompt has an answer that ended and another whose score is lower"],
    ),
    "many problems at once": (
        STEP_1,
        f"{SFT_HEADER}a,{DIAGRAM}\n,{DIAGRAM}\nb,no diagram\nc\n{SFT_HEADER}a,{DIAGRAM}\n".encode() + b"\xff,x\n",
        ["row 2: input", "row 3: output", "row 4: the header", "row 5: a copy", "row 6: the same", "row 7: not UTF"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("script", "content", "expected"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_file_is_refused_with_row_problem_and_remedy(refused, workspace, script, content, expected):
    path = workspace / "create_dataset" / f"{'sft' if script == STEP_1 else 'orpo'}_dataset_llm.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    finish_step_1(workspace)
    messages = refused(script, *EMBEDDED_RUN, workspace)
    assert all(message.startswith(f"error: {path}") and len(message) < 400 + len(str(path)) for message in messages)
    for text in expected:
        assert sum(text in message for message in messages) == 1


UNUSUAL_BUT_VALID = {
    "a byte-order mark": lambda content: b"\xef\xbb\xbf" + content,
    "Windows line endings": lambda content: content.replace(b"\n", b"\r\n"),
    "line endings of old Macs": lambda content: content.replace(b"\n", b"\r"),
    "one more column": lambda content: content.replace(b"\n", b",note\n"),
    "blank lines": lambda content: b"\n" + content.replace(b"\n", b"\n\n"),
    "a prompt of 10 MB": lambda content: content.replace(b"\na,", b"\n" + b"a" * 10_000_000 + b","),
}


@pytest.mark.parametrize("change", UNUSUAL_BUT_VALID.values(), ids=UNUSUAL_BUT_VALID)
def test_unusual_but_valid_files_are_read(start, workspace, change):
    path = workspace / "create_dataset" / "sft_dataset_llm.csv"
    path.write_bytes(change(path.read_bytes()))
    run = start(STEP_1, *EMBEDDED_RUN, workspace)
    assert run.stderr.endswith(" was imported\n"), "it did not get past the checks"


def test_text_from_a_file_is_printed_on_one_line_without_control_characters(refused, workspace):
    path = workspace / "create_dataset" / "sft_dataset_llm.csv"
    path.write_text('"\x1b[2Jcolumn\nof two lines\u202e",b\n1,2\n')
    (message,) = refused(STEP_1, *EMBEDDED_RUN, workspace)
    assert message.isprintable() and "\\x1b[2Jcolumn\\nof two lines\\u202e" in message


def write_rows(path: Path, count: int) -> None:
    committed = rows_of(SFT_CSV)
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, committed[0], lineterminator="\n")
        writer.writeheader()
        for number in range(count):
            row = committed[number % len(committed)]
            writer.writerow(row | {"input_data": f"{number}: {row['input_data']}", "output_data": f"{number}"})


def peak_and_held(read) -> tuple[int, int]:
    """The peak memory of a call and the memory that its result holds, in bytes."""
    tracemalloc.start()
    result = read()
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert result
    return peak, held


@pytest.mark.parametrize("rows", [3_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_reading_a_large_csv_needs_little_more_memory_than_its_rows(tmp_path, rows):
    path = tmp_path / "large.csv"
    write_rows(path, rows)
    path.write_text(path.read_text("utf-8").replace("\n", ",score\n", 1), "utf-8")
    with open(path, encoding="utf-8", newline="") as file:
        records = list(csv.reader(file))
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([records[0], *([*record, "0.5"] for record in records[1:])])
    del records
    peak, held = peak_and_held(lambda: read_rows(path, True, "", unique=True))
    assert peak < held + 2**20 and held < 2 * path.stat().st_size
    state = sample_store.begin(path, {}, [])
    assert state.reference_rows == rows
    peak, _ = peak_and_held(lambda: sample_store.recover(path, state))
    assert peak < 5 * 2**20 + 100 * rows  # the offsets of the rows, not the file's content


ADVERSE = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('",\r\n'), max_size=30)


@given(st.lists(st.tuples(ADVERSE.filter(str.strip), ADVERSE), min_size=1, max_size=6), st.sampled_from(["\n", "\r\n"]))
def test_everything_that_the_csv_module_writes_is_read_back(tmp_path_factory, rows, line_end):
    path = tmp_path_factory.mktemp("csv") / "rows.csv"
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator=line_end, quoting=csv.QUOTE_ALL)
        writer.writerows([("input_data", "output_data", "score"), *((*row, "0.5") for row in rows)])
    found = read_rows(path, True, "")
    with_one_line_end = [tuple(cell.replace("\r\n", "\n").replace("\r", "\n") for cell in row) for row in rows]
    assert [(row.prompt, row.answer) for row in found] == with_one_line_end
    assert [row.number for row in found] == list(range(1, len(rows) + 1))


LITERALS = st.recursive(
    st.none() | st.integers() | st.text() | st.binary() | st.floats() | st.frozensets(st.integers()).map(set),
    lambda child: st.lists(child) | st.dictionaries(st.text() | st.tuples(st.integers()), child),
)


@given(LITERALS)
@settings(max_examples=200)
def test_dest_shape_info_of_a_sample_is_json_for_any_literal_of_its_reference(value):
    info = sample_info({"dest_shape_info": repr({"task_name": "flowchart", "more": value})}, ended=True)
    assert not info or json.loads(info["dest_shape_info"])["ended"] is True


@pytest.mark.parametrize("name", ["\\ud800", "x" * 500, "two\\nlines", "\\u001b[2J"])
def test_a_task_name_that_a_table_cannot_show_is_ignored(tmp_path, name):
    path = tmp_path / "rows.csv"
    info = f'{{""task_name"": ""{name}""}}'
    path.write_text(f'input_data,output_data,dest_shape_info\na,{DIAGRAM},"{info}"\n')
    assert read_rows(path, False, "")[0].family == "diagram"
