"""Problems of a CSV by kind, warnings about what is used all the same, and rows that are left out."""

from pathlib import Path

import pytest
from helpers import DIAGRAM, EMBEDDED_RUN, ORPO_HEADER, ROOT, SFT_HEADER, problems_of
from launching import launch

from fine_tuning.data.csv_rows import read_csv
from fine_tuning.data.orpo_csv import read_references
from fine_tuning.data.problems import MAX_RANGES, rows_text
from fine_tuning.data.sft_csv import read_sft_rows
from fine_tuning.data.split import limit_to
from fine_tuning.run.command_line import make_parser, to_options

GOOD = "".join(f"prompt {k},{DIAGRAM},1.0\n" for k in range(1, 4))  # rows 1 to 3


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data.csv"


def test_rows_with_the_same_kind_of_problem_share_one_line(path):
    path.write_text(
        ORPO_HEADER + GOOD + f",{DIAGRAM},1\n" * 3 + f"a,{DIAGRAM},2\n,{DIAGRAM},1\n" + "b,no,1\nc,none,1\n"
    )
    empty, score, diagram = problems_of(read_csv, path, True, "")
    skip = "To leave these rows out, add --skip-bad-rows"
    assert empty == f"{path}, rows 4-6, 8 (4 rows): input_data is empty; every row needs a prompt. {skip}"
    assert score == f"{path}, row 7: score is '2'; it must be a number from 0 to 1, such as 0.75"
    assert diagram == (
        f"{path}, rows 9-10 (2 rows): output_data is not a valid diagram. For example, row 9: output_data is not a "
        f"valid diagram: line 1: not a list. Correct it, or delete the row. {skip}"
    )


def test_one_message_names_every_bad_row_of_a_large_file(path):
    lines = [f"p{k},{DIAGRAM if k % 2 else 'no'}\n" for k in range(1, 701)]
    path.write_text(SFT_HEADER + "".join(lines))
    (problem,) = problems_of(read_csv, path, False, "")
    listed = problem.split("rows ")[1].split(" (")[0]
    assert listed == ", ".join(map(str, range(2, 701, 2)))


def test_a_row_with_two_problems_is_listed_for_both(path):
    path.write_text(f"input_data,output_data,score,ended\na,{DIAGRAM},1,true\n,x,9,perhaps\n")
    assert [problem.split(": ")[1].split(" is ")[0] for problem in problems_of(read_csv, path, True, "")] == [
        "input_data", "score", "ended",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("numbers", "text"),
    [([4], "row 4"), ([1, 2], "rows 1-2"), ([2, 5, 6, 7, 9], "rows 2, 5-7, 9"), ([3, 3], "row 3")],
)
def test_row_numbers_are_written_as_ranges(numbers, text):
    assert rows_text(numbers) == text


def test_a_list_of_ranges_has_an_end():
    text = rows_text(range(0, 2 * MAX_RANGES + 20, 2))
    assert text.endswith(f", {2 * MAX_RANGES - 2} and 10 more")


def test_what_is_less_than_perfect_is_noted_by_kind_and_the_rows_are_used(path):
    off = DIAGRAM.replace("100, 300", "20, 300")
    loop = DIAGRAM.replace("[]]", "[0]]")
    answers = [off, DIAGRAM, off, loop, off, off.replace("[]]", "[0]]")]
    path.write_text(SFT_HEADER + "".join(f"p{k},{answer}\n" for k, answer in enumerate(answers)))
    found = read_csv(path, False, "")
    assert len(found.rows) == 6 and all(row.score == 1 for row in found.rows)
    assert [note.line for note in found.notes] == [
        f"{path}: 4 references have shapes off the canvas (rows 1, 3, 5, ...); they are used as they are",
        f"{path}: 2 references have shapes that point to themselves (rows 4, 6); they are used as they are",
    ]
    assert (found.notes[1].name, found.notes[1].value) == (
        "data.csv: references with shapes that point to themselves", "2 (rows 4, 6)",
    )  # fmt: skip


def test_a_single_odd_reference_is_noted_in_the_singular(path):
    path.write_text(f"{SFT_HEADER}a,{DIAGRAM.replace('100, 300', '20, 300')}\nb,{DIAGRAM}\n")
    (note,) = read_csv(path, False, "").notes
    assert note.line == f"{path}: 1 reference has shapes off the canvas (row 1); it is used as it is"


def test_answers_with_a_lower_score_are_not_noted(path):
    path.write_text(f"{ORPO_HEADER}{GOOD}a,{DIAGRAM.replace('100, 300', '20, 300')},0.9\n")
    assert read_csv(path, True, "").notes == []


BAD = f",{DIAGRAM},1\nx,no,1\nx\ny,{DIAGRAM},high\nprompt 1,{DIAGRAM},1\nlonely,text,0.5\n{ORPO_HEADER}"  # rows 4 to 10


