"""Imports run one way, and checking the command line imports no torch.

fine_tuning -> create_dataset -> diagram; inside fine_tuning: scripts -> common -> training, sampling -> data -> run.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import ROOT

# The level of each room. A module may import from its own level and from lower ones.
SCRIPTS = ("fine_tuning.sft_fine_tuning", "fine_tuning.orpo_create_dataset", "fine_tuning.orpo_fine_tuning")
ROOMS = {
    **dict.fromkeys(
        (
            "fine_tuning.console",
            "fine_tuning.import_dataset",
            "fine_tuning.run_all",
            "fine_tuning.ask",
            "fine_tuning.export",
            "fine_tuning.page",
            "fine_tuning.pretraining",
            *SCRIPTS,
        ),
        7,
    ),
    "fine_tuning.common": 6,
    "fine_tuning.training_step": 6,
    "fine_tuning.web": 6,
    "fine_tuning.exporting": 5,
    "fine_tuning.sampling": 5,
    "fine_tuning.training": 4,
    "fine_tuning.data": 3,
    "fine_tuning.run": 2,
    "create_dataset": 1,
    "diagram": 0,
}
TORCH = {"torch", "transformers", "peft", "trl", "datasets", "accelerate"}


def modules() -> dict[str, Path]:
    """Every module of the three packages, by name."""
    paths = [path for name in ("diagram", "create_dataset", "fine_tuning") for path in (ROOT / name).rglob("*.py")]
    names = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths}
    return {name: path for path, name in names.items()}


MODULES = modules()


def imports(path: Path, also_inside_functions: bool = True) -> Iterator[str]:
    """The modules that a file imports; `from a import b` counts as a.b if that is a module, else as a."""
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree) if also_inside_functions else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from {name if name in MODULES else node.module for name in names}


def room(module: str) -> int:
    return max((len(name), level) for name, level in ROOMS.items() if f"{module}.".startswith(f"{name}."))[1]


def own_imports(module: str) -> set[str]:
    return {name for name in imports(MODULES[module]) if name in MODULES}


@pytest.mark.parametrize("module", [name for name in sorted(MODULES) if name != "fine_tuning"])
def test_no_module_imports_from_an_outer_room(module):
    assert [name for name in sorted(own_imports(module)) if room(name) > room(module)] == []


def test_there_are_no_circular_imports():
    finished: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in finished:
            for name in sorted(own_imports(module)):
                visit(name, (*path, module))
            finished.add(module)

    for module in MODULES:
        visit(module, ())
    assert len(finished) > 50


def test_no_script_imports_another():
    for script in SCRIPTS:
        assert own_imports(script).isdisjoint(SCRIPTS)


@pytest.mark.parametrize(
    "module",
    [
        name
        for name in sorted(MODULES)
        if name.startswith(("diagram", "create_dataset", "fine_tuning.run", "fine_tuning.data"))
        and name not in ("fine_tuning.run_all", "fine_tuning.data.chat_format", "fine_tuning.data.tokens")
    ],
)
def test_the_inner_rooms_never_import_torch_not_even_in_a_function(module):
    assert {name.partition(".")[0] for name in imports(MODULES[module])}.isdisjoint(TORCH)


def test_no_file_edits_sys_path():
    assert [name for name, path in MODULES.items() if "sys.path" in path.read_text("utf-8")] == []


def test_checking_the_command_line_imports_no_torch():
    program = """
import sys
import fine_tuning.ask, fine_tuning.export, fine_tuning.console, fine_tuning.import_dataset, fine_tuning.run_all
import fine_tuning.page
import fine_tuning.sft_fine_tuning, fine_tuning.orpo_create_dataset, fine_tuning.orpo_fine_tuning
print(sorted({"torch", "transformers", "pandas"} & sys.modules.keys()))
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.strip() == "[]"
