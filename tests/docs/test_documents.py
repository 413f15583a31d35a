"""What the documents say can be followed: links, tests, commands, examples."""

import doctest
import re

import pytest
from helpers import ROOT

from diagram import parse
from fine_tuning.run.presets import EMBEDDED, REAL
from fine_tuning.run.set_flag import SETTINGS
from fine_tuning.run.setting_kinds import as_text

FRONT_PAGES = [ROOT / "README.md", ROOT / "README.ko.md"]
ROOMS = ("", "docs", "benchmarks", "fine_tuning/embedded_model")
DOCUMENTS = [*(path for room in ROOMS for path in sorted((ROOT / room).glob("*.md"))), ROOT / "log" / "README.md"]
SOURCES = "".join(
    path.read_text("utf-8")
    for room in ("fine_tuning", "create_dataset", "benchmarks")
    for path in (ROOT / room).rglob("*.py")
)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)|<img src=\"([^\"]+)\"")  # relative ones, without their anchors
COMMAND = re.compile(r"python ((?:fine_tuning|create_dataset|benchmarks)/\S+\.py)((?: [^`\n#&]*)?)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file(document):
    targets = [a or b for a, b in LINK.findall(document.read_text("utf-8"))]
    assert [target for target in targets if not (document.parent / target).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_names_a_script_that_exists_and_flags_that_it_has(document):
    for script, arguments in COMMAND.findall(document.read_text("utf-8")):
        assert (ROOT / script).is_file()
        for flag in (word for word in arguments.split() if word.startswith("--")):
            assert f'"{flag}"' in SOURCES


def test_the_table_of_settings_is_that_of_the_presets():
    text = (ROOT / "docs" / "FLAGS.md").read_text("utf-8")
    shown = re.findall(r"^\| `([\w.]+)` \| (.*) \| (.*) \| (.*) \| (.*) \|$", text, re.MULTILINE)
    expected = []
    for name, setting in SETTINGS.items():
        default, embedded = (as_text(setting.value_in(preset)) for preset in (REAL, EMBEDDED))
        expected.append((name, setting.meaning, setting.kind.must_be, default, "" if embedded == default else embedded))
    assert shown == expected


def test_every_test_that_is_named_for_a_promise_exists():
    named = re.findall(r"`((?:[a-z_]+/)*test_\w+\.py)`", (ROOT / "docs" / "RELIABILITY.md").read_text("utf-8"))
    assert len(named) > 20
    assert [name for name in named if not (ROOT / "tests" / name).is_file()] == []


@pytest.mark.parametrize("document", FRONT_PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_example_on_the_front_page_is_a_diagram_without_a_problem(document):
    lines = re.findall(r"^ {4}(\[.*\])$", document.read_text("utf-8"), re.MULTILINE)
    diagram = parse("\n".join(lines))
    assert (len(diagram.nodes), diagram.problems) == (6, ())


def test_the_examples_of_the_language_give_what_the_page_shows():
    outcome = doctest.testfile(str(ROOT / "docs" / "LANGUAGE.md"), module_relative=False)
    assert outcome.attempted == 4 and not outcome.failed


FIGURES = ("score", "labels right", "graph exactly right", "layout flawless", "ended by itself")
TABLE_ROW = re.compile(r"^\| [^|]+ \| (0\.\d{3})" + r" \| (\d+\.\d %)" * (len(FIGURES) - 1) + r" \|$", re.MULTILINE)


def recorded(section: str, suffix: str) -> list[tuple[str, ...]]:
    """FIGURES of each model of a section of RESULTS.md, from rows whose names end in `suffix`, as pages round them."""
    results = (ROOT / "benchmarks" / "RESULTS.md").read_text("utf-8")
    text = re.search(rf"^## {section}.*?(?=^## |\Z)", results, re.MULTILINE | re.DOTALL)
    assert text
    columns = []
    for name in FIGURES:
        line = re.search(rf"^\| {name}, {suffix} +\|(.*)\|$", text[0], re.MULTILINE)
        assert line
        means = [float(cell.split()[0]) for cell in line[1].split("|")]
        columns.append([f"{mean:.3f}" if name == "score" else f"{100 * mean:.1f} %" for mean in means])
    return list(zip(*columns, strict=True))


@pytest.mark.parametrize("document", FRONT_PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_tables_on_the_front_page_show_the_recorded_results(document):
    """The embedded model, sampled: base, SFT and ORPO. Then greedily: the small pre-trained model, and SFT and ORPO of
    the embedded one.
    """
    embedded, pretrained = "The embedded model", "A pre-trained model"
    _, examples, _, sft, _, _, orpo, _ = recorded(pretrained, "held-out, greedy")
    expected = [*recorded(embedded, "sampled"), examples, sft, orpo, *recorded(embedded, "greedy")[1:]]
    assert TABLE_ROW.findall(document.read_text("utf-8")) == expected
