"""Step 2 with several processes: its CSV is the one that one process writes, however it was stopped and continued."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import DIAGRAM, ORPO_HEADER, ROOT, SFT_HEADER, finish_step_1

from fine_tuning.common import new_adapter
from fine_tuning.data.prompt_frame import PromptFrame
from fine_tuning.run.options import make_parser, to_options
from fine_tuning.run.presets import EMBEDDED
from fine_tuning.run.sample_parts import part_paths
from fine_tuning.training.adapter import save_adapter
from fine_tuning.training.base_model import load_tokenizer

STEP = "orpo_create_dataset"
PROMPTS = ("a circle", "two boxes", "a circle and a box", "one big circle", "draw three circles", "a box", "boxes")
SETTINGS = ("--set", "sampling.batch_size=2")


class Launcher:
    """Starts step 2 as several processes."""

    def __init__(self, server: subprocess.Popen[str]) -> None:
        self._server = server

    def start(self, count: int, workspace: Path, *flags: str) -> "Job":
        folder = workspace.with_name(f"{workspace.name} printed")
        folder.mkdir(exist_ok=True)
        words = ["--model", "embedded", "--workspace", str(workspace), *SETTINGS, *flags]
        launch = {"count": count, "step": STEP, "words": words, "folder": str(folder)}
        assert self._server.stdin
        self._server.stdin.write(json.dumps(launch) + "\n")
        self._server.stdin.flush()
        return Job(folder, workspace, self._answer, **self._answer())

    def _answer(self) -> dict:
        assert self._server.stdout
        return json.loads(self._server.stdout.readline())


class Job:
    """Step 2 at work in a workspace."""

    def __init__(self, folder, workspace, answer, launcher, processes):
        self.launcher, self.processes = launcher, processes
        self._folder, self._csv, self._answer = folder, csv_of(workspace), answer

    def end(self) -> int:
        """Wait until all processes have ended. Returns the launcher's exit status."""
        status = self._answer()["status"]
        deadline = time.monotonic() + 20
        while any(map(is_running, self.processes)):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return status

    def kill_when_stored(self, kill, batches: int = 1) -> None:
        """Call `kill` when so many batches are on disk."""
        deadline = time.monotonic() + 60
        while sum(path.read_bytes().count(b"\n") for path in part_paths(self._csv)) < batches:
            assert is_running(self.launcher), self.errors()
            assert time.monotonic() < deadline
            time.sleep(0.002)
        kill()

    def printed(self, process: int) -> str:
        return (self._folder / f"{process}.out").read_text()

    def errors(self) -> list[str]:
        """The lines that all processes have printed to stderr, but for progress bars."""
        text = "".join(path.read_text() for path in sorted(self._folder.glob("*.err")))
        lines = [line.split("\r")[-1] for line in text.splitlines()]
        return [line for line in lines if line.strip() and "|" not in line]


