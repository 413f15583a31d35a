"""The training log: hostile text stays text, both files say the same, and nothing half written is ever seen."""

import json
import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tuning.run.log import TABLE_ROWS, TrainingLog, escape, thin_out

HOSTILE = [
    "a | b",
    "two\nlines",
    "two\r\n\r\n# heading",
    "[text](http://example.org)",
    "![image](http://example.org/x.png)",
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "&lt;b&gt; &amp;",
    "`code` and ``more``",
    "```\nfence\n```",
    "~~~\nfence",
    "    indented",
    "\ttabbed",
    "*bold* _slanted_ ~~struck~~",
    "<https://example.org>",
    "https://example.org/a www.example.org",
    "[^1] [ref]: x",
    "back\\slash \\| pipe",
    "\u2028separator\u2029\x0b\x0c\x85",
    "ends with a backslash\\",
    "me@example.org mailto:me@example.org",
]
BACKSLASH_ESCAPE = re.compile(r"\\[!-/:-@\[-`{-~]")
TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.text("|\\`*_[]()<>&#~!-+=\n\r :/w.ab@")


@given(TEXTS)
def test_no_character_that_means_something_to_markdown_is_left_bare(text):
    bare = BACKSLASH_ESCAPE.sub("\0", escape(text))
    assert not set(bare) & set("\\`*_[]|~!<>@")
    assert "://" not in bare and "www." not in bare
    assert re.fullmatch(r"([^&#]|&amp;|&lt;|&gt;|&#64;)*", bare)


@given(TEXTS)
def test_escaped_text_is_one_line_that_starts_with_no_blank(text):
    escaped = escape(text)
    assert len(escaped.splitlines()) <= 1
    assert escaped == escaped.strip()


@given(TEXTS)
def test_a_reader_sees_the_text_itself(text):
    shown = BACKSLASH_ESCAPE.sub(lambda match: match[0][1], escape(text))
    shown = shown.replace("&#64;", "@").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert shown == " ".join(text.split())


@pytest.mark.parametrize(("value", "text"), [(0.123456789, "0.123457"), (1e-5, "1e-05"), (3, "3"), (None, "None")])
def test_numbers_are_shown_with_six_digits(value, text):
    assert escape(value) == text


def hostile_log(folder, text: str) -> TrainingLog:
    log = TrainingLog(folder, "log_hostile", f"Training of {text}")
    log.set("Text", text)
    log.set("Settings", {text: text, "seed": 2025})
    log.set("Rows", [{"name": text, text: 1.5}, {"name": "plain"}])
    return log


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_renders_as_text_in_tables_of_the_right_size(tmp_path, text):
    markdown_it = pytest.importorskip("markdown_it")
    hostile_log(tmp_path, text).write()
    renderer = markdown_it.MarkdownIt("commonmark").enable(["table", "strikethrough"])
    html = renderer.render((tmp_path / "log_hostile.md").read_text(encoding="utf-8"))
    assert set(re.findall(r"</?([a-z0-9]+)", html)) <= {"h1", "h2", "p", "table", "thead", "tbody", "tr", "th", "td"}
    assert (html.count("<h1>"), html.count("<h2>"), html.count("<table>")) == (1, 3, 2)
    assert (html.count("<tr>"), html.count("<th>"), html.count("<td>")) == (6, 4, 8)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_adds_no_line_and_no_column(tmp_path, text):
    def shape(name):
        hostile_log(tmp_path, name).write()
        lines = (tmp_path / "log_hostile.md").read_text(encoding="utf-8").split("\n")
        return [
            (line[:2] if line.startswith(("#", "|")) else "", len(re.findall(r"(?<!\\)\|", line))) for line in lines
        ]

    assert shape(text) == shape("plain")


