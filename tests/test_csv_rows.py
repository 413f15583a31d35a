"""Reading the CSVs: every problem told, nothing guessed; and the split by prompt."""

import csv
import io
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tuning.csv_rows import MAX_PROBLEMS_SHOWN, Row, held_out_rows, limit_prompts, read_rows, split_prompts

FOLDER = Path(__file__).resolve().parent.parent / "create_dataset"
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
    path = tmp_path / "data.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_rows(path, scored, REMEDY)


def only_problem(tmp_path: Path, content: str | bytes) -> str:
    """The one problem of a file, without the file's name, which every problem starts with."""
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
    rows, problems = read_rows(FOLDER / name, "orpo" in name, REMEDY)
    assert problems == []
    assert {row.family for row in rows} == {"dl_model", "flowchart"}
    assert [row.prompt for row in rows] == [
        fields["input_data"]
        for fields in csv.DictReader(io.StringIO((FOLDER / name).read_bytes().decode(), newline=""))
    ]


def test_a_missing_file_is_named_with_the_command_that_makes_it(tmp_path):
    path = tmp_path / "none.csv"
    assert read_rows(path, True, REMEDY) == ([], [f"{path}: there is no such file. {REMEDY}"])


def test_a_folder_in_place_of_the_file_is_no_file(tmp_path):
    assert read_rows(tmp_path, True, REMEDY)[1] == [f"{tmp_path}: there is no such file. {REMEDY}"]


def test_an_empty_file_is_called_empty(tmp_path):
    assert only_problem(tmp_path, "") == f": the file is empty. {REMEDY}"


def test_a_header_alone_is_told_apart_from_an_empty_file(tmp_path):
    assert only_problem(tmp_path, HEADER + "\n") == f": a header but no rows. {REMEDY}"


@pytest.mark.parametrize("missing", HEADER.split(","))
def test_a_missing_column_is_named_beside_those_that_are_there(tmp_path, missing):
    columns = [name for name in HEADER.split(",") if name != missing]
    problem = only_problem(tmp_path, ",".join(columns) + f"\n{line()}")
    assert problem == f": no column {missing}; it has {', '.join(columns)}. The first line must name the columns"


def test_all_missing_columns_are_named_together(tmp_path):
    assert ": no column input_data or output_data or score; it has a, b" in only_problem(tmp_path, "a,b\n1,2\n")


@pytest.mark.parametrize("prompt", ["", "  ", "\n\t"])
def test_a_row_without_a_prompt_is_named(tmp_path, prompt):
    problem = only_problem(tmp_path, f"{HEADER}\n{GOOD}{line(prompt, DIAGRAM, '1.0')}")
    assert problem == ", row 2: input_data is empty; every row needs a prompt"


@pytest.mark.parametrize("score", ["nan", "1,0", "1.2", "", "-0.1", "inf", "-inf", "good", "0x1", "1" * 400])
def test_a_score_that_is_no_number_from_0_to_1_is_shown_with_its_row(tmp_path, score):
    problem = only_problem(tmp_path, f"{HEADER}\n{GOOD}{line('draw that', 'anything', score)}")
    assert problem == f", row 2: score is {score[:40]!r}; it must be a number from 0 to 1, such as 0.75"


@pytest.mark.parametrize(("score", "value"), [("0", 0.0), ("1", 1.0), ("0.75", 0.75), ("1e-3", 0.001), (" 0.5 ", 0.5)])
def test_scores_from_0_to_1_are_read(tmp_path, score, value):
    rows, problems = read(tmp_path, f"{HEADER}\n{line('draw it', DIAGRAM, score)}")
    assert (problems, [row.score for row in rows]) == ([], [value])


def test_a_file_that_is_not_utf8_is_called_that(tmp_path):
    content = f"{HEADER}\n{line('zeichne fünf', DIAGRAM, '1')}".encode("latin-1")
    problem = only_problem(tmp_path, content)
    assert problem == f", row 1: not UTF-8, at byte {content.index(0xFC)}; save the file as UTF-8"


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path):
    rows, problems = read(tmp_path, b"\xef\xbb\xbf" + f"{HEADER}\n{GOOD}".encode())
    assert (problems, len(rows), list(rows[0].fields)) == ([], 1, HEADER.split(","))


def test_windows_line_ends_are_read(tmp_path):
    rows, problems = read(tmp_path, f"{HEADER}\n{GOOD}{GOOD}".replace("\n", "\r\n"))
    assert (problems, len(rows)) == ([], 2)


