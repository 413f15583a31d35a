"""The notebook for a borrowed GPU can be followed: its commands exist, and it runs from top to bottom."""

import os
import re
import sys
from pathlib import Path

import nbformat
import pytest
from helpers import ROOT
from nbclient import NotebookClient

NOTEBOOK = ROOT / "docs" / "text_to_diagram.ipynb"
SCRIPTS = ("sft_fine_tuning", "orpo_create_dataset", "orpo_fine_tuning", "ask", "export")
LONGEST = 15  # lines of a cell


@pytest.fixture
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def tagged(notebook, tag: str) -> list:
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", ())]


def code(notebook) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def test_the_notebook_is_valid_and_holds_no_outputs(notebook):
    nbformat.validate(notebook)
    assert all(not cell.get("outputs") and not cell.get("execution_count") for cell in notebook.cells)


def test_its_cells_are_short_and_follow_an_explanation(notebook):
    assert notebook.cells[0].cell_type == "markdown"
    assert max(source.count("\n") + 1 for source in code(notebook)) <= LONGEST
    words = sum(len(cell.source.split()) for cell in notebook.cells if cell.cell_type == "markdown")
    assert words > 300 and words < 900


def test_its_commands_are_those_of_the_project_in_order(notebook):
    commands = re.findall(r"^!python fine_tuning/(\w+)\.py (.*)$", "\n".join(code(notebook)), re.MULTILINE)
    assert tuple(script for script, _ in commands) == SCRIPTS
    for script, arguments in commands:
        source = (ROOT / "fine_tuning" / f"{script}.py").read_text("utf-8")
        assert all(f'"{flag}"' in source for flag in re.findall(r"--[\w-]+", arguments))


def test_its_relative_links_lead_to_files(notebook):
    text = "".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    targets = re.findall(r"\]\(([^)#:]+)\)", text)
    assert targets and all((NOTEBOOK.parent / target).exists() for target in targets)


def run(notebook, tmp_path, monkeypatch, rows: int) -> tuple[Path, str]:
    """Run the notebook with the embedded model and a few rows; returns its workspace and all that it printed."""
    workspace = tmp_path / "it's a demo"
    (parameters,) = tagged(notebook, "parameters")
    parameters.source += f"\nMODEL, MAX_ROWS, WORKSPACE = 'embedded', {rows}, {str(workspace)!r}"
    notebook.cells = [cell for cell in notebook.cells if "install" not in cell.metadata.get("tags", ())]
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return workspace, "".join(output.get("text", "") for output in outputs)


@pytest.mark.slow
def test_it_runs_from_top_to_bottom_with_the_embedded_model_and_few_rows(notebook, tmp_path, monkeypatch):
    workspace, printed = run(notebook, tmp_path, monkeypatch, rows=12)
    assert "error: " not in printed and "Traceback" not in printed
    for name in ("log_train_final_sft.md", "log_create_orpo_dataset.md", "log_train_final_orpo.md"):
        assert (workspace / "log" / name).is_file()
    assert (workspace / "diagram.png").read_bytes().startswith(b"\x89PNG")
    assert (workspace / "models" / "merged" / "model.safetensors").is_file()
    kinds = [kind for cell in notebook.cells for output in cell.get("outputs", ()) for kind in output.get("data", ())]
    assert kinds.count("image/png") == 7 and kinds.count("text/markdown") == 3  # two of each log, and the diagram
