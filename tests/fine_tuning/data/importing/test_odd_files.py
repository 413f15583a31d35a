"""Files as other programs and people write them: what has one meaning is read, the rest is refused with a reason."""

import io
import json

import openpyxl
import pytest
from helpers import problems_of
from import_helpers import csv_of, drawing, line, plain

from fine_tuning.data.importing.answers import answer_of
from fine_tuning.data.importing.scores import score_of

TWO = f"{line(0, targets='[1]')}\n{line(1, x=400)}"
PAIRS = ["prompt", "chosen", "rejected"]
SCORES = ["prompt", "answer", "score"]


def taken(result) -> set[tuple[str, str]]:
    return {(row.prompt, row.answer) for row in [*result.sft, *result.orpo]}


SIX = {(f"draw, {k}", drawing(k)) for k in range(6)}


# Columns and headers


def test_a_column_without_a_name_is_no_column_of_ours(importing):
    """As `DataFrame.to_csv` writes the index."""
    rows = [[str(k), f"draw, {k}", drawing(k)] for k in range(6)]
    assert taken(importing(rows__csv=csv_of(["", "prompt", "completion"], rows))) == SIX


def test_a_running_number_in_front_of_each_row_needs_no_column(importing):
    """As R's `write.table` writes row names."""
    rows = "".join(f'"{k + 1}" "draw, {k}" "{drawing(k)}"\n' for k in range(6))
    result = importing(rows__txt=f'"prompt" "completion"\n{rows}')
    assert taken(result) == SIX and "separated by spaces" in result.output


@pytest.mark.parametrize("above", ["# exported by a tool, version 2\n# all rows\n", "My drawings\n\n", ";;\nTitle;;\n"])
def test_lines_above_the_header_are_not_read(importing, above):
    result = importing(rows__csv=above + plain(6, separator=";"))
    assert taken(result) == SIX and "above the header not read" in result.output


def test_rows_are_numbered_from_the_header_even_if_lines_stand_above_it(importing):
    table = "# exported\n" + plain(6) + '"no drawing","sorry"\n'
    assert "not a diagram: row 7 (line 1: not a list)" in importing(rows__csv=table).output


@pytest.mark.parametrize("mark", ["\ufeff", "\ufeff\ufeff"])
def test_byte_order_marks_do_not_belong_to_the_first_column(importing, mark):
    assert taken(importing(rows__csv=mark + plain(6))) == SIX


@pytest.mark.parametrize("quote", ['\\"', '""'])
def test_quotes_in_cells_may_be_doubled_or_have_a_backslash(importing, quote):
    rows = "".join(f'"box {quote}{k}{quote}","{drawing(k)}"\n' for k in range(6))
    assert taken(importing(rows__csv=f"prompt,completion\n{rows}")) == {(f'box "{k}"', drawing(k)) for k in range(6)}


def test_a_space_after_each_comma_does_no_harm(importing):
    rows = "".join(f'"draw, {k}", "{drawing(k)}"\n' for k in range(6))
    assert taken(importing(rows__csv=f"prompt, completion\n{rows}")) == SIX


def test_a_named_column_may_be_in_some_of_the_files_only(importing):
    files = {"a__csv": plain(6, columns=("Frage", "answer"))}
    files["b__csv"] = csv_of(PAIRS, [[f"p{k}", drawing(k), "no"] for k in range(2)])
    result = importing("--prompt-column", "Frage", **files)
    assert (len(result.sft), result.figures["pairs"]) == (6, 2)
    problems = problems_of(importing, "--prompt-column", "nix", workspace="other", **files)
    assert len(problems) == 2 and all("--prompt-column nix: there is no such column" in text for text in problems)


def test_two_flags_with_the_same_column_are_refused(importing):
    flags = ["--prompt-column", "prompt", "--answer-column", "Prompt"]
    (problem,) = problems_of(importing, *flags, a__csv=plain(6))
    assert "--answer-column Prompt: another flag names the same column" in problem


