"""Reading the CSVs: every problem is reported, nothing is guessed."""

import csv
import io
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from helpers import ROOT, problems_of
from hypothesis import given
from hypothesis import strategies as st

from fine_tuning.data.csv_rows import Row, read_rows
from fine_tuning.run.errors import UserError

FOLDER = ROOT / "create_dataset"
REMEDY = "To make it: python create_dataset/create_dataset.py"
DIAGRAM = (
    "[0, 100, 300, 'circle', 80, 80, 'solid arrow', (255, 228, 196), (0, 0, 0), [1]]\n"
    "[1, 400, 300, 'rectangle', 80, 80, 'solid arrow', (255, 228, 196), (0, 0, 0), []]"
)
HEADER = "input_data,output_data,score"


def line(prompt: str = "draw it", answer: str = DIAGRAM, *more: str) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow([prompt, answer, *more])
    return buffer.getvalue()


GOOD = line("draw it", DIAGRAM, "0.75")


def read(tmp_path: Path, content: str | bytes, scored: bool = True) -> tuple[list[Row], list[str]]:
    """The rows of a file and no problems, or no rows and its problems."""
    path = tmp_path / "data.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    try:
        return read_rows(path, scored, REMEDY), []
    except UserError as error:
        return [], list(error.problems)


def only_problem(tmp_path: Path, content: str | bytes) -> str:
    """The only problem of a file, without the file name that it starts with."""
    _, problems = read(tmp_path, content)
    assert len(problems) == 1
    assert problems[0].startswith(str(tmp_path / "data.csv"))
    return problems[0].removeprefix(str(tmp_path / "data.csv"))


def test_a_row_is_its_prompt_answer_and_score(tmp_path):
    rows, problems = read(tmp_path, f"{HEADER}\n{GOOD}")
    assert problems == []
    assert [(row.prompt, row.answer, row.score) for row in rows] == [("draw it", DIAGRAM, 0.75)]


def test_without_a_score_column_every_answer_is_a_reference(tmp_path):
    rows, problems = read(tmp_path, f"input_data,output_data\n{line()}", scored=False)
    assert (problems, [row.score for row in rows]) == ([], [1.0])


@pytest.mark.parametrize("name", ["sft_dataset_llm.csv", "orpo_dataset_llm.csv"])
def test_the_committed_files_have_no_problems(name):
    rows = read_rows(FOLDER / name, "orpo" in name, REMEDY)
    assert {row.family for row in rows} == {"dl_model", "flowchart"}
    assert [row.prompt for row in rows] == [
        fields["input_data"]
        for fields in csv.DictReader(io.StringIO((FOLDER / name).read_bytes().decode(), newline=""))
    ]


def test_a_missing_file_is_named_with_the_command_that_makes_it(tmp_path):
    path = tmp_path / "none.csv"
    assert problems_of(read_rows, path, True, REMEDY) == (f"{path}: there is no such file. {REMEDY}",)


def test_a_folder_instead_of_the_file_counts_as_missing(tmp_path):
    assert problems_of(read_rows, tmp_path, True, REMEDY) == (f"{tmp_path}: there is no such file. {REMEDY}",)


def test_an_empty_file_is_called_empty(tmp_path):
    assert only_problem(tmp_path, "") == f": the file is empty. {REMEDY}"


def test_a_file_with_only_a_header_has_its_own_message(tmp_path):
    assert only_problem(tmp_path, HEADER + "\n") == f": a header but no rows. {REMEDY}"


@pytest.mark.parametrize("missing", HEADER.split(","))
def test_a_missing_column_is_named_with_the_existing_ones(tmp_path, missing):
    columns = [name for name in HEADER.split(",") if name != missing]
    problem = only_problem(tmp_path, ",".join(columns) + f"\n{line()}")
    hint = "To import a file with other columns: python fine_tuning/import_dataset.py FILE --workspace NEW"
    assert (
        problem == f": no column {missing}; it has {', '.join(columns)}. The first line must name the columns. {hint}"
    )


