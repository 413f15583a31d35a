"""The training log: it opens with the verdict, both files hold the same figures, and text stays text."""

import json
import os
import re

import pytest
from matplotlib.figure import Figure
from PIL import Image

from fine_tuning.run.log import TrainingLog, stored_result
from fine_tuning.run.markdown import escape
from fine_tuning.run.verdict import Verdict

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
    "- item",
    "+ item",
    "1. item",
    "2) item",
    "---",
    "===",
    "$x^2$ and $$y$$",
    "\x01",
    "\x1b[31mred\x1b[0m \x1b]8;;http://example.org\x1b\\link\x1b]8;;\x1b\\",
    "1e5",
    "0x10",
    "내 모델",
]


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
    assert (html.count("<tr>"), html.count("<th"), html.count("<td")) == (6, 4 + 2, 8)  # "<th" is in "<thead>" too


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


def markdown_of(log: TrainingLog) -> str:
    return (log.folder / f"{log.name}.md").read_text(encoding="utf-8")


def stored(log: TrainingLog) -> dict:
    return json.loads((log.folder / f"{log.name}.json").read_text(encoding="utf-8"))


def headings(log: TrainingLog) -> list[str]:
    return re.findall(r"^## (.*)$", markdown_of(log), re.MULTILINE)


def rows_of(log: TrainingLog, section: str) -> list[list[str]]:
    """The cells of a section's table, its columns first."""
    text = markdown_of(log).split(f"## {section}\n")[1].split("\n## ")[0]
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def test_both_files_hold_the_same_figures(log):
    log.write()
    assert stored(log)["title"] == "Training" and "# Training" in markdown_of(log).splitlines()
    assert rows_of(log, "Result")[1:] == [[name, escape(value)] for name, value in stored(log)["Result"].items()]
    scores = stored(log)["Scores"]
    assert rows_of(log, "Scores") == [list(scores[0]), *([escape(cell) for cell in row.values()] for row in scores)]
    assert stored(log)["Note"] in markdown_of(log).splitlines()


def test_a_wide_table_is_transposed(log):
    rows = [{"model": model} | {f"part {k}": k / 10 for k in range(20)} for model in ("before", "after")]
    log.set("Validation", rows)
    log.write()
    lines = rows_of(log, "Validation")
    assert lines[:2] == [["model", "before", "after"], ["part 0", "0", "0"]] and len(lines) == 21
    assert stored(log)["Validation"] == rows


def test_a_hidden_figure_is_in_the_json_file_only(log):
    log.set("Data", {"rows": 700, "prompts": 140}, hide=["prompts"])
    log.set("Scores", [{"family": "diagram", "score": 0.5}], hide=["family", "score"])
    log.write()
    assert rows_of(log, "Data")[1:] == [["rows", "700"]] and "Scores" not in headings(log)
    assert stored(log)["Data"]["prompts"] == 140 and stored(log)["Scores"][0]["score"] == 0.5


def test_setting_a_section_again_shows_what_was_hidden_before(log):
    log.set("Data", {"rows": 700}, hide=["rows"])
    log.set("Data", {"rows": 700})
    log.write()
    assert "Data" in headings(log)


def test_the_json_file_holds_the_whole_history(log):
    log.write()
    assert stored(log)["history"] == log.history


def test_sections_keep_the_order_in_which_they_were_first_set(log):
    log.set("Scores", "changed later")
    log.write()
    assert headings(log) == ["Result", "Scores", "Note"]
    assert "changed later" in markdown_of(log) and "flowchart" not in markdown_of(log)


def test_writing_leaves_two_files_and_no_temporary_ones(log):
    log.write()
    log.write()
    assert sorted(path.name for path in log.folder.iterdir()) == ["log_train.json", "log_train.md"]


def test_a_crash_while_writing_keeps_the_old_log(log, monkeypatch):
    log.write()
    before = {path.name: path.read_bytes() for path in log.folder.iterdir()}

    def crash(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", crash)
    log.set("Note", "never seen")
    with pytest.raises(KeyboardInterrupt):
        log.write()
    assert {name: (log.folder / name).read_bytes() for name in before} == before


def test_during_a_run_the_log_opens_with_the_progress_and_has_no_result(log):
    log.progress("Training: step 120 of 2,240, loss 0.08")
    assert markdown_of(log).splitlines()[:3] == ["# Training", "", "Training: step 120 of 2,240, loss 0.08"]
    assert headings(log) == ["Scores", "Note"]
    assert stored_result(log.folder, log.name) is None


def test_a_new_log_says_that_the_run_has_begun(tmp_path):
    log = TrainingLog(tmp_path, "log", "Training")
    log.write()
    assert "The run has begun." in markdown_of(log) and stored_result(tmp_path, "log") is None


def with_pictures(log: TrainingLog) -> TrainingLog:
    log.folder.mkdir()
    log.sheet(Image.new("RGB", (4, 3)), "samples")
    log.plot(Figure(figsize=(1, 1)), "loss")
    return log


def test_a_finished_log_opens_with_verdict_plot_and_contact_sheet_before_every_table(log):
    with_pictures(log).progress("Training: step 1 of 2")
    log.finish({"loss": 0.5, "seconds": 3}, Verdict(["Loss: 0.5", "Time: 3 s"], {"loss"}))
    opening, *sections = markdown_of(log).split("\n## ")
    assert opening.splitlines() == [
        "# Training",
        "",
        "- Loss: 0.5",
        "- Time: 3 s",
        "",
        "![Plot](log_train_loss.png)",
        "",
        "![Contact sheet](log_train_samples.png)",
    ]
    assert [section.splitlines()[0] for section in sections] == ["Result", "Scores", "Note"]
    assert rows_of(log, "Result")[1:] == [["seconds", "3"]] and stored(log)["Result"] == {"loss": 0.5, "seconds": 3}


def test_pictures_are_saved_beside_the_log_and_later_ones_replace_them(log):
    with_pictures(log).sheet(Image.new("RGB", (8, 6)), "samples")
    log.write()
    sheet, plot = (Image.open(log.folder / f"log_train_{suffix}.png") for suffix in ("samples", "loss"))
    assert sheet.size == (8, 6) and plot.format == "PNG"
    assert markdown_of(log).count("![") == 2


@pytest.mark.parametrize(("seconds_to_write", "due_after"), [(0.0, 10.0), (0.25, 10.0), (3.0, 60.0)])
def test_a_log_is_due_again_when_the_interval_has_passed_and_later_if_writing_takes_long(
    log, monkeypatch, seconds_to_write, due_after
):
    clock = iter([100.0, 100.0 + seconds_to_write])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    log.write()
    for seconds, is_due in ((due_after - 0.1, False), (due_after + 0.1, True)):
        monkeypatch.setattr("time.monotonic", lambda: 100.0 + seconds_to_write + seconds)  # noqa: B023
        assert log.is_due(10) == is_due


def test_the_last_line_of_a_finished_run_is_its_figures_as_json(log, capsys):
    figures = {"rows": 700, "loss": 0.5}
    log.finish(figures)
    log.announce()
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == figures
    assert stored(log)["Result"] == figures == stored_result(log.folder, log.name)