def test_formulas_without_a_result_are_counted(importing):
    book = openpyxl.Workbook()
    for row in [["prompt", "completion", "note"], *([f"draw, {k}", drawing(k), "=1/2"] for k in range(6))]:
        book.active.append(row)
    buffer = io.BytesIO()
    book.save(buffer)
    result = importing(rows__xlsx=buffer.getvalue())
    assert taken(result) == SIX and "6 formulas have no stored result" in result.output


def test_an_encoding_with_a_byte_order_mark_is_no_guess(importing):
    assert "in utf-16. Columns" in importing(rows__txt=plain(6, separator="\t").encode("utf-16")).output


def test_a_sheet_of_no_excel_file_is_refused(importing):
    assert problems_of(importing, "--sheet", "Data", rows__csv=plain(6)) == ("--sheet Data: no Excel file was given",)


# Encodings and JSON


@pytest.mark.parametrize("encoding", ["cp1250", "cp1252", "cp1253", "iso8859_2"])
def test_european_letters_are_not_read_as_chinese_ones(importing, encoding):
    words = {"cp1252": "Übergröße ñandú façade", "cp1253": "Σχεδίασε κουτιά"}.get(encoding, "Zażółć gęślą jaźń")
    rows = [[f"{words} {k}", drawing(k)] for k in range(6)]
    result = importing("--encoding", encoding, rows__csv=csv_of(["prompt", "answer"], rows).encode(encoding))
    assert {prompt for prompt, _ in taken(result)} == {f"{words} {k}" for k in range(6)}
    guessed = importing(workspace="guessed", rows__csv=csv_of(["prompt", "answer"], rows).encode(encoding))
    assert "gb18030" not in guessed.output and "(a guess; if letters are wrong" in guessed.output


def test_a_wrong_byte_in_a_file_of_utf_8_is_named_instead_of_guessing(importing):
    content = csv_of(["prompt", "answer"], [[f"{k}상자를 그려 줘", drawing(k)] for k in range(6)]).encode()
    (problem,) = problems_of(importing, rows__csv=content.replace(b"5\xec", b"5\xff\xec"))
    assert "it is UTF-8, but 1 byte is wrong, the first at byte 5" in problem


OBJECTS = [{"prompt": f"draw, {k}", "completion": drawing(k)} for k in range(6)]
LISTS = [list(row.values()) for row in OBJECTS]


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(json.dumps(row, indent=2) for row in OBJECTS),
        ",\n".join(json.dumps(row) for row in OBJECTS),
        "\n".join(map(str, OBJECTS)),
        json.dumps({"train": OBJECTS[:4], "validation": OBJECTS[4:]}),
        json.dumps({"tags": ["a"], "rows": OBJECTS}),
        json.dumps({"columns": ["prompt", "completion"], "index": [*range(6)], "data": LISTS}),
        json.dumps({str(k): row for k, row in enumerate(OBJECTS)}),
        plain(6),
    ],
)
@pytest.mark.parametrize("name", ["rows__json", "rows__jsonl"])
def test_json_is_read_as_programs_write_it(importing, name, text):
    assert taken(importing(**{name: text})) == SIX


def test_lists_of_the_two_sides_in_json_are_the_split(importing):
    result = importing(rows__json={"train": OBJECTS[:4], "validation": OBJECTS[4:]})
    assert {row.prompt for row in [*result.sft, *result.orpo] if row.split == "validation"} == {"draw, 4", "draw, 5"}


def test_json_lines_in_a_file_named_csv_are_read(importing):
    assert taken(importing(rows__csv="\n".join(map(json.dumps, OBJECTS)))) == SIX


def test_a_file_of_which_no_line_is_json_is_refused_with_that_reason(importing):
    assert "none of its lines is a JSON object; row 1: " in problems_of(importing, rows__jsonl="{a: 1}\n{b: 2}\n")[0]


@pytest.mark.parametrize(("content", "words"), [
    ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a git-lfs pointer"),
    ("<!DOCTYPE html>\n<html><body>Not found</body></html>", "a web page"),
])  # fmt: skip
def test_what_a_failed_download_leaves_is_named(importing, content, words):
    assert words in problems_of(importing, rows__csv=content)[0]