def test_all_missing_columns_are_named_together(tmp_path):
    assert ": no column input_data or output_data or score; it has a, b" in only_problem(tmp_path, "a,b\n1,2\n")


@pytest.mark.parametrize("prompt", ["", "  ", "\n\t"])
def test_a_row_without_a_prompt_is_named(tmp_path, prompt):
    problem = only_problem(tmp_path, f"{HEADER}\n{GOOD}{line(prompt, DIAGRAM, '1.0')}")
    assert problem == ", row 2: input_data is empty; every row needs a prompt"


@pytest.mark.parametrize("score", ["nan", "1,0", "1.2", "", "-0.1", "inf", "-inf", "good", "0x1", "1" * 400])
def test_a_score_that_is_not_a_number_from_0_to_1_is_shown_with_its_row(tmp_path, score):
    problem = only_problem(tmp_path, f"{HEADER}\n{GOOD}{line('draw that', 'anything', score)}")
    assert problem == f", row 2: score is {score[:40]!r}; it must be a number from 0 to 1, such as 0.75"


@pytest.mark.parametrize(("score", "value"), [("0", 0.0), ("1", 1.0), ("0.75", 0.75), ("1e-3", 0.001), (" 0.5 ", 0.5)])
def test_scores_from_0_to_1_are_read(tmp_path, score, value):
    rows, problems = read(tmp_path, f"{HEADER}\n{line('draw it', DIAGRAM, score)}")
    assert (problems, [row.score for row in rows]) == ([], [value])


def test_the_first_byte_that_is_not_utf8_is_reported_with_its_row(tmp_path):
    content = f"{HEADER}\n{line('zeichne fünf', DIAGRAM, '1')}".encode("latin-1")
    problem = only_problem(tmp_path, content)
    assert problem == f", row 1: not UTF-8, at byte {content.index(0xFC)}; save the file as UTF-8"


def test_a_header_that_is_not_utf8_is_the_only_problem_reported(tmp_path):
    content = f"{HEADER}\n{GOOD}".encode("utf-16")
    assert only_problem(tmp_path, content) == ": not UTF-8, at byte 0; save the file as UTF-8"


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_a_separator_other_than_a_comma_is_reported(tmp_path, separator):
    problem = only_problem(tmp_path, f"{HEADER}\n{GOOD}".replace(",", separator))
    assert problem == f": its columns are separated by {separator!r}; save it with commas"
    quoted = separator.join(f'"{name}"' for name in HEADER.split(","))
    assert only_problem(tmp_path, f"{quoted}\n") == f": its columns are separated by {separator!r}; save it with commas"


def test_what_a_spreadsheet_leaves_of_empty_rows_and_columns_is_not_read(tmp_path):
    content = f"\ufeff\ufeff{HEADER},,\n{GOOD.strip()},,\n,,,,\n{line('draw that', DIAGRAM, '1').strip()},,\n,,,,\n"
    rows, problems = read(tmp_path, content)
    assert (problems, [row.number for row in rows]) == ([], [1, 3])


def test_a_byte_order_mark_is_not_part_of_the_first_column(tmp_path):
    rows, problems = read(tmp_path, b"\xef\xbb\xbf" + f"{HEADER}\n{GOOD}".encode())
    assert (problems, len(rows), list(rows[0].fields)) == ([], 1, HEADER.split(","))


def test_windows_line_endings_are_read(tmp_path):
    rows, problems = read(tmp_path, f"{HEADER}\n{GOOD}{GOOD}".replace("\n", "\r\n"))
    assert (problems, len(rows)) == ([], 2)


def test_blank_lines_are_skipped(tmp_path):
    rows, problems = read(tmp_path, f"{HEADER}\n\n{GOOD}\n\n")
    assert (problems, len(rows)) == ([], 1)


def test_additional_columns_are_kept(tmp_path):
    rows, problems = read(tmp_path, f"note,{HEADER}\nhello,{GOOD}")
    assert problems == []
    assert rows[0].fields == {"note": "hello", "input_data": "draw it", "output_data": DIAGRAM, "score": "0.75"}


