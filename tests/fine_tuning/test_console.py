"""The console command of the installed package, started from any folder."""

import subprocess
import sys
from pathlib import Path

import pytest

from fine_tuning.run.commands import SUBCOMMANDS

PROGRAM = "import sys; sys.argv[0] = '/anywhere/bin/text-to-diagram'; from fine_tuning.console import main; main()"


@pytest.fixture
def console(environment, tmp_path):
    """Start the console command in an empty folder; returns the finished process."""

    def console(*arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-c", PROGRAM, *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)

    return console


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_every_subcommand_shows_its_help(console, tmp_path, name):
    run = console(name, "--help")
    assert run.returncode == 0 and run.stdout.startswith(f"usage: text-to-diagram {name} ")
    assert "--workspace" in run.stdout and str(tmp_path) in run.stdout.replace("\n", "").replace(" ", "")


def test_without_a_subcommand_the_usage_lists_all_subcommands(console):
    run = console()
    assert run.returncode == 2 and all(name in run.stderr for name in SUBCOMMANDS)


def test_the_workspace_is_the_current_folder_and_messages_use_the_console_command(console, tmp_path):
    run = console("orpo", "--model", "embedded", "--seed", "3")
    folder = Path(tmp_path).resolve() / "models" / "sft"
    command = "text-to-diagram sft --model embedded --seed 3"
    assert (run.returncode, run.stdout) == (2, "")
    assert f"error: {folder}: there is no adapter of step 1. Run it first: {command}" in run.stderr.splitlines()
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_in_a_flag_exits_with_status_2(console):
    run = console("sft", "--max-rows", "none")
    assert run.returncode == 2 and "'none' is not a whole number" in run.stderr
