"""Importing files: every layout becomes the two CSVs that the steps read, and every row that is not taken is named."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock
from helpers import contents, finish_step_1, problems_of
from import_helpers import csv_of, drawing, line, plain

from fine_tuning import import_dataset
from fine_tuning.data.importing.examples import reference_text
from fine_tuning.data.split import split_prompts
from fine_tuning.run.commands import PROJECT


def both(result: SimpleNamespace) -> set[tuple[str, str]]:
    return {(row.prompt, row.answer) for row in [*result.sft, *result.orpo]}


NINE = {(f"draw, {k}", drawing(k)) for k in range(9)}


# The two CSVs


def test_rows_without_scores_are_divided_into_both_csvs_and_no_prompt_is_in_both(importing):
    result = importing(rows__csv=plain(90))
    assert (len(result.sft), len(result.orpo)) == (70, 20)
    assert {row.prompt for row in result.sft}.isdisjoint(row.prompt for row in result.orpo)
    assert {row.score for row in result.orpo} == {1.0}
    assert "20 of 90 prompts are for the ORPO CSV" in result.output


def test_the_share_of_the_orpo_csv_can_be_chosen(importing):
    assert len(importing("--orpo-share", "0.5", rows__csv=plain(20)).orpo) == 10


def test_the_files_are_utf8_with_commas_and_plain_line_ends(importing, tmp_path):
    importing(rows__csv=plain().replace("draw, 3", "zeichne\r\nKästchen").encode("cp1252"))
    for path in (tmp_path / "mine" / "create_dataset").iterdir():
        content = path.read_bytes()
        assert content.startswith(b"input_data,output_data") and b"\r" not in content
        content.decode()


def test_pairs_alone_fill_both_csvs_on_the_same_sides(importing):
    rows = [[f"p{k}", drawing(k), f"cut off {k}"] for k in range(10)]
    result = importing(pairs__csv=csv_of(["Prompt ", "CHOSEN", "rejected"], rows))
    assert [(row.score, row.ended) for row in result.orpo[:2]] == [(1.0, True), (0.0, False)]
    assert [row.answer for row in result.sft] == [drawing(k) for k in range(10)]
    sft_train, sft_held_out = split_prompts(result.sft, 1)
    orpo_train, orpo_held_out = split_prompts(result.orpo, 1)
    assert (sft_train, sft_held_out) == (orpo_train, orpo_held_out) and len(sft_held_out) == 2
    assert result.figures["pairs"] == 10


def test_a_rejected_answer_has_ended_if_its_last_line_is_complete(importing):
    rows = [[f"p{k}", drawing(k), f"{line()}\n{line(1)[:40]}" if k % 2 else line(x=900)] for k in range(4)]
    result = importing(pairs__csv=csv_of(["prompt", "chosen", "rejected"], rows))
    cells = [row.fields["ended"] for row in result.orpo]
    assert cells == ["", "true", "", "false", "", "true", "", "false"]


def test_rows_and_pairs_of_the_same_prompts_are_on_the_same_side_in_both_csvs(importing):
    pairs = csv_of(["prompt", "chosen", "rejected"], [[f"draw, {k}", drawing(k), "no"] for k in range(10)])
    result = importing(rows__csv=plain(30), pairs__csv=pairs)
    assert (len(result.sft), len(result.orpo)) == (30, 20)
    sides = {row.prompt: row.split for row in result.orpo}
    assert all(row.split == sides.get(row.prompt, row.split) for row in result.sft)
    trained = split_prompts(result.sft, 1)[0] | split_prompts(result.orpo, 1)[0]
    assert len(split_prompts(result.sft, 1)[1] - trained) == 6
    assert "10 prompts are in both CSVs" in result.output


def test_scored_answers_go_to_the_orpo_csv_and_need_an_answer_of_score_1(importing):
    rows = [[f"p{k}", drawing(k), "1"] for k in range(5)] + [[f"p{k}", "poor", "0.25"] for k in range(5)]
    result = importing(rows__csv=csv_of(["prompt", "answer", "score"], [*rows, ["no reference", "poor", "0.5"]]))
    assert len(result.orpo) == 10 and len(result.sft) == 5
    assert result.figures["not taken"] == {"no answer to its prompt has score 1.0, to compare with": 1}
    assert "row 11" in result.output


def test_several_pairs_of_one_prompt_are_kept_and_contradictions_are_named(importing):
    rows = [
        ["a", drawing(1), "x"],
        ["a", drawing(1), "y"],
        ["a", drawing(2), "z"],
        ["a", drawing(3), drawing(1)],
        ["a", drawing(1), "x"],
        ["b", drawing(1), "x"],
        ["b", "no diagram", "x"],
        ["b", drawing(1), drawing(1)],
    ]
    result = importing(pairs__csv=csv_of(["prompt", "chosen", "rejected"], rows))
    kept = [(row.prompt, row.answer, row.score) for row in result.orpo]
    assert kept == [
        ("a", drawing(1), 1.0), ("a", "x", 0.0), ("a", "y", 0.0), ("a", drawing(2), 1.0), ("a", "z", 0.0),
        ("b", drawing(1), 1.0), ("b", "x", 0.0),
    ]  # fmt: skip
    assert result.figures["pairs"] == 4 and result.figures["rows not taken"] == 4
    for words in (
        "row 4 (row 1)",
        "row 5 (row 1)",
        "row 7 (line 1: not a list)",
        "are the same: row 8",
        "(row 3, ...)",
    ):
        assert words in result.output


# Layouts


@pytest.mark.parametrize(
    "columns",
    [("input_data", "output_data"), ("prompt", "Response"), (" PROMPT", "answer "), ("Instruction", "output"),
     ("question", "answer"), ("Input Data", "Output-Data"), ("input", "output")],
)  # fmt: skip
def test_columns_are_found_by_their_names(importing, columns):
    assert both(importing(rows__csv=plain(columns=columns))) == NINE


def test_the_input_of_alpaca_rows_is_joined_to_the_instruction(importing):
    rows = [{"instruction": "Draw.", "input": f"box {k}" if k else "", "output": drawing(k)} for k in range(5)]
    prompts = {prompt for prompt, _ in both(importing(rows__json=rows))}
    assert prompts == {"Draw.", *(f"Draw.\n\nbox {k}" for k in range(1, 5))}


@pytest.mark.parametrize(("column", "role", "content", "user", "assistant"), [
    ("messages", "role", "content", "user", "assistant"), ("conversations", "from", "value", "human", "gpt"),
])  # fmt: skip
@pytest.mark.parametrize("as_text", [False, True])
def test_chats_of_one_request_and_one_answer_are_read(importing, column, role, content, user, assistant, as_text):
    chats = [
        [
            {role: "system", content: "Be brief."},
            {role: user, content: f"draw, {k}"},
            {role: assistant, content: drawing(k)},
        ]
        for k in range(9)
    ]
    chats.append([*chats[0], *chats[1][1:]])
    rows = [{column: str(chat) if as_text else chat} for chat in chats]
    result = importing(rows__json=rows)
    assert both(result) == {(f"{prompt}\n\nBe brief.", answer) for prompt, answer in NINE}
    assert result.figures["not taken"] == {f"{column} is a conversation of several turns": 1}


@pytest.mark.parametrize("prompt", ["text", "messages", "none"])
def test_pairs_of_message_lists_are_read(importing, prompt):
    rows = []
    for k in range(5):
        asked = [{"role": "user", "content": f"draw, {k}"}]
        answers = [[{"role": "assistant", "content": text}] for text in (drawing(k), "no")]
        chosen, rejected = answers if prompt == "messages" else [asked + answer for answer in answers]
        row = {"chosen": chosen, "rejected": rejected, "score_chosen": 8.0}
        rows.append(row | {"text": {"prompt": f"draw, {k}"}, "messages": {"prompt": asked}, "none": {}}[prompt])
    result = importing(pairs__jsonl="\n".join(map(json.dumps, rows)))
    assert [(row.prompt, row.answer) for row in result.sft] == [(f"draw, {k}", drawing(k)) for k in range(5)]


def test_columns_of_any_name_can_be_named(importing):
    result = importing(
        "--prompt-column", "bitte", "--answer-column", "BILD", rows__csv=plain(columns=("Bitte", "Bild"), separator=";")
    )
    assert both(result) == NINE


def test_columns_of_pairs_can_be_named_but_only_both(importing):
    table = csv_of(["Wunsch", "gut", "schlecht"], [[f"p{k}", drawing(k), "no"] for k in range(5)])
    named = ["--prompt-column", "wunsch", "--chosen-column", "gut"]
    assert (
        "pairs need a column rejected; name it with --rejected-column"
        in problems_of(importing, *named, a__csv=table)[0]
    )
    assert importing(*named, "--rejected-column", "schlecht", a__csv=table).figures["pairs"] == 5


def test_if_no_layout_fits_the_message_lists_the_columns_and_the_layouts(importing):
    (problem,) = problems_of(importing, rows__csv=plain(columns=("foo", "bar")))
    assert "'foo', 'bar'" in problem and "prompt, chosen, rejected" in problem and "--prompt-column" in problem
    (problem,) = problems_of(importing, "--answer-column", "nix", rows__csv=plain())
    assert "--answer-column nix: there is no such column. It has 'prompt', 'completion'" in problem


def test_two_columns_of_the_same_name_are_refused_if_they_are_needed(importing):
    table = csv_of(["prompt", "Prompt", "completion"], [["a", "b", drawing(1)]])
    assert "2 columns are named 'prompt'" in problems_of(importing, rows__csv=table)[0]


def test_useful_columns_are_kept_and_others_are_named(importing):
    columns = ["", "prompt", "completion", "dest_shape_info", "split", "comment", "ended"]
    rows = [
        [k, f"p{k}", drawing(k), "{'task_name': 'x'}", "Train" if k % 3 else "dev", "fine", "TRUE"] for k in range(12)
    ]
    result = importing(rows__csv=csv_of(columns, rows))
    assert {row.family for row in result.sft} == {"x"} and {row.fields["ended"] for row in result.sft} == {"true"}
    assert {row.prompt for row in [*result.sft, *result.orpo] if row.split == "validation"} == {"p0", "p3", "p6", "p9"}
    assert "Not used: comment" in result.output


def test_a_column_of_categories_becomes_the_family(importing):
    rows = [{"prompt": f"p{k}", "completion": drawing(k), "category": f"kind {k % 2}"} for k in range(9)]
    assert {row.family for row in importing(rows__json=rows).sft} == {"kind 0", "kind 1"}


# The split


def test_test_rows_are_left_out_and_counted(importing):
    rows = [[f"p{k}", drawing(k), "test" if k < 3 else ""] for k in range(12)]
    result = importing(rows__csv=csv_of(["prompt", "completion", "split"], rows))
    assert len(both(result)) == 9 and list(result.figures["not taken"].values()) == [3]
    assert {row.split for row in result.sft} == {""}


def test_with_a_column_split_each_csv_has_prompts_of_both_sides(importing):
    rows = [[f"p{k}", drawing(k), "valid" if k < 2 else "train"] for k in range(9)]
    result = importing(rows__csv=csv_of(["prompt", "completion", "split"], rows))
    for csv_rows in (result.sft, result.orpo):
        assert len(split_prompts(csv_rows, 1)[1]) == 1
    message = problems_of(importing, workspace="b", rows__csv=csv_of(["prompt", "completion", "split"], rows[1:]))[0]
    assert "8 prompts" not in message and "1 for validation" in message


def test_rows_of_one_prompt_that_name_different_sides_are_not_taken(importing):
    rows = [[f"p{k}", drawing(k), "train" if k % 2 else "val"] for k in range(9)]
    result = importing(rows__csv=csv_of(["prompt", "completion", "split"], [*rows, ["p1", drawing(20), "val"]]))
    assert "split differs from that of an earlier row with the same prompt: row 10 (row 2)" in result.output


def test_a_column_that_names_one_side_only_is_refused(importing):
    rows = [[f"p{k}", drawing(k), "train"] for k in range(9)]
    assert "validation" in problems_of(importing, rows__csv=csv_of(["prompt", "completion", "split"], rows))[0]


# What is not taken


def test_every_row_that_is_not_taken_is_named_by_its_kind_and_number(importing):
    rows = [[f"p{k}", drawing(k)] for k in range(9)]
    rows[1:1] = [["", drawing(1)], ["p", "  "], ["p", "a box"], ["p0", drawing(0)], ["", ""], ["prompt", "completion"]]
    result = importing(rows__csv=csv_of(["prompt", "completion"], rows))
    assert len(both(result)) == 9 and result.figures["rows read"] == 15 and result.figures["rows not taken"] == 6
    for words in ("no prompt: row 2", "the answer is empty: row 3", "not a diagram: row 4 (line 1: not a list)",
                  "a duplicate: the same prompt and answer as an earlier row: row 5 (row 1)", "an empty row: row 6",
                  "a copy of the header: row 7"):  # fmt: skip
        assert words in result.output


def test_flaws_of_layout_are_no_reason_to_leave_an_answer_out():
    overlapping = f"{line(0, 100, '[1]')}\n{line(1, 110)}"
    off_the_canvas = line(0, 5000)
    assert [reference_text(text) for text in (overlapping, off_the_canvas)] == [
        (overlapping, None),
        (off_the_canvas, None),
    ]


def test_fences_and_space_around_an_answer_are_removed_and_counted(importing):
    fenced = ["```python\n{}\n```", "\n ```\n{}\n```\n", "```json\n{}", "  {}  \n\n"]
    rows = [[f"p{k}", fenced[k % 4].format(drawing(k))] for k in range(8)]
    result = importing(rows__csv=csv_of(["prompt", "completion"], rows))
    assert {answer for _, answer in both(result)} == {drawing(k) for k in range(8)}
    assert result.figures["code fences removed"] == 6


def test_lines_with_one_meaning_and_answers_as_lists_are_written_in_the_exact_format(importing):
    as_list = [[0, 100, 300, "circle", 80, 80, "solid arrow", [255, 228, 196], [0, 0, 0], []]]
    rows = [{"prompt": f"p{k}", "completion": drawing(k)} for k in range(6)]
    rows += [{"prompt": "a", "completion": as_list}, {"prompt": "b", "completion": line() + ","}]
    rows += [
        {"prompt": "c", "completion": [line(), line(1, 900)]},
        {"prompt": "d", "completion": f"{line()}\\n{line(1, 900)}"},
    ]
    answers = dict(both(importing(rows__json=rows)))
    assert answers["a"] == answers["b"] == line()
    assert answers["c"] == answers["d"] == f"{line()}\n{line(1, 900)}"


def test_labels_are_kept_in_texts_and_lists(importing):
    labelled = line().replace("[0, ", "[0, {}, ")
    look = [100, 300, "circle", 80, 80, "solid arrow", [255, 228, 196], [0, 0, 0], []]
    rows = [{"prompt": f"p{k}", "completion": drawing(k)} for k in range(6)]
    rows += [{"prompt": "text", "completion": labelled.format("'Sales data'")}]
    rows += [
        {"prompt": "list", "completion": [[0, "it's", *look]]},
        {"prompt": "null", "completion": [[0, None, *look]]},
    ]
    rows += [{"prompt": "json", "completion": str([[0, "내", *look]]).replace("'", '"')}]
    rows += [{"prompt": "break", "completion": labelled.format("'a\\nb'")}]
    rows += [{"prompt": "long", "completion": labelled.format(repr("x" * 49))}]
    result = importing(rows__json=rows)
    answers = dict(both(result))
    assert answers["text"] == labelled.format("'Sales data'") and answers["list"] == labelled.format('"it\'s"')
    assert answers["null"] == labelled.format("''") and answers["json"] == labelled.format("'내'")
    assert answers["break"] == labelled.format("'a b'")
    assert "long" not in answers and "label has more than 48 characters" in result.output


def test_numbers_are_prompts_and_what_is_not_text_is_named(importing):
    rows = [{"prompt": k, "completion": drawing(k)} for k in range(7)] + [{"prompt": 1.5, "completion": drawing(9)}]
    odd = [{"a": 1}, [1, [2]], float("nan"), None, "\ud800"]
    result = importing(rows__json=rows + [{"prompt": prompt, "completion": drawing(1)} for prompt in odd])
    assert {prompt for prompt, _ in both(result)} == {*map(str, range(7)), "1.5"}
    assert result.figures["not taken"] == {
        "the prompt is not text": 2,
        "no prompt": 2,
        "the prompt has a half character (a surrogate), which UTF-8 cannot hold": 1,
    }


def test_scores_out_of_range_are_named(importing):
    rows = [[f"p{k}", drawing(k), score] for k, score in enumerate(["1", "1.0", "4", "", "good", "nan"])]
    pairs = [["p0", "bad", "0"], ["p1", "bad", "0.5"]]
    result = importing(rows__csv=csv_of(["prompt", "completion", "score"], rows + pairs))
    assert result.figures["not taken"] == {"the score is not a number from 0 to 1": 3, "no score": 1}
    assert "row 3 ('4')" in result.output


def test_if_no_row_can_be_used_the_reasons_are_the_error_and_nothing_is_written(importing, tmp_path):
    problems = problems_of(importing, rows__csv=csv_of(["prompt", "completion"], [["a", "b"], ["c", "d"]]))
    assert problems[0] == "no row can be used" and "Columns: prompt, completion" in problems[1]
    assert "row 1 (line 1: not a list), row 2" in problems[2]
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize("count", [1, 3])
def test_too_few_rows_are_refused(importing, count):
    assert f"{count} different prompts are too few" in problems_of(importing, rows__csv=plain(count))[0]


def test_a_row_is_shown_before_the_figures(importing):
    output = importing(rows__csv=plain(9)).output
    assert "the first row's prompt:\n    draw, " in output and f"its answer:\n    {line()[:8]}" in output


# The workspace


def test_csvs_that_are_there_are_kept_unless_overwrite_is_given(importing, tmp_path):
    first = importing(rows__csv=plain(9))
    before = contents(tmp_path / "mine")
    assert "add --overwrite" in problems_of(importing, rows__csv=plain(12))[0]
    assert contents(tmp_path / "mine") == before
    assert len(both(importing("--overwrite", rows__csv=plain(12)))) == 12 > len(both(first))


def test_csvs_of_a_run_are_never_replaced(importing, tmp_path):
    importing(rows__csv=plain(9))
    finish_step_1(tmp_path / "mine")
    before = contents(tmp_path / "mine")
    assert "a run has used its CSVs" in problems_of(importing, "--overwrite", rows__csv=plain(12))[0]
    assert contents(tmp_path / "mine") == before


def test_a_workspace_in_use_is_refused(importing, tmp_path):
    (tmp_path / "mine").mkdir()
    with FileLock(tmp_path / "mine" / ".lock"):
        assert "is using this workspace" in problems_of(importing, rows__csv=plain(9))[0]
    assert not (tmp_path / "mine" / "create_dataset").exists()


def test_a_crash_while_writing_leaves_a_workspace_without_csvs(importing, tmp_path, monkeypatch):
    from fine_tuning.run import workspace as module

    def crash(path: Path, content: bytes) -> None:
        if "orpo" in path.name:
            raise KeyboardInterrupt
        path.write_bytes(content)

    monkeypatch.setattr(module, "write_atomically", crash)
    with pytest.raises(KeyboardInterrupt):
        importing(rows__csv=plain(9))
    assert not (tmp_path / "mine" / "create_dataset").exists()
    monkeypatch.undo()


def test_a_workspace_that_is_a_link_to_a_missing_drive_is_refused(importing, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "unplugged")
    for workspace in ("link", "link/deeper"):
        (problem,) = problems_of(importing, workspace=workspace, rows__csv=plain(9))
        assert f"{tmp_path / 'link'} is a link to {tmp_path / 'unplugged'}, which does not exist" in problem
    assert not (tmp_path / "unplugged").exists()


def test_a_tilde_in_a_path_is_the_home_folder(importing, tmp_path, monkeypatch):
    (tmp_path / "rows.csv").write_text(plain(9))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["import_dataset.py", "~/rows.csv", "--workspace", "~/mine"])
    import_dataset.main()
    assert (tmp_path / "mine" / "create_dataset").is_dir() and not Path("~").exists()


def test_problems_of_all_files_are_listed_together(importing):
    problems = problems_of(importing, a__csv="", b__csv="x,y\n1,2\n", c__csv=plain())
    assert ["a.csv: the file is empty" in problems[0], "b.csv: no layout" in problems[1], len(problems)] == [
        True,
        True,
        2,
    ]


def test_the_committed_csvs_can_be_imported(importing):
    files = {name: (PROJECT / "create_dataset" / f"{name}_dataset_llm.csv").read_bytes() for name in ("sft", "orpo")}
    result = importing(sft__csv=files["sft"], orpo__csv=files["orpo"])
    assert (len(result.sft), len(result.orpo), result.figures["rows not taken"]) == (700, 200, 0)
    written = csv.DictReader(files["sft"].decode().splitlines(keepends=True))
    assert [row.fields for row in result.sft] == list(written)


def test_the_command_refuses_with_status_2_before_pandas_is_imported(start, tmp_path):
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    run = start("fine_tuning/import_dataset.py", tmp_path / "rows.csv", "--workspace", tmp_path / "mine")
    assert (
        (run.returncode, run.stdout) == (2, "")
        and run.stderr.startswith("error: ")
        and not (tmp_path / "mine").exists()
    )
