"""Markdown of a log: a reader sees every text literally, and no cell breaks its table."""

import re
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tuning.run.markdown import bullets, escape, paragraph, table

BACKSLASH_ESCAPE = re.compile(r"\\[!-/:-@\[-`{-~]")
TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.text("|\\`*_[]()<>&#~!-+=\n\r :/w.ab@")


@given(TEXTS)
def test_every_special_character_of_markdown_is_escaped(text):
    bare = BACKSLASH_ESCAPE.sub("\0", escape(text))
    assert not set(bare) & set("\\`*_[]|~!<>@$")
    assert "://" not in bare and "www." not in bare
    assert re.fullmatch(r"([^&#]|&amp;|&lt;|&gt;|&#64;)*", bare)


@given(TEXTS)
def test_escaped_text_is_one_line_without_surrounding_spaces(text):
    escaped = escape(text)
    assert len(escaped.splitlines()) <= 1
    assert escaped == escaped.strip()


@given(TEXTS)
def test_a_reader_sees_the_original_text(text):
    shown = BACKSLASH_ESCAPE.sub(lambda match: match[0][1], escape(text))
    shown = shown.replace("&#64;", "@").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert shown == seen(text)


@pytest.mark.parametrize(
    ("text", "shown"), [("a\x1b[2J", "a\\x1b[2J"), ("\u202eb", "\\u202eb"), ("c\u200bd", "c\\u200bd"), ("내 é", "내 é")]
)
def test_what_cannot_be_seen_is_shown_as_a_code(text, shown):
    assert seen(text) == shown and BACKSLASH_ESCAPE.sub(lambda match: match[0][1], escape(text)) == shown


@pytest.mark.parametrize(("value", "text"), [(0.123456789, "0.123457"), (1e-5, "1e-05"), (3, "3"), (None, "None")])
def test_numbers_are_shown_with_six_digits(value, text):
    assert escape(value) == text


def test_a_list_is_shown_as_its_items():
    assert escape(("q_proj", "k_proj")) == "q\\_proj, k\\_proj"


def html_of(markdown: str) -> str:
    markdown_it = pytest.importorskip("markdown_it")
    return markdown_it.MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown)


def seen(text: str) -> str:
    """What a reader sees of a text."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in " ".join(text.split()))


CELLS = TEXTS | st.text("|\\-:\x01\x1b[0m \t")
ROWS = st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=4)


@given(ROWS, st.tuples(CELLS, CELLS, CELLS))
def test_every_cell_of_a_table_shows_its_text_in_its_place(rows, columns):
    html = html_of(table(columns, rows))
    cells = re.findall(r"<t[hd](?: [^>]*)?>(.*?)</t[hd]>", html, re.DOTALL)
    assert [unescape(cell) for cell in cells] == [seen(cell) for row in (columns, *rows) for cell in row]
    assert set(re.findall(r"</?([a-z0-9]+)", html)) <= {"table", "thead", "tbody", "tr", "th", "td"}


def test_numbers_in_a_table_keep_their_text_and_are_aligned_right():
    rows = [["a", "0.500", "1_000"], ["b", "-1e-05", "007"], ["c", "", ""]]
    header, line, *body = table(["name", "value", "code"], rows).split("\n")
    assert [[cell.strip() for cell in text.strip("|").split("|")] for text in body] == [
        ["a", "0.500", "1\\_000"],
        ["b", "-1e-05", "007"],
        ["c", "", ""],
    ]
    assert [cell.endswith(":") for cell in line.strip("|").split("|")] == [False, True, False]


def test_a_table_without_rows_shows_its_columns():
    assert table(["a", "b"], []).split("\n")[0].replace(" ", "") == "|a|b|"


@pytest.mark.parametrize(("write", "tags"), [(paragraph, {"p"}), (lambda text: bullets([text]), {"ul", "li"})])
@given(text=TEXTS | st.text("-+=.)0 12#>x", max_size=8))
def test_a_paragraph_and_a_bullet_show_their_text_and_nothing_else(write, tags, text):
    html = html_of(write(text))
    assert set(re.findall(r"</?([a-z0-9]+)", html)) <= tags
    assert unescape(re.sub(r"<[^>]*>", "", html)).strip() == seen(text)