def test_blank_lines_are_no_rows(tmp_path):
    rows, problems = read(tmp_path, f"{HEADER}\n\n{GOOD}\n\n")
    assert (problems, len(rows)) == ([], 1)


def test_more_columns_are_kept(tmp_path):
    rows, problems = read(tmp_path, f"note,{HEADER}\nhello,{GOOD}")
    assert problems == []
    assert rows[0].fields == {"note": "hello", "input_data": "draw it", "output_data": DIAGRAM, "score": "0.75"}


@pytest.mark.parametrize("row", ["draw it\n", "draw it,x,0.5,more\n", "draw it,x,0.5,\n"])
def test_a_row_with_another_number_of_fields_is_named(tmp_path, row):
    problem = only_problem(tmp_path, f"{HEADER}\n{GOOD}{row}")
    assert problem.startswith(", row 2: not as many fields as the header has (") and problem.endswith("one too many?")


@pytest.mark.parametrize(
    "row",
    ['draw it,0.5,"x\n', 'draw it,0.5,"x" y\n', 'draw it,0.5,"x"y"\n'],
    ids=["open to the end", "text behind", "a single one inside"],
)
def test_quoting_gone_wrong_is_told_and_not_guessed_right(tmp_path, row):
    problem = only_problem(tmp_path, f"input_data,score,output_data\ndraw that,0.5,x\n{row}")
    assert problem.startswith(", row 2: not a CSV (") and "quote" in problem


def test_problems_before_a_quoting_error_are_not_lost(tmp_path):
    problems = read(tmp_path, HEADER + '\n,x,0.5\ndraw it,0.5,"x\n')[1]
    assert len(problems) == 2
    assert "row 1: input_data is empty" in problems[0]
    assert "row 2: not a CSV" in problems[1]


@pytest.mark.parametrize(
    "answer",
    ["", "hello", DIAGRAM.replace("circle", "star"), DIAGRAM.replace("[1]]", "[7]]"), DIAGRAM[:-3], DIAGRAM + "\n\n"],
    ids=["empty", "prose", "unknown shape", "missing target", "cut", "blank line"],
)
def test_a_reference_that_is_no_flawless_diagram_is_told(tmp_path, answer):
    assert only_problem(tmp_path, f"{HEADER}\n{line('draw it', answer, '1.0')}").startswith(
        ", row 1: output_data is no flawless diagram: "
    )


@pytest.mark.parametrize(
    ("answer", "flaw"),
    [
        (DIAGRAM.replace("[0, 100", "[0, 30"), "a shape lies off the canvas"),
        (DIAGRAM.replace("[0, 100", "[0, 350"), "two shapes overlap"),
        (
            DIAGRAM.replace("[1]]", "[2]]").replace("[1, 400", "[1, 250")
            + "\n[2, 400, 300, 'circle', 80, 80, 'solid arrow', (0, 0, 0), (0, 0, 0), []]",
            "a connection runs through a third shape",
        ),
    ],
    ids=["off the canvas", "overlap", "run through"],
)
def test_a_reference_that_cannot_be_read_as_drawn_is_told(tmp_path, answer, flaw):
    told = only_problem(tmp_path, f"{HEADER}\n{line('draw it', answer, '1.0')}")
    assert told.startswith(f", row 1: output_data is no flawless diagram: {flaw}. ")
    assert read(tmp_path, f"{HEADER}\n{line('draw it', answer, '0.9')}")[1] == []


@pytest.mark.parametrize("answer", ["", "hello", DIAGRAM[:-3]])
def test_an_answer_with_a_lower_score_may_be_any_text(tmp_path, answer):
    rows, problems = read(tmp_path, f"{HEADER}\n{line('draw it', answer, '0.2')}")
    assert (problems, rows[0].answer) == ([], answer)


def test_all_problems_are_told_at_once_in_the_order_of_the_rows(tmp_path):
    content = f"{HEADER}\n{line('', DIAGRAM, '1')}{GOOD}{line('x', DIAGRAM, '2')}{line('x', 'y', '1')}a,b\n"
    rows, problems = read(tmp_path, content)
    assert len(rows) == 1
    assert [problem.split("row ")[1].split(":")[0] for problem in problems] == ["1", "3", "4", "5"]


