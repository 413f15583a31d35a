"""Two runs never write to one workspace at once, and a killed run never blocks the next one."""

import errno
import os
import subprocess
import sys

import pytest
from helpers import ROOT, problems_of

from fine_tuning.run import lock
from fine_tuning.run.lock import take_lock
from fine_tuning.run.workspace import Workspace

HOLD = """
import sys
from pathlib import Path
from fine_tuning.run.lock import take_lock
assert take_lock(Path(sys.argv[1])) is None
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def locks_of_this_process():
    """Release the locks after each test. Otherwise this process holds them until it ends."""
    yield
    while lock._held:
        lock._held.popitem()[1].release()


@pytest.fixture
def other(tmp_path):
    """Another process that holds the workspace's lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / ".lock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_run_names_the_first_and_writes_nothing(other, tmp_path):
    Workspace(tmp_path / "sub").claim()  # another workspace
    command = [sys.executable, "fine_tuning/sft_fine_tuning.py", "--model", "embedded", "--workspace", tmp_path]
    second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert second.returncode == 2 and second.stdout == ""
    (message,) = second.stderr.splitlines()
    assert message.startswith(f"error: {tmp_path}: ")
    assert "is using this workspace" in message and "--workspace" in message
    if sys.platform == "linux":
        assert f"process {other.pid} (" in message and "python" in message
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_run_that_starts_at_the_same_moment_is_refused_when_it_locks_the_workspace(other, tmp_path):
    (problem,) = problems_of(Workspace(tmp_path).prepare)
    assert "is using this workspace" in problem
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_the_lock_of_a_killed_run_is_free(other, tmp_path):
    assert take_lock(tmp_path / ".lock") is not None
    other.kill()
    other.wait()
    assert (tmp_path / ".lock").exists()
    assert take_lock(tmp_path / ".lock") is None


def test_locking_again_in_the_same_process_keeps_the_lock(tmp_path):
    workspace = Workspace(tmp_path)
    workspace.prepare()
    workspace.claim()
    workspace.prepare()
    assert list(lock._held) == [tmp_path / ".lock"]


def test_claiming_a_new_workspace_writes_nothing(tmp_path):
    Workspace(tmp_path).claim()
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_locks_gets_a_note_but_no_error(tmp_path, capsys, monkeypatch):
    def unsupported(_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(lock.FileLock, "acquire", unsupported)
    Workspace(tmp_path).prepare()
    assert capsys.readouterr().err.startswith(f"note: {tmp_path} cannot be locked")
