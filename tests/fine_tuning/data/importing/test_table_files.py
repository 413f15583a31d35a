"""Reading files of rows: any encoding, separator and format; what cannot be read is said with its place."""

import gzip
import io
import json
import sys
import zipfile

import pandas as pd
import pytest
from helpers import problems_of

from fine_tuning.data.importing.cells import is_empty
from fine_tuning.data.importing.encodings import decode
from fine_tuning.data.importing.layouts import count_known
from fine_tuning.data.importing.table_files import Table, read_table


@pytest.fixture
def read(tmp_path):
    """Read a table from the content of a file."""

    def read(content: str | bytes, name: str = "rows.csv", **named: str) -> Table:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_table(path, lambda columns: count_known(columns, {}), **named)

    return read


def cells(table: Table) -> list[list[object]]:
    return [list(row.values()) for _, row in table.rows]


def excel(**sheets: list[list[object]]) -> bytes:
    buffer = io.BytesIO()
    with pd.ExcelWriter(buffer, engine="openpyxl") as writer:
        for name, rows in sheets.items():
            pd.DataFrame(rows).to_excel(writer, sheet_name=name, header=False, index=False)
    return buffer.getvalue()


ROWS = "prompt,completion\na,b\n"


# Encodings


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-8", "Kästchen 그림"),
        ("utf-8-sig", "Kästchen 그림"),
        ("utf-16", "Kästchen 그림"),
        ("utf-32", "Kästchen"),
        ("utf-16-le", "Draw two boxes"),
        ("utf-16-be", "Draw two boxes"),
        ("cp1252", "Un schéma très élégant – “réseau” à côté"),
        ("cp1252", "Zeichne drei Kästchen für die Übergröße"),
        ("cp949", "그림을 그려 주세요, 상자 두 개"),
        ("cp949", "LSTM 신경망 3개 입력을 그려 주세요"),
        ("gb18030", "请画LSTM网络，3个输入层和输出层"),
        ("cp932", "三つの箱を描いてください"),
        ("gb18030", "请画三个方框并连接它们"),
        ("cp1251", "Нарисуй три прямоугольника"),
    ],
)
def test_the_encoding_is_found_out(encoding, text):
    assert decode(f"prompt,completion\n{text}".encode(encoding)) == (f"prompt,completion\n{text}", encoding)


def test_a_guessed_encoding_is_named_and_another_can_be_chosen(read):
    content = "prompt,completion\nZażółć gęślą jaźń,b\n".encode("cp1250")
    assert "in cp1252 (a guess; if letters are wrong, name another with --encoding)" in read(content).format
    assert cells(read(content, encoding="cp1250")) == [["Zażółć gęślą jaźń", "b"]]
    assert "--encoding utf-8 does not fit" in problems_of(read, content, encoding="utf-8")[0]
    assert "there is no such encoding" in problems_of(read, content, encoding="utf-9")[0]


# CSV


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", "^", "~", ":", "\x1f"])
def test_the_separator_is_found_out_even_with_other_separators_in_cells(read, separator):
    table = read(f'prompt{separator}completion\n"a, b; c"{separator}"d | e"\n')
    assert cells(table) == [["a, b; c", "d | e"]]


def test_the_separator_line_of_excel_is_read(read):
    assert cells(read("sep=;\r\nprompt;completion\r\na,b;c\r\n")) == [["a,b", "c"]]


def test_line_breaks_and_quotes_in_cells_are_kept(read):
    assert cells(read('prompt,completion\r\n"a\r\nb ""c""",d\r\n')) == [['a\r\nb "c"', "d"]]


def test_rows_have_the_numbers_of_a_spreadsheet(read):
    table = read("\n\nprompt,completion\na,b\n\nc,d\n,,\n")
    assert [number for number, _ in table.rows] == [1, 3] and table.unread == [(2, "an empty row")]


def test_empty_columns_and_rows_at_the_end_are_dropped(read):
    table = read("prompt,completion,,\na,b,,\nc,d\n,,,\n,,,\n")
    assert (table.columns, cells(table), table.unread) == (["prompt", "completion"], [["a", "b"], ["c", "d"]], [])


def test_a_row_with_more_cells_than_the_header_is_named(read):
    table = read("prompt,completion\na,b,c\nd,e\n")
    assert cells(table) == [["d", "e"]]
    assert table.unread == [(1, "more cells than the header has: a quote or a separator may be missing")]