def test_very_many_problems_are_shortened(tmp_path):
    problems = read(tmp_path, f"{HEADER}\n" + line("", DIAGRAM, "1") * 500)[1]
    assert len(problems) == MAX_PROBLEMS_SHOWN + 1
    assert problems[-1].endswith(f"and {500 - MAX_PROBLEMS_SHOWN} more problems")


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
def test_no_bytes_whatever_make_the_reader_raise(content):
    for start in (b"", f"{HEADER}\n".encode()):
        with TemporaryDirectory() as folder:
            rows, problems = read(Path(folder), start + content)
        assert rows or problems


def row(prompt: str, family: str = "diagram", answer: str = "") -> Row:
    return Row(prompt, answer, 1.0, family, {})


ROWS = st.lists(
    st.builds(row, st.sampled_from("abcdefghijkl"), st.sampled_from(["dl_model", "flowchart"]), st.sampled_from("xyz")),
    max_size=60,
)


def prompts_of(rows: list[Row]) -> set[str]:
    return {row.prompt for row in rows}


@pytest.mark.parametrize(
    ("name", "train", "validation"),
    [
        ("sft_dataset_llm.csv", {"dl_model": 224, "flowchart": 336}, {"dl_model": 56, "flowchart": 84}),
        ("orpo_dataset_llm.csv", {"dl_model": 64, "flowchart": 96}, {"dl_model": 16, "flowchart": 24}),
    ],
)
def test_the_committed_files_are_split_80_to_20_within_each_family(name, train, validation):
    rows, _ = read_rows(FOLDER / name, "orpo" in name, REMEDY)
    sides = split_prompts(rows, 2025)
    counts = [Counter(row.family for row in rows if row.prompt in side) for side in sides]
    assert counts == [train, validation]


def test_a_seed_decides_the_split():
    rows = [row(f"prompt {k}") for k in range(100)]
    assert split_prompts(rows, 1) == split_prompts(rows, 1)
    assert split_prompts(rows, 1) != split_prompts(rows, 2)


@given(ROWS, st.integers())
def test_every_prompt_is_on_exactly_one_side_and_no_side_is_empty(rows, seed):
    if len(prompts_of(rows)) < 2:
        with pytest.raises(ValueError, match="at least 2"):
            split_prompts(rows, seed)
        return
    train, validation = split_prompts(rows, seed)
    assert train and validation
    assert not train & validation
    assert train | validation == prompts_of(rows)
    assert len(validation) == max(1, round(0.2 * len(prompts_of(rows))))


@given(ROWS, st.integers(0, 9))
def test_samples_appended_to_a_file_leave_the_split_as_it_was(rows, seed):
    if len(prompts_of(rows)) >= 2:
        assert split_prompts(rows, seed) == split_prompts([*rows, *(row(r.prompt, "other", "s") for r in rows)], seed)


@given(ROWS, st.none() | st.integers(1, 20))
def test_a_limit_keeps_all_rows_of_so_many_prompts_in_order(rows, limit):
    kept = limit_prompts(rows, limit)
    prompts = prompts_of(kept)
    assert len(prompts) == min(len(prompts_of(rows)), 99 if limit is None else limit)
    assert kept == [row for row in rows if row.prompt in prompts]


def test_a_limit_takes_each_family_in_proportion():
    rows = [row(f"n{k}", "dl_model") for k in range(40)] + [row(f"f{k}", "flowchart") for k in range(60)]
    assert Counter(row.family for row in limit_prompts(rows, 10)) == {"dl_model": 4, "flowchart": 6}
    assert Counter(row.family for row in limit_prompts(rows, 2)) == {"dl_model": 1, "flowchart": 1}


def test_held_out_prompts_are_trained_on_by_no_step_also_where_both_files_have_them():
    names = [f"prompt {k}" for k in range(60)]
    sft = [row(name, "a") for name in names[:40]]
    orpo = [row(name, "a") for name in names[20:]] + [Row(names[-1], "a sample", 0.5, "a", {})]
    held_out = [r.prompt for r in held_out_rows(sft, orpo, seed=3)]
    (sft_train, sft_held_out), (orpo_train, orpo_held_out) = split_prompts(sft, 3), split_prompts(orpo, 3)
    assert set(held_out) == (sft_held_out | orpo_held_out) - sft_train - orpo_train
    assert sft_held_out & orpo_train and orpo_held_out & sft_train  # such prompts there were
    assert len(held_out) == len(set(held_out)) and held_out == sorted(held_out, key=names.index)
    alone = [r.prompt for r in held_out_rows(sft[:20], orpo, seed=3)]
    assert set(alone) == split_prompts(sft[:20], 3)[1] | orpo_held_out
