"""Run commands as a user does, but import the libraries once: every run is a fork of one process that has them.

An import of torch, transformers and trl takes longer than most runs of a test. What a test shows about the start of a
command itself, signals or the order of imports needs a process of its own.
"""

import importlib
import json
import os
import runpy
import subprocess
import sys
import traceback
from pathlib import Path
from subprocess import CompletedProcess

from helpers import ROOT, STEP_1, STEP_2, STEP_3

LIBRARIES = ("trl", "datasets", "peft", "fine_tuning.training.orpo_trainer", "fine_tuning.training.sft_trainer")


class Forked:
    """The process that has the libraries. It starts with the first run."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.environment = folder, os.environ.copy()
        self._process: subprocess.Popen[str] | None = None

    def run(self, script: str, *flags: str | Path, stdin: str = "") -> CompletedProcess[str]:
        """Run a script of the project, given by its path in it, with these flags and this input."""
        files = [self.folder / name for name in ("stdin", "stdout", "stderr")]
        files[0].write_text(stdin, encoding="utf-8")
        argv = [str(ROOT / script), *map(str, flags)]
        if self._process is None:
            path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
            self._process = subprocess.Popen(
                [sys.executable, __file__],
                cwd=ROOT,
                env=self.environment | {"PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"argv": argv, "files": list(map(str, files))}) + "\n")
        self._process.stdin.flush()
        status = json.loads(self._process.stdout.readline())
        return CompletedProcess(argv, status, *(file.read_text(encoding="utf-8") for file in files[1:]))

    def steps(self, model: Path, workspace: Path) -> list[CompletedProcess[str]]:
        """Run the three steps in turn, up to the first that fails."""
        runs: list[CompletedProcess[str]] = []
        for script in (STEP_1, STEP_2, STEP_3):
            runs.append(self.run(script, "--model", model, "--workspace", workspace))
            print(runs[-1].stderr)  # shown if the test fails
            assert "Traceback" not in runs[-1].stderr
            if runs[-1].returncode:
                break
        return runs

    def close(self) -> None:
        if self._process is not None:
            self._process.communicate()


def serve() -> None:
    """Run each job that comes in, a line of JSON, in a fork. Prints its exit status."""
    for name in LIBRARIES:
        importlib.import_module(name)
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if not child:
            run_and_exit(job["argv"], job["files"])
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def run_and_exit(argv: list[str], files: list[str]) -> None:
    """Run a script with these files as stdin, stdout and stderr, and end this process as the script does."""
    status = 1
    try:
        for number, (file, mode) in enumerate(zip(files, ("rb", "wb", "wb"), strict=True)):
            with open(file, mode) as opened:
                os.dup2(opened.fileno(), number)
        sys.stdin, sys.argv = open(0, encoding="utf-8", closefd=False), argv  # noqa: SIM115  # it stays open
        runpy.run_path(argv[0], run_name="__main__")
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1 if end.code else 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve()