@pytest.mark.parametrize("end", ['"d', '"d"e\n'])
def test_a_wrong_quote_is_refused_with_its_row(read, end):
    assert "rows.csv: row 2: a wrong quote" in problems_of(read, f"{ROWS}c,{end}")[0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b" \n\n", "the file is empty"),
        (b"\xef\xbb\xbf", "the file is empty"),
        (b"prompt,completion\n", "a header but no rows"),
        (b"\x7fELF\0\0\1\2\3", "not a table in text form"),
        (gzip.compress(ROWS.encode(), mtime=0)[:20], "gzip compression is damaged"),
        (b"\xd0\xcf\x11\xe0 old", "Excel file of the old format"),
        (b"PK\x03\x04 broken", "damaged zip archive"),
        (b"PAR1 broken", "cannot be read as Parquet"),
    ],
)
def test_what_is_no_table_is_refused_in_plain_words(read, content, words):
    (problem,) = problems_of(read, content)
    assert words in problem and "rows.csv" in problem


def test_a_missing_file_and_a_folder_are_refused(read, tmp_path):
    def recognise(columns):
        return 0

    assert "there is no such file" in problems_of(read_table, tmp_path / "none.csv", recognise)[0]
    assert "this is a folder" in problems_of(read_table, tmp_path, recognise)[0]


def test_a_compressed_file_is_read(read):
    assert cells(read(gzip.compress(ROWS.encode()), "rows.csv.gz")) == [["a", "b"]]
    content = gzip.compress(b'{"prompt": "a", "completion": "b"}\n' * 2)
    assert cells(read(content, "rows.jsonl.gz")) == [["a", "b"]] * 2


# JSON


def test_json_lines_are_numbered_by_their_lines_and_broken_ones_are_named(read):
    good, deep = json.dumps({"prompt": "a", "completion": "b"}), "[" * 100_000
    table = read(f'{good}\n\n{{"prompt": \n7\n{good}\n{deep}\n', "rows.jsonl")
    assert [number for number, _ in table.rows] == [1, 5]
    assert [number for number, _ in table.unread] == [3, 4, 6]
    assert [reason.partition(" (")[0] for _, reason in table.unread] == [
        "its line is not valid JSON",
        "not a JSON object with named fields",
        "its line is not valid JSON",
    ]


@pytest.mark.parametrize(
    "value",
    [
        [{"prompt": "a", "completion": "b"}, {"prompt": "c", "completion": "d"}],
        {"version": 1, "data": [{"prompt": "a", "completion": "b"}, {"prompt": "c", "completion": "d"}]},
        {"prompt": ["a", "c"], "completion": ["b", "d"]},
        {"prompt": {"0": "a", "1": "c"}, "completion": {"0": "b", "1": "d"}},
    ],
)
def test_json_in_several_forms_is_read(read, value):
    assert cells(read(json.dumps(value), "rows.json")) == [["a", "b"], ["c", "d"]]


def test_one_object_is_one_row(read):
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert cells(read(json.dumps({"messages": chat}), "rows.jsonl")) == [[chat]]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('[{"prompt": "a"},', "not valid JSON"),
        ("[1", "not valid JSON"),
        ("7", "not a list of objects"),
        ("[" * 100_000, "nested"),
    ],
)
def test_broken_json_is_refused(read, content, words):
    assert words in problems_of(read, content, "rows.json")[0]


# Excel and Parquet


def test_the_sheet_with_known_columns_is_read_and_the_others_are_named(read):
    content = excel(
        Notes=[["about", "this"]], Data=[[None, None], ["prompt", "completion"], ["a", 5], [None, None], ["b", "NA"]]
    )
    table = read(content, "rows.xlsx")
    assert cells(table) == [["a", 5], ["b", "NA"]] and [number for number, _ in table.rows] == [1, 3]
    assert "sheet 'Data'; not read: 'Notes' (choose with --sheet)" in table.format
    assert "It has Notes, Data" in problems_of(read, content, "rows.xlsx", sheet="x")[0]


def test_merged_cells_leave_empty_cells(read):
    buffer = io.BytesIO()
    with pd.ExcelWriter(buffer, engine="openpyxl") as writer:
        rows = [["prompt", "completion"], ["a", "b"], ["c", "d"]]
        pd.DataFrame(rows).to_excel(writer, sheet_name="Data", header=False, index=False)
        writer.sheets["Data"].merge_cells("A2:A3")
    first, second = cells(read(buffer.getvalue(), "rows.xlsx"))
    assert first == ["a", "b"] and is_empty(second[0]) and second[1] == "d"


def test_without_openpyxl_the_message_names_the_command(read, monkeypatch):
    content = excel(Sheet=[["prompt", "completion"], ["a", "b"]])
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    assert "python -m pip install openpyxl" in problems_of(read, content, "rows.xlsx")[0]


def test_other_zip_archives_are_refused(read):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("rows.csv", ROWS)
    assert "a zip archive. Unpack it" in problems_of(read, buffer.getvalue(), "rows.zip")[0]


def test_parquet_with_lists_of_messages_and_missing_cells_is_read(read):
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    buffer = io.BytesIO()
    pd.DataFrame({"messages": [chat, None], "number": [1, None]}).to_parquet(buffer)
    assert cells(read(buffer.getvalue(), "rows.parquet")) == [[chat, 1]]
