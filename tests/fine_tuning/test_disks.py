"""Read-only folders, full disks, and workspaces on two drives."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import DIAGRAM, EMBEDDED_RUN, ORPO_HEADER, ROOT, STEP_1, STEP_2, finish_step_1

from fine_tuning.data.csv_rows import read_rows
from fine_tuning.run import sample_store
from fine_tuning.run.log import TrainingLog
from fine_tuning.run.run_state import RunState


@pytest.fixture
def make_read_only():
    """Make folders read-only, also for root."""
    folders: list[Path] = []

    def protect(folder: Path) -> None:
        if os.name == "posix" and os.geteuid() == 0:
            if subprocess.run(["chattr", "+i", folder], capture_output=True).returncode:
                pytest.skip("root can write everywhere, and this file system has no immutable folders")
        else:
            folder.chmod(0o500)
        folders.append(folder)
        if os.access(folder, os.W_OK):
            pytest.skip("this user can write everywhere")

    yield protect
    for folder in folders:
        if os.geteuid() == 0:
            subprocess.run(["chattr", "-i", folder], check=True)
        else:
            folder.chmod(0o700)


@pytest.mark.parametrize("name", [".", "models", "log", "create_dataset"])
@pytest.mark.parametrize("script", [STEP_1, STEP_2])
def test_a_folder_without_permission_is_named_before_anything_is_done(refused, workspace, make_read_only, script, name):
    finish_step_1(workspace)
    (workspace / "log").mkdir()
    make_read_only(workspace / name)
    (message,) = refused(script, *EMBEDDED_RUN, workspace)
    assert message.startswith(f"error: {workspace / name}: this folder cannot be read and written.")
    assert "permissions" in message and "--workspace" in message


def test_a_new_workspace_in_a_read_only_folder_is_refused(refused, tmp_path, make_read_only):
    (tmp_path / "data").mkdir()
    make_read_only(tmp_path / "data")
    (message,) = refused(STEP_1, *EMBEDDED_RUN, tmp_path / "data" / "a" / "new one")
    assert message.startswith(f"error: {tmp_path / 'data'}: this folder cannot be read and written.")


LIMITED = """
import resource, sys
from pathlib import Path
from fine_tuning.run import sample_store
from fine_tuning.run.entry_point import run
from fine_tuning.run.log import TrainingLog

path, size = Path(sys.argv[1]), int(sys.argv[2])
COLUMNS = ["input_data", "output_data", "score"]

def main():
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    if path.suffix == ".csv":
        for number in range(9):
            sample_store.append(path, COLUMNS, [dict(zip(COLUMNS, (f"prompt {number}", "x" * 100, "0.5")))] * 5)
    else:
        log = TrainingLog(path.parent, path.stem, "Title")
        log.set("Result", "y" * 10_000)
        log.write()

run(main)
"""


def write_on_a_full_disk(path: Path, size: int) -> None:
    """Imitate a full disk: start a process whose files can have `size` bytes at most, and write more than that."""
    ended = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path), str(size)], cwd=ROOT, capture_output=True, text=True
    )
    assert ended.returncode == 2, ended.stderr
    (message,) = ended.stderr.splitlines()
    assert message.startswith(f"error: {path.parent}{os.sep}")
    assert "Free some space there. Then continue: python" in message


needs_limits = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")


@needs_limits
def test_a_disk_that_fills_up_while_sampling_costs_only_one_batch(tmp_path):
    path = tmp_path / "orpo_dataset_llm.csv"
    path.write_text(f"{ORPO_HEADER}good,{DIAGRAM},1.0\n")
    state = sample_store.begin(path, {}, [5] * 9)
    write_on_a_full_disk(path, 2_000)
    assert path.stat().st_size == 2_000  # cut off in the middle of a row
    complete, cut = sample_store.recover(path, state)
    assert complete == 3 and cut > 0
    assert len(read_rows(path, True, "")) == 1 + 5 * complete


@needs_limits
def test_a_disk_that_fills_up_while_a_log_is_written_keeps_only_the_old_log(tmp_path):
    log = TrainingLog(tmp_path, "log", "Title")
    log.set("Result", "short")
    log.write()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write_on_a_full_disk(tmp_path / "log.md", 2_000)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.fixture
def other_drive(tmp_path):
    """A folder on another drive than `tmp_path`."""
    folder = Path("/dev/shm") / f"text-to-diagram-{os.getpid()}"
    if not folder.parent.is_dir() or folder.parent.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second drive")
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def test_parts_of_a_workspace_can_be_on_another_drive(tmp_path, other_drive):
    (other_drive / "sft").mkdir()
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "sft").symlink_to(other_drive / "sft")
    state = RunState(tmp_path / "models" / "sft")
    for seed in (7, 8):
        state.begin({"seed": seed}, restart=True)
        state.finish({"seed": seed}, {})
    assert json.loads((other_drive / "sft" / "run.json").read_text())["settings"] == {"seed": 8}
    assert state.folder.is_symlink() and [path.name for path in other_drive.iterdir()] == ["sft"]
