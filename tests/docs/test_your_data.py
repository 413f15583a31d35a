"""The commands on the page about your own data, from a foreign file to a picture."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT

EXAMPLES = Path(__file__).parent


def commands() -> list[str]:
    page = (ROOT / "docs" / "YOUR_DATA.md").read_text("utf-8")
    section = page.partition("## From a file to a diagram")[2].partition("\n## ")[0]
    return re.findall(r"^    (python .*)$", section, re.MULTILINE)


def run(command: str, folder: Path) -> str:
    """Run a command of the page in a folder beside the user's files; returns what it printed."""
    _, script, *flags = shlex.split(command)
    done = subprocess.run(
        [sys.executable, str(ROOT / script), *flags], cwd=folder, capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def folder(tmp_path) -> Path:
    for name in ("drawings.csv", "pairs.csv"):
        shutil.copy(EXAMPLES / name, tmp_path)
    return tmp_path


def test_the_import_on_the_page_takes_every_row_of_a_foreign_file(folder):
    figures = json.loads(run(commands()[0], folder).splitlines()[-1])
    assert figures["rows read"] == 18 and figures["rows not taken"] == 0
    assert (figures["SFT rows"], figures["ORPO rows"], figures["pairs"]) == (12, 12, 6)


@pytest.mark.slow
@pytest.mark.parametrize("files", ["drawings.csv pairs.csv", "drawings.csv", "pairs.csv"])
def test_the_page_leads_from_a_foreign_file_to_a_picture(folder, files):
    to_import, to_train, to_ask = commands()
    run(to_import.replace("drawings.csv pairs.csv", files), folder)
    figures = json.loads(run(to_train, folder).splitlines()[-1])
    assert figures["orpo_fine_tuning"]["final average training loss"] > 0
    assert "[" in run(to_ask, folder)
    assert (folder / "answer.png").stat().st_size > 0