def test_bad_rows_are_left_out_on_request_with_their_number_and_reasons(path):
    path.write_text(ORPO_HEADER + GOOD + BAD)
    found = read_csv(path, True, "", unique=True, referenced=True, skip_bad_rows=True)
    assert [row.number for row in found.rows] == [1, 2, 3]
    (note,) = found.notes
    assert note.line.startswith(f"{path}: 7 rows are left out (rows 4-10): input_data is empty; every row needs")
    for reason in ("not a valid diagram (1)", "fields than the header (1)", "a number from 0 to 1 (1)", "row (1)"):
        assert reason in note.line
    assert (note.name, note.value) == (
        "data.csv: rows left out (--skip-bad-rows)",
        note.line.removeprefix(f"{path}: ").replace("7 rows are left out", "7"),
    )


def test_without_the_request_every_one_of_them_is_refused(path):
    path.write_text(ORPO_HEADER + GOOD + BAD)
    problems = problems_of(read_csv, path, True, "", unique=True, referenced=True)
    assert sorted(int(problem.split("row ")[1].split(":")[0]) for problem in problems) == list(range(4, 11))


def test_a_prompt_whose_only_reference_is_left_out_is_left_out_too(path):
    path.write_text(f"{ORPO_HEADER}{GOOD}x,no,1\nx,text,0.5\n")
    found = read_csv(path, True, "", referenced=True, skip_bad_rows=True)
    assert [row.number for row in found.rows] == [1, 2, 3]
    (problem,) = problems_of(read_csv, path, True, "", referenced=True)
    assert "row 4: output_data" in problem, "row 5 is not at fault: its prompt has a reference, once row 4 is corrected"


@pytest.mark.parametrize(
    "content",
    [
        f"input_data,answer\na,{DIAGRAM}\n",
        f'{SFT_HEADER}a,{DIAGRAM}\nb,"[0\n',
        f"{SFT_HEADER}fünf,{DIAGRAM}\n".encode("latin-1"),
        SFT_HEADER,
    ],
    ids=["a missing column", "a broken quote", "a wrong encoding", "no rows"],
)
def test_what_is_wrong_with_the_whole_file_is_refused_even_so(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert len(problems_of(read_csv, path, False, "", skip_bad_rows=True)) == 1


@pytest.mark.parametrize("bad", [BAD.replace("prompt 1", "p"), "z,\xff,0.5\n"], ids=["rows", "encoding"])
def test_problems_and_warnings_beyond_the_limit_of_rows_are_not_reported(path, bad):
    odd = f"odd,{DIAGRAM.replace('100, 300', '20, 300')},1.0\n"
    path.write_bytes((ORPO_HEADER + GOOD + bad + odd).encode("latin-1"))
    found = read_csv(path, True, "", unique=True, limit=limit_to(2))
    assert [row.number for row in found.rows][:3] == [1, 2, 3] and found.notes == []
    assert problems_of(read_csv, path, True, "", unique=True, limit=limit_to(9))


def test_a_problem_within_the_limit_of_rows_is_reported(path):
    path.write_text(f"{ORPO_HEADER}a,{DIAGRAM},1\nb,no,1\nc\n{GOOD}")
    (problem,) = problems_of(read_csv, path, True, "", limit=limit_to(2))
    assert problem.startswith(f"{path}, row 2: ")
    assert len(problems_of(read_csv, path, True, "", limit=limit_to(3))) == 2


def test_the_limit_counts_bad_rows_to_the_family_around_them(path):
    row, info = DIAGRAM, '"{{""task_name"": ""{}""}}"'
    first = "".join(f"a{k},{row},{info.format('one')}\n" for k in range(5))
    second = "".join(f"b{k},{row},{info.format('two')}\n" for k in range(5))
    path.write_text(f"input_data,output_data,dest_shape_info\n{first}a,b\n{second}b\n")  # rows 6 and 12 are bad
    found = read_csv(path, False, "", limit=limit_to(4))  # 2 of each family
    assert len(found.rows) == 10


@pytest.mark.parametrize("name", ["sft", "orpo"])
def test_the_committed_files_need_no_warning(name):
    path = ROOT / "create_dataset" / f"{name}_dataset_llm.csv"
    assert read_csv(path, name == "orpo", "", unique=True, referenced=True).notes == []


def test_if_too_few_rows_are_left_the_message_names_those_left_out(tmp_path):
    folder = tmp_path / "create_dataset"
    folder.mkdir()
    (folder / "sft_dataset_llm.csv").write_text(f"{SFT_HEADER}a,{DIAGRAM}\nb,sorry\n")
    (folder / "orpo_dataset_llm.csv").write_text(f"{ORPO_HEADER}a,{DIAGRAM},1\nb,sorry,1\n")
    options = to_options(make_parser("").parse_args([*EMBEDDED_RUN, str(tmp_path), "--skip-bad-rows"]))
    for read, name in ((read_sft_rows, "sft"), (read_references, "orpo")):
        reason, left_out = problems_of(read, options)
        assert reason.startswith(f"{folder / name}_dataset_llm.csv: ") and "at least 2" in reason
        assert left_out.endswith(": 1 row is left out (row 2): output_data is not a valid diagram (1)")


def test_of_several_processes_one_prints_the_warnings():
    program = "from fine_tuning.data.problems import Note, Warnings; w = Warnings()"
    first, second = launch(2, "-c", f"{program}; w.add([Note('two rows overlap', 'overlaps', '2')]); w.print()")
    assert first == (0, "", "warning: two rows overlap\n")
    assert second == (0, "", "")