# Answers


@pytest.mark.parametrize(
    "written",
    [
        f"```python\n{TWO}\n```",
        f"``` python title=x\n{TWO}\n```",
        f"~~~\n{TWO}\n~~~",
        f"````\n{TWO}\n````",
        f"```\n{TWO}",
        f"Here it is:\n\n```python\n{TWO}\n```\nI hope it helps!",
        f"```\n{TWO}\n```\nEach line is one shape.",
        f"[\n{TWO.replace(chr(10), f',{chr(10)}')}\n]",
        f"[{TWO.replace(chr(10), ', ')}]",
        f"```json\n[{TWO.replace(chr(10), ', ').replace('(', '[').replace(')', ']').replace(chr(39), chr(34))}]\n```",
        str(TWO.split("\n")),
        json.dumps(TWO.split("\n")),
        TWO.replace("\n", "\\n"),
        TWO.split("\n"),
    ],
)
def test_an_answer_is_read_without_its_wrapping(written):
    assert answer_of(written, "the answer", text_around=True).text == TWO


@pytest.mark.parametrize(
    "text",
    [
        f"Here it is:\n{TWO}",
        f"```\n{TWO}\n```\nor\n```\n{TWO}\n```",
        f"[{line()}",
        "[[[[",
        "[['a', 1], 'b']",
        "Use ``` for code",
        f"text\n```\n{TWO}",
    ],
)
def test_other_answers_stay_as_they_are(text):
    assert answer_of(text, "the answer", text_around=True).text == text


def test_an_explanation_around_a_rejected_answer_goes_only_with_that_around_the_chosen_one(importing):
    chatty = "Sure!\n```\n{}\n```\nDone."
    rows = [["a", chatty.format(TWO), chatty.format(line(x=9))], ["b", TWO, chatty.format(line(x=9))]]
    result = importing(pairs__csv=csv_of(PAIRS, rows))
    assert [row.answer for row in result.orpo] == [TWO, line(x=9), TWO, chatty.format(line(x=9))]
    assert "code fences removed from the answers of 1 row, and text around 1 of them" in result.output


def test_a_pair_whose_answers_are_the_same_once_they_are_written_exactly_is_not_taken(importing):
    rows = [[f"p{k}", drawing(k), "no"] for k in range(3)] + [["q", f"{drawing(7)},", drawing(7)]]
    result = importing(pairs__csv=csv_of(PAIRS, rows))
    assert result.figures["pairs"] == 3
    assert result.figures["not taken"] == {"the chosen and the rejected answer are the same": 1}


def test_shapes_with_other_numbers_of_fields_are_refused_with_that_reason(importing):
    rows = [[f"p{k}", "[0, 100, 300]" if k > 3 else drawing(k)] for k in range(6)]
    assert "row 5 (line 1: 3 fields instead of" in importing(rows__csv=csv_of(["prompt", "answer"], rows)).output


# Scores


@pytest.mark.parametrize(
    ("cell", "score"),
    [("0.5 ", 0.5), ("0,5", 0.5), ("1,0", 1.0), ("50%", 0.5), ("100 %", 1.0), ("12,5 %", 0.125), (1, 1.0), (True, 1.0),
     ("false", 0.0), ("1e-1", 0.1)],
)  # fmt: skip
def test_a_score_is_read_in_every_notation_with_one_meaning(cell, score):
    assert score_of(cell) == score


@pytest.mark.parametrize(("good", "bad"), [("100", "40"), ("10", "1"), ("5", "1"), ("1", "-1")])
def test_scores_on_another_scale_are_refused_as_a_whole(importing, good, bad):
    """A 1 on a scale from 1 to 5 would be taken for a perfect answer."""
    rows = [[f"p{k}", drawing(k + 10 * (score == bad)), score] for k in range(5) for score in (good, bad)]
    (problem,) = problems_of(importing, rows__csv=csv_of(SCORES, rows))
    assert f"the scores in column 'score' go from {bad} to {good}. Bring them to the scale from 0 to 1" in problem