@pytest.fixture
def log(tmp_path) -> TrainingLog:
    log = TrainingLog(tmp_path / "log", "log_train", "Training")
    log.set("Result", {"final average training loss": 0.123456789, "wall seconds": 12.5, "rows": 700})
    log.set("Scores", [{"family": "dl_model", "score": 0.5}, {"family": "flowchart", "score": 1.0}])
    log.set("Note", "went well")
    log.history.extend({"step": step, "epoch": step / 10, "loss": 1 / step} for step in range(1, 101))
    return log


def test_both_files_hold_the_same_figures(log):
    log.write()
    stored = json.loads((log.folder / "log_train.json").read_text(encoding="utf-8"))
    markdown = (log.folder / "log_train.md").read_text(encoding="utf-8").splitlines()
    assert stored["title"] == "Training" and "# Training" in markdown
    for name, value in stored["Result"].items():
        assert f"| {name} | {escape(value)} |" in markdown
    for row in stored["Scores"]:
        assert f"| {escape(row['family'])} | {escape(row['score'])} |" in markdown
    assert stored["Note"] in markdown


def test_the_json_file_holds_the_whole_history(log):
    log.write()
    assert json.loads((log.folder / "log_train.json").read_text(encoding="utf-8"))["history"] == log.history


def test_sections_stand_in_the_order_they_were_first_set(log):
    log.set("Result", "changed later")
    log.write()
    text = (log.folder / "log_train.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Result", "Scores", "Note"]
    assert "changed later" in text and "wall seconds" not in text


def test_writing_leaves_the_two_files_and_nothing_temporary(log):
    log.write()
    log.write()
    assert sorted(path.name for path in log.folder.iterdir()) == ["log_train.json", "log_train.md"]


def test_a_crash_while_writing_leaves_the_old_log_whole(log, monkeypatch):
    log.write()
    before = {path.name: path.read_bytes() for path in log.folder.iterdir()}

    def crash(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", crash)
    log.set("Note", "never seen")
    with pytest.raises(KeyboardInterrupt):
        log.write()
    assert {name: (log.folder / name).read_bytes() for name in before} == before


def test_a_picture_stands_below_its_section(log):
    class Picture:
        def save(self, file, format):
            file.write(format.encode())

    log.folder.mkdir()
    log.picture("Scores", Picture(), "scores")
    log.write()
    assert (log.folder / "log_train_scores.png").read_bytes() == b"png"
    section = (log.folder / "log_train.md").read_text(encoding="utf-8").split("## Scores")[1].split("## ")[0]
    assert section.rstrip().endswith("![Scores](log_train_scores.png)")


def test_a_log_just_written_is_not_due_before_its_interval_has_passed(log):
    log.write()
    assert not log.is_due(3600)
    assert log.is_due(0)


def test_the_last_line_of_a_finished_run_is_its_figures_as_json(log, capsys):
    figures = {"rows": 700, "loss": 0.5}
    log.finish(figures)
    log.announce()
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == figures
    assert json.loads((log.folder / "log_train.json").read_text(encoding="utf-8"))["Result"] == figures


@given(st.integers(0, 500))
def test_a_long_history_is_thinned_out_to_means_of_all_its_steps(steps):
    history = [{"step": step, "epoch": step / 7, "loss": float(step)} for step in range(1, steps + 1)]
    rows = thin_out(history)
    assert len(rows) <= TABLE_ROWS
    assert [row["step"] for row in rows] == sorted({row["step"] for row in rows})
    starts = [0, *(row["step"] for row in rows)]
    assert starts[-1] == steps
    for before, row in zip(starts, rows, strict=False):
        assert row["loss"] == pytest.approx((before + 1 + row["step"]) / 2)
        assert row["epoch"] == pytest.approx(row["step"] / 7, abs=0.0006)


def test_a_short_history_is_shown_step_by_step():
    history = [{"step": step, "epoch": step / 4, "loss": 1 / step} for step in range(1, TABLE_ROWS + 1)]
    assert thin_out(history) == history
