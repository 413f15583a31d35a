"""What the page shows about the three steps, read from their logs: also while a step is at work.

A step replaces its log atomically, so there is always a whole one to read.
"""

import json
import re
import threading
import time
from io import BytesIO
from pathlib import Path
from typing import Any

from fine_tuning.common import LOG_NAMES
from fine_tuning.run.commands import STEPS
from fine_tuning.run.errors import UserError
from fine_tuning.run.options import Options
from fine_tuning.run.run_state import RunState
from fine_tuning.run.sample_run import SampleRun
from fine_tuning.run.step_preset import options_of_run
from fine_tuning.run.verdict import sampling_verdict, training_verdict

NAMES = ("Supervised fine-tuning", "Samples", "ORPO")
KINDS = {"Plot": "plot", "Contact sheet": "sheet"}  # the pictures of a log, by the name that it gives them


class Runs:
    """The three steps of a workspace."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._lock = threading.Lock()  # one thread at a time reads and draws
        self._logs: dict[int, tuple[int, dict[str, Any]]] = {}  # each log as read, with its time of change
        self._plots: dict[int, tuple[int, bytes]] = {}  # each drawn plot, with its log's time of change

    def facts(self) -> list[dict[str, Any]]:
        """What is known about each step, as JSON."""
        with self._lock:
            return [self._facts(number) for number in (1, 2, 3)]

    def picture(self, number: int, kind: str) -> bytes | None:
        """The plot or the contact sheet of a step as a PNG file; None if there is none."""
        with self._lock:
            log, changed = self._read(number)
            if log is None:
                return None
            if kind == "plot" and _is_live(number, log):
                return self._drawn(number, log, changed)
            path = self._pictures(number).get(kind)
        try:
            return path.read_bytes() if path else None
        except OSError:
            return None

    def _facts(self, number: int) -> dict[str, Any]:
        log, changed = self._read(number)
        facts = {"number": number, "name": NAMES[number - 1], "command": self._command(number)}
        begun = self._begun(number)
        if begun > changed:  # no log yet, or that of an earlier run
            line = "The run has begun. Its log comes with the first steps."
            return facts | {"state": "at work", "lines": [line], "seconds ago": _seconds_since(begun)}
        if log is None:
            return facts | {"state": "none"}
        result = log.get("Result")
        is_done = isinstance(result, dict)
        facts |= {
            "state": "done" if is_done else "at work",
            "lines": _verdict(number, result) if isinstance(result, dict) else [str(result)],
            "share": None if is_done else _share(str(result)),
            "seconds ago": _seconds_since(changed),
            "log": f"log/{LOG_NAMES[number - 1]}.md",
        }
        pictures = {kind: _changed(path) for kind, path in self._pictures(number).items()}
        if _is_live(number, log):
            pictures["plot"] = changed
        return facts | {"pictures": {kind: f"runs/{number}/{kind}.png?{time}" for kind, time in pictures.items()}}

    def _read(self, number: int) -> tuple[dict[str, Any] | None, int]:
        """A step's log and its time of change in nanoseconds. None if there is no log, or if it is damaged."""
        path = self._options.workspace.log / f"{LOG_NAMES[number - 1]}.json"
        try:
            changed = path.stat().st_mtime_ns
            known = self._logs.get(number)
            if known is None or known[0] != changed:
                log = json.loads(path.read_text("utf-8"))
                if not isinstance(log, dict):
                    raise ValueError("not an object")
                self._logs[number] = changed, log
            return self._logs[number][1], changed
        except (OSError, ValueError, RecursionError):
            return None, 0

    def _pictures(self, number: int) -> dict[str, Path]:
        """The pictures that a step's log shows: those of an earlier run may still be in the folder."""
        folder, name = self._options.workspace.log, LOG_NAMES[number - 1]
        try:
            text = (folder / f"{name}.md").read_text("utf-8")
        except (OSError, ValueError):
            return {}
        found = re.findall(rf"^!\[({'|'.join(KINDS)})\]\(({name}_\w+\.png)\)$", text, re.MULTILINE)
        return {KINDS[kind]: folder / file for kind, file in found if (folder / file).is_file()}

    def _drawn(self, number: int, log: dict[str, Any], changed: int) -> bytes | None:
        """The loss plot up to now. The log's own plot is from the last validation."""
        known = self._plots.get(number)
        if known is None or known[0] != changed:
            from fine_tuning.run.plots import loss_plot

            file = BytesIO()
            try:
                loss_plot(log["history"], log.get("Loss by epoch", []), str(log["title"])).savefig(file, format="png")
            except (KeyError, TypeError, ValueError):  # a log of another version
                return None
            self._plots[number] = changed, file.getvalue()
        return self._plots[number][1]

    def _begun(self, number: int) -> int:
        """When the unfinished training of a step was begun, in nanoseconds; 0 if there is none."""
        if number == 2:
            return 0
        try:
            state = self._state(number)
            return 0 if state.read() is None or state.is_finished else _changed(state.path)
        except (UserError, OSError):
            return 0

    def _state(self, number: int) -> RunState:
        workspace = self._options.workspace
        return RunState(workspace.sft_model if number == 1 else workspace.orpo_model)

    def _command(self, number: int) -> str:
        """The command that runs a step, or continues it with the settings that it has."""
        options = self._options
        try:
            state = SampleRun(options.workspace, LOG_NAMES[1]) if number == 2 else self._state(number)
            stored = state.stored_settings
            options = options_of_run(options, stored) if stored else options
        except (UserError, OSError):
            pass
        return options.command(STEPS[number - 1])


def _changed(path: Path) -> int:
    """A file's time of change in nanoseconds; 0 if a step has just removed it."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _seconds_since(nanoseconds: int) -> int:
    return max(0, round(time.time() - nanoseconds / 1e9))


def _is_live(number: int, log: dict[str, Any]) -> bool:
    """True for the log of a training that is at work and has made steps."""
    return number != 2 and isinstance(log.get("Result"), str) and bool(log.get("history"))


def _verdict(number: int, result: dict[str, Any]) -> list[str]:
    try:
        return (sampling_verdict if number == 2 else training_verdict)(result).lines
    except (KeyError, TypeError, ValueError):  # a log of another version
        return ["Finished"]


def _share(progress: str) -> float | None:
    """The share of the work that is done, from "Training: step 1,200 of 2,240"; None if the line does not say."""
    found = re.search(r"([\d,]+) of ([\d,]+)", progress)
    if not found:
        return None
    done, total = (int(number.replace(",", "")) for number in found.groups())
    return min(1.0, done / total) if total else None