@pytest.mark.parametrize("row", ["draw it\n", "draw it,x,0.5,more\n", "draw it,x,0.5,\n"])
def test_a_row_with_too_few_or_too_many_fields_is_named(tmp_path, row):
    problem = only_problem(tmp_path, f"{HEADER}\n{GOOD}{row}")
    assert problem.startswith(", row 2: the header has 3 fields, this row ") and problem.endswith("missing or extra")


@pytest.mark.parametrize(
    "row",
    ['draw it,0.5,"x\n', 'draw it,0.5,"x" y\n', 'draw it,0.5,"x"y"\n'],
    ids=["never closed", "text after the closing quote", "a quote inside"],
)
def test_broken_quoting_is_reported_and_not_repaired(tmp_path, row):
    problem = only_problem(tmp_path, f"input_data,score,output_data\ndraw that,0.5,x\n{row}")
    assert problem.startswith(", row 2: not a valid CSV (") and "quotes" in problem


def test_problems_before_a_quoting_error_are_reported_too(tmp_path):
    problems = read(tmp_path, HEADER + '\n,x,0.5\ndraw it,0.5,"x\n')[1]
    assert len(problems) == 2
    assert "row 1: input_data is empty" in problems[0]
    assert "row 2: not a valid CSV" in problems[1]


@pytest.mark.parametrize(
    "answer",
    ["", "hello", DIAGRAM.replace("circle", "star"), DIAGRAM.replace("[1]]", "[7]]"), DIAGRAM[:-3], DIAGRAM + ","],
    ids=["empty", "prose", "unknown shape", "missing target", "cut off", "a comma after a line"],
)
def test_a_reference_that_is_not_a_diagram_in_the_format_is_refused(tmp_path, answer):
    assert only_problem(tmp_path, f"{HEADER}\n{line('draw it', answer, '1.0')}").startswith(
        ", row 1: output_data is not a valid diagram: "
    )


@pytest.mark.parametrize("answer", ["", "hello", DIAGRAM[:-3]])
def test_an_answer_with_a_lower_score_may_be_any_text(tmp_path, answer):
    rows, problems = read(tmp_path, f"{HEADER}\n{line('draw it', answer, '0.2')}")
    assert (problems, rows[0].answer) == ([], answer)


def test_all_problems_are_reported_together_in_the_order_of_the_rows(tmp_path):
    content = f"{HEADER}\n{line('', DIAGRAM, '1')}{GOOD}{line('x', DIAGRAM, '2')}{line('x', 'y', '1')}a,b\n"
    _, problems = read(tmp_path, content)
    assert [problem.split("row ")[1].split(":")[0] for problem in problems] == ["1", "3", "4", "5"]


def test_a_cell_of_a_megabyte_is_read(tmp_path):
    rows, problems = read(tmp_path, f"{HEADER}\n{line('x' * 1_000_000, DIAGRAM, '1')}")
    assert (problems, len(rows[0].prompt)) == ([], 1_000_000)


@pytest.mark.parametrize(
    "info",
    ["", "null", "[1]", "7", '{"task_name": 3}', "{", "[" * 100_000],
)
def test_any_dest_shape_info_is_accepted(tmp_path, info):
    rows, problems = read(tmp_path, f"{HEADER},dest_shape_info\n{line('draw it', DIAGRAM, '1', info)}")
    assert (problems, rows[0].family) == ([], "diagram")


@pytest.mark.parametrize("info", ['{"task_name": "flowchart"}', "{'task_name': 'flowchart', 'edges': [(0, 1)]}"])
def test_dest_shape_info_as_json_or_python_names_the_family(tmp_path, info):
    rows, _ = read(tmp_path, f"{HEADER},dest_shape_info\n" + line("a", DIAGRAM, "1", info))
    assert rows[0].family == "flowchart"


@given(st.binary(max_size=300) | st.text(alphabet="ab,\"'\n\r\0é", max_size=80).map(lambda text: text.encode()))
def test_any_bytes_give_rows_or_problems(content):
    for start in (b"", f"{HEADER}\n".encode()):
        with TemporaryDirectory() as folder:
            rows, problems = read(Path(folder), start + content)
        assert rows or problems
