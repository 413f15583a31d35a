"""Several processes of one job, forked by one program that has imported the libraries (`forking_launcher.py`)."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from helpers import ROOT


class Job:
    """A command at work.

    launcher   the process id of the launcher
    processes  those of the processes
    has_ended  whether it has been waited for
    """

    def __init__(self, folder: Path, answer: Callable[[], dict[str, Any]], launcher: int, processes: list[int]) -> None:
        self.launcher, self.processes, self.has_ended = launcher, processes, False
        self._folder, self._answer = folder, answer

    def end(self) -> int:
        """Wait until all processes have ended. Returns the launcher's exit status."""
        status: int = self._answer()["status"]
        self.has_ended = True
        deadline = time.monotonic() + 20
        while any(map(is_running, self.processes)):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return status

    def wait_until(self, happened: Callable[[], bool]) -> None:
        """Wait until something has happened, while the job is at work."""
        deadline = time.monotonic() + 60
        while not happened():
            assert is_running(self.launcher), self.errors()
            assert time.monotonic() < deadline
            time.sleep(0.002)

    def printed(self, process: int) -> str:
        """What a process has printed to stdout."""
        return (self._folder / f"{process}.out").read_text()

    def errors(self) -> list[str]:
        """The lines that all processes have printed to stderr, but for progress bars."""
        text = "".join(path.read_text() for path in sorted(self._folder.glob("*.err")))
        lines = [line.split("\r")[-1] for line in text.splitlines()]
        return [line for line in lines if line.strip() and "|" not in line]


Start = Callable[..., Job]


@contextmanager
def forking_launcher() -> Iterator[Start]:
    """A function that starts `main` of a module as `count` processes: start(count, module, words, folder). What they
    print goes to files in `folder`.
    """
    server = subprocess.Popen(
        [sys.executable, ROOT / "tests" / "forking_launcher.py"],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdin and server.stdout
    questions, answers = server.stdin, server.stdout
    last: Job | None = None

    def answer() -> dict[str, Any]:
        read: dict[str, Any] = json.loads(answers.readline())
        return read

    def start(count: int, module: str, words: list[str], folder: Path) -> Job:
        nonlocal last
        if last and not last.has_ended:  # a test has failed before its end
            with suppress(ProcessLookupError):  # it is done
                os.killpg(last.launcher, signal.SIGKILL)
            last.end()
        folder.mkdir(exist_ok=True)
        launch = {"count": count, "module": module, "words": words, "folder": str(folder)}
        questions.write(json.dumps(launch) + "\n")
        questions.flush()
        last = Job(folder, answer, **answer())
        return last

    try:
        yield start
    finally:
        server.send_signal(signal.SIGKILL)
        server.communicate()


def is_running(pid: int) -> bool:
    """Whether a process has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