def csv_of(workspace: Path) -> Path:
    return workspace / "create_dataset" / "orpo_dataset_llm.csv"


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(scope="module")
def launcher():
    if not Path("/proc/self/stat").exists():
        pytest.skip("the launcher of this test is for Linux")
    server = subprocess.Popen(
        [sys.executable, ROOT / "tests" / "forking_launcher.py"],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield Launcher(server)
    server.kill()
    server.communicate()


@pytest.fixture(scope="module")
def after_step_1(tmp_path_factory) -> Path:
    """A workspace whose step 1 has finished, with a new adapter."""
    folder = tmp_path_factory.mktemp("sampled") / "demo"
    (folder / "create_dataset").mkdir(parents=True)
    (folder / "create_dataset" / "sft_dataset_llm.csv").write_text(SFT_HEADER + f"a,{DIAGRAM}\nb,{DIAGRAM}\n")
    rows = "".join(f"{prompt},{DIAGRAM},1.0\n" for prompt in PROMPTS)
    csv_of(folder).write_text(ORPO_HEADER + rows)
    finish_step_1(folder)
    options = to_options(make_parser("").parse_args(["--model", "embedded", "--workspace", str(folder)]))
    model = new_adapter(options, EMBEDDED)
    save_adapter(model, load_tokenizer(options), folder / "models" / "sft", options, PromptFrame("", ""))
    return folder


@pytest.fixture(scope="module")
def alone(launcher, after_step_1, tmp_path_factory):
    """The workspace after step 2 with one process."""
    folder = tmp_path_factory.mktemp("alone") / "demo"
    shutil.copytree(after_step_1, folder)
    job = launcher.start(1, folder)
    assert job.end() == 0, job.errors()
    return folder


@pytest.fixture
def workspace(after_step_1, tmp_path) -> Path:
    return shutil.copytree(after_step_1, tmp_path / "demo")


def result_of(workspace: Path) -> dict:
    """The figures of step 2 that do not depend on time."""
    log = json.loads((workspace / "log" / "log_create_orpo_dataset.json").read_text("utf-8"))
    return {name: value for name, value in log["Result"].items() if "second" not in name and "memory" not in name}


def assert_same(workspace: Path, alone: Path) -> None:
    assert csv_of(workspace).read_bytes() == csv_of(alone).read_bytes()
    assert result_of(workspace) == result_of(alone)
    names = [sorted(path.name for path in (folder / "create_dataset").iterdir()) for folder in (workspace, alone)]
    assert names[0] == names[1]


@pytest.mark.parametrize("count", [2, 3])
def test_several_processes_write_the_csv_of_one(launcher, workspace, alone, count):
    job = launcher.start(count, workspace)
    assert job.end() == 0, job.errors()
    assert_same(workspace, alone)
    assert job.printed(0).splitlines()[-1].startswith('{"rows": ')
    assert [job.printed(process) for process in range(1, count)] == [""] * (count - 1)
    log = json.loads((workspace / "log" / "log_create_orpo_dataset.json").read_text("utf-8"))
    assert log["Data"]["processes of this start"] == count


def test_a_finished_run_of_several_processes_is_reported_and_left_alone(launcher, workspace, alone):
    shutil.rmtree(workspace)
    shutil.copytree(alone, workspace)
    job = launcher.start(2, workspace)
    assert job.end() == 0, job.errors()
    assert "step 2 is done" in job.printed(0) and job.printed(1) == ""
    assert csv_of(workspace).read_bytes() == csv_of(alone).read_bytes()


@pytest.mark.parametrize("others", [1, 2, 3])
def test_any_number_of_processes_goes_on_after_a_process_was_killed(launcher, workspace, alone, others):
    job = launcher.start(2, workspace)
    job.kill_when_stored(lambda: os.kill(job.processes[1], signal.SIGKILL), batches=3)
    assert job.end() != 0
    assert part_paths(csv_of(workspace))
    again = launcher.start(others, workspace)
    assert again.end() == 0, again.errors()
    assert_same(workspace, alone)


def test_the_processes_end_with_a_killed_launcher_and_their_batches_are_kept(launcher, workspace, alone):
    job = launcher.start(2, workspace)
    job.kill_when_stored(lambda: os.kill(job.launcher, signal.SIGKILL))
    assert job.end() == -signal.SIGKILL
    assert launcher.start(3, workspace).end() == 0
    assert_same(workspace, alone)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_ends_all_processes_with_one_command_to_continue(launcher, workspace, alone, number, status):
    job = launcher.start(2, workspace)

    def interrupt():
        for process in job.processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    job.kill_when_stored(interrupt)
    assert job.end() == status
    (line,) = job.errors()
    assert line.startswith("stopped. To continue: torchrun --nproc_per_node 2 fine_tuning/orpo_create_dataset.py ")
    assert launcher.start(2, workspace).end() == 0
    assert_same(workspace, alone)


def test_several_processes_go_on_where_one_has_stopped(launcher, workspace, alone):
    size = len(csv_of(alone).read_bytes())
    shutil.copytree(alone / "create_dataset", workspace / "create_dataset", dirs_exist_ok=True)
    os.truncate(csv_of(workspace), size * 2 // 3)
    job = launcher.start(2, workspace)
    assert job.end() == 0, job.errors()
    assert "bytes of an incomplete batch" in job.printed(0)
    assert_same(workspace, alone)


def test_restart_discards_what_several_processes_have_stored(launcher, workspace, alone):
    job = launcher.start(2, workspace)
    job.kill_when_stored(lambda: os.kill(job.launcher, signal.SIGKILL))
    job.end()
    refused = launcher.start(2, workspace, "--seed", "7")
    assert refused.end() == 2 and part_paths(csv_of(workspace))
    assert len(refused.errors()) == 1
    assert launcher.start(1, workspace, "--restart").end() == 0
    assert_same(workspace, alone)


def test_changed_references_are_refused_as_with_one_process(launcher, workspace):
    job = launcher.start(2, workspace)
    job.kill_when_stored(lambda: os.kill(job.launcher, signal.SIGKILL))
    job.end()
    content = csv_of(workspace).read_bytes()
    csv_of(workspace).write_bytes(content.replace(b"two boxes", b"ten boxes"))
    refused = launcher.start(2, workspace)
    assert refused.end() == 2
    (line,) = refused.errors()
    assert "have changed since samples were drawn" in line
    assert part_paths(csv_of(workspace))
