"""Step 2 with several processes: its CSV is the one that one process writes, however it was stopped and continued."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from forked_job import Job
from helpers import DIAGRAM, ORPO_HEADER, SFT_HEADER, finish_step_1

from fine_tuning.common import new_adapter
from fine_tuning.data.prompt_frame import PromptFrame
from fine_tuning.run.command_line import make_parser, to_options
from fine_tuning.run.presets import EMBEDDED
from fine_tuning.run.sample_parts import part_paths
from fine_tuning.training.adapter import save_adapter
from fine_tuning.training.base_model import load_tokenizer

PROMPTS = ("a circle", "two boxes", "a circle and a box", "one big circle")
SETTINGS = ("--set", "sampling.batch_size=2")  # then 12 samples are 6 batches


class Sampling:
    """Step 2 in a workspace."""

    def __init__(self, forked_job, workspace: Path) -> None:
        self.workspace, self.csv, self._forked = workspace, csv_of(workspace), forked_job

    def start(self, count: int, *flags: str, module: str = "fine_tuning.orpo_create_dataset") -> Job:
        words = ["--model", "embedded", "--workspace", str(self.workspace), *SETTINGS, *flags]
        return self._forked(count, module, words, self.workspace.with_name("printed"))

    def stop(self, kill: Callable[[Job], None]) -> tuple[Job, int]:
        """Start two processes that are never done, and kill when two batches of six are on disk. Returns the job and
        its exit status.
        """
        job = self.start(2, module="standing_still")
        job.wait_until(lambda: sum(path.read_bytes().count(b"\n") for path in part_paths(self.csv)) >= 2)
        kill(job)
        return job, job.end()

    def finish(self, count: int, *flags: str) -> Job:
        """Run to the end."""
        job = self.start(count, *flags)
        assert job.end() == 0, job.errors()
        return job


def kill_launcher(job: Job) -> None:
    os.kill(job.launcher, signal.SIGKILL)


def csv_of(workspace: Path) -> Path:
    return workspace / "create_dataset" / "orpo_dataset_llm.csv"


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
def alone(forked_job, after_step_1, tmp_path_factory) -> Path:
    """A workspace after step 2 with one process."""
    folder = shutil.copytree(after_step_1, tmp_path_factory.mktemp("alone") / "demo")
    Sampling(forked_job, folder).finish(1)
    return folder


@pytest.fixture
def sampling(forked_job, after_step_1, tmp_path) -> Sampling:
    return Sampling(forked_job, shutil.copytree(after_step_1, tmp_path / "demo"))


def log_of(workspace: Path) -> dict:
    log: dict = json.loads((workspace / "log" / "log_create_orpo_dataset.json").read_text("utf-8"))
    return log


def result_of(workspace: Path) -> dict:
    """The figures of step 2 that do not depend on time."""
    result = log_of(workspace)["Result"]
    return {name: value for name, value in result.items() if "second" not in name and "memory" not in name}


def assert_same(workspace: Path, alone: Path) -> None:
    assert csv_of(workspace).read_bytes() == csv_of(alone).read_bytes()
    assert result_of(workspace) == result_of(alone)
    names = [sorted(path.name for path in (folder / "create_dataset").iterdir()) for folder in (workspace, alone)]
    assert names[0] == names[1]


@pytest.mark.parametrize("count", [2, 3])
def test_several_processes_write_the_csv_of_one(sampling, alone, count):
    job = sampling.finish(count)
    assert_same(sampling.workspace, alone)
    assert job.printed(0).splitlines()[-1].startswith('{"rows": ')
    assert [job.printed(process) for process in range(1, count)] == [""] * (count - 1)
    assert log_of(sampling.workspace)["Data"]["processes of this start"] == count


def test_a_finished_run_is_reported_once_and_left_alone(sampling, alone):
    shutil.copytree(alone, sampling.workspace, dirs_exist_ok=True)
    job = sampling.finish(2)
    assert "step 2 is done" in job.printed(0) and job.printed(1) == ""
    assert_same(sampling.workspace, alone)


@pytest.mark.parametrize("others", [1, 3])
def test_any_number_of_processes_goes_on_after_one_was_killed(sampling, alone, others):
    _, status = sampling.stop(lambda job: os.kill(job.processes[1], signal.SIGKILL))
    assert status == 128 + signal.SIGKILL
    assert part_paths(sampling.csv)
    sampling.finish(others)
    assert_same(sampling.workspace, alone)


def test_the_processes_end_with_their_launcher_and_their_batches_are_kept(sampling, alone):
    _, status = sampling.stop(kill_launcher)
    assert status == -signal.SIGKILL
    assert part_paths(sampling.csv)
    sampling.finish(2)
    assert_same(sampling.workspace, alone)


def test_ctrl_c_ends_all_processes_with_one_command_to_continue(sampling, alone):
    job, status = sampling.stop(lambda job: os.killpg(job.launcher, signal.SIGINT))
    assert status == 130
    (line,) = job.errors()
    assert line.startswith("stopped. To continue: torchrun --nproc_per_node 2 fine_tuning/orpo_create_dataset.py ")
    sampling.finish(2)
    assert_same(sampling.workspace, alone)


def test_several_processes_go_on_where_one_has_stopped(sampling, alone):
    shutil.copytree(alone / "create_dataset", sampling.csv.parent, dirs_exist_ok=True)
    os.truncate(sampling.csv, sampling.csv.stat().st_size * 2 // 3)
    job = sampling.finish(2)
    assert "bytes of an incomplete batch" in job.printed(0)
    assert_same(sampling.workspace, alone)


def test_another_seed_is_refused_once_and_restart_discards_what_is_stored(sampling, alone):
    sampling.stop(kill_launcher)
    refused = sampling.start(2, "--seed", "7")
    assert refused.end() == 2 and len(refused.errors()) == 1
    assert part_paths(sampling.csv)
    sampling.finish(1, "--restart")
    assert_same(sampling.workspace, alone)


def test_changed_references_are_refused_once_and_nothing_is_lost(sampling):
    sampling.stop(kill_launcher)
    parts = [path.read_bytes() for path in part_paths(sampling.csv)]
    sampling.csv.write_bytes(sampling.csv.read_bytes().replace(b"two boxes", b"ten boxes"))
    refused = sampling.start(2)
    assert refused.end() == 2
    (line,) = refused.errors()
    assert "have changed since samples were drawn" in line
    assert [path.read_bytes() for path in part_paths(sampling.csv)] == parts