def test_labels_of_good_and_bad_answers_are_scores(importing):
    rows = [{"prompt": f"p{k}", "completion": drawing(k) if good else "no", "label": good}
            for k in range(4) for good in (True, False)]  # fmt: skip
    result = importing(rows__json=rows)
    assert [row.score for row in result.orpo] == [1.0, 0.0] * 4 and len(result.sft) == 4


def test_an_empty_column_of_scores_is_as_good_as_none(importing):
    rows = [{"prompt": f"draw, {k}", "completion": drawing(k), "score": None} for k in range(6)]
    assert taken(importing(rows__json=rows)) == SIX


def test_other_labels_are_not_used(importing):
    rows = [{"prompt": f"draw, {k}", "completion": drawing(k), "label": "network"} for k in range(6)]
    result = importing(rows__json=rows)
    assert taken(result) == SIX and "Not used: label" in result.output


def test_prompts_without_a_best_answer_are_named_with_what_helps(importing):
    rows = [[f"p{k}", drawing(k), score] for k, score in enumerate(["1", "1", "1", "0.9"])]
    output = importing(rows__csv=csv_of(SCORES, [*rows, ["p0", "bad", "0.5"]])).output
    assert "to compare with: row 4. Give the best answer to each of these prompts the score 1" in output


# Chats


@pytest.mark.parametrize(
    ("asks", "answers"), [("human", "chatgpt"), ("user", "bing"), ("prompter", "assistant"), ("Human", "AI")]
)
def test_the_roles_of_other_collections_are_known(importing, asks, answers):
    rows = [{"conversations": [{"from": asks, "value": f"draw, {k}"}, {"from": answers, "value": drawing(k)}]}
            for k in range(6)]  # fmt: skip
    assert taken(importing(rows__json=rows)) == SIX


# What contradicts itself


def test_a_split_with_one_side_is_refused_in_words_of_the_import(importing):
    rows = [[f"p{k}", drawing(k), "train"] for k in range(8)]
    problem = problems_of(importing, rows__csv=csv_of(["prompt", "answer", "split"], rows))[0]
    assert problem.startswith("the column split says train for all prompts. Add rows with validation")


def test_answers_that_are_good_in_one_file_and_rejected_in_another_are_noted(importing):
    pairs = csv_of(PAIRS, [[f"draw, {k}", drawing(k + 20), drawing(k)] for k in range(3)])
    output = importing(rows__csv=plain(6), pairs__csv=pairs).output
    assert "in the rows without a score: 3 (pairs.csv, row 1, ...)" in output


# What is said about rows


def test_every_row_that_is_not_taken_is_named(importing):
    rows = [[f"p{k}", drawing(k) if k in (0, 1, 2, 3, 20) else "sorry"] for k in range(30)]
    table = csv_of(["prompt", "answer"], rows)
    assert "row 14 (line 1: not a list) and 15 more: rows 15-20, 22-30. Correct" in importing(rows__csv=table).output
    output = importing(workspace="two", rows__csv=table, b__csv=plain(2)).output
    assert " and 15 more: rows.csv, rows 15-20, 22-30. Correct" in output


def test_the_command_to_run_next_is_printed(importing, tmp_path):
    command = f"next: python fine_tuning/run_all.py --workspace {tmp_path / 'mine'} "
    assert importing(rows__csv=plain(6)).output.splitlines()[-2].startswith(command)


# Too few rows


def test_if_too_few_rows_are_left_the_others_are_named_too(importing, tmp_path):
    rows = [[f"p{k}", drawing(k) if k < 3 else "sorry"] for k in range(9)]
    problems = problems_of(importing, rows__csv=csv_of(["prompt", "answer"], rows))
    assert "3 different prompts are too few" in problems[0]
    assert problems[-1].startswith("not taken, 6: the answer is not a diagram: row 4 (")
    assert not (tmp_path / "mine").exists()
