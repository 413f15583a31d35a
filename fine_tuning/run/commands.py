"""The command that started this program, and the commands that messages suggest.

A program is started by its path, `python fine_tuning/sft_fine_tuning.py`, or by the console command of the installed
package, `text-to-diagram sft`. Messages suggest commands of the kind that the user typed, with the launcher in front if
one has started several processes.
"""

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
CONSOLE_COMMAND = "text-to-diagram"
SUBCOMMANDS = {
    "import": "import_dataset",
    "sft": "sft_fine_tuning",
    "sample": "orpo_create_dataset",
    "orpo": "orpo_fine_tuning",
    "run-all": "run_all",
    "ask": "ask",
    "page": "page",
    "export": "export",
}
STEPS = ("sft_fine_tuning", "orpo_create_dataset", "orpo_fine_tuning")

# Environment variables that run_all sets for each step. They hold the command that continues all steps: before and
# after this step, under --restart, has discarded its earlier run.
COMMAND, COMMAND_ONCE_RESTARTED = "TEXT_TO_DIAGRAM_COMMAND", "TEXT_TO_DIAGRAM_COMMAND_ONCE_RESTARTED"

_restart_is_done = False
_launcher: tuple[str, ...] = ()


def is_console_command() -> bool:
    """True if this program was started by the console command."""
    return Path(sys.argv[0]).stem == CONSOLE_COMMAND


def program() -> list[str]:
    """The words of the command that started this program, without its flags."""
    return launched(script())


def script() -> list[str]:
    """`program` without a launcher."""
    return [CONSOLE_COMMAND, *sys.argv[1:2]] if is_console_command() else ["python", sys.argv[0]]


def set_launcher(words: Sequence[str]) -> None:
    """Put a launcher's words in front of all commands from now on."""
    global _launcher
    _launcher = tuple(words)


def launched(command: list[str], launcher: Sequence[str] | None = None) -> list[str]:
    """A command with a launcher in front: by default the one that has started this program, if one has."""
    words = _launcher if launcher is None else launcher
    if not words:
        return command
    return [*words, *(command[1:] if command[0] == "python" else ["--no_python", *command])]


def flags() -> list[str]:
    """The flags that the user gave this program."""
    return sys.argv[2:] if is_console_command() else sys.argv[1:]


def has_flag(*words: str) -> bool:
    """True if the user gave this flag, with this value if there is one."""
    given = [word for flag in flags() for word in flag.split("=", 1)]
    return any(tuple(given[k : k + len(words)]) == words for k in range(len(given)))


def default_workspace() -> Path:
    """The current folder for the console command, else the project's own folder."""
    return Path.cwd() if is_console_command() else PROJECT


def program_of(module: str, launcher: Sequence[str] | None = None) -> list[str]:
    """The words of the command that starts `fine_tuning/{module}.py` from here, a step with `launched`."""
    command = ["python", path_from_here(f"fine_tuning/{module}.py")]
    if is_console_command():
        command = [CONSOLE_COMMAND, next(name for name, known in SUBCOMMANDS.items() if known == module)]
    return launched(command, launcher) if module in STEPS else command


def path_from_here(path: str) -> str:
    """A path in the project, relative to the current folder; absolute if it is outside that folder."""
    absolute, here = PROJECT / path, Path.cwd()
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute)


def continue_command() -> str:
    """The command that continues this run: what the user typed, or what run_all has set.

    It has no --restart once the earlier run is discarded: --restart would then discard this run.
    """
    if COMMAND in os.environ:
        return os.environ[COMMAND_ONCE_RESTARTED if _restart_is_done else COMMAND]
    return shlex.join([*program(), *(flag for flag in flags() if not (_restart_is_done and flag == "--restart"))])


def restart_command() -> str:
    """The command that discards this step's run and repeats the step. It names the step, even under run_all."""
    return shlex.join([*program(), *(flag for flag in flags() if flag != "--restart"), "--restart"])


def stop_suggesting_restart() -> None:
    """Drop --restart from `continue_command`: from now on it would discard the run that has just begun."""
    global _restart_is_done
    _restart_is_done = True
