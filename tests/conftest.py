"""Fixtures that start the commands as a user does, without torch, on a small workspace."""

import contextlib
import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest
from forked import Forked
from forked_job import forking_launcher
from helpers import DIAGRAM, ORPO_HEADER, ROOT, SFT_HEADER, contents
from hypothesis import settings
from llama_cpp import LlamaCpp
from tqdm import tqdm

# Results are the same bit for bit on a CPU only, so GPUs are hidden from the tests and from the commands they start.
os.environ["CUDA_VISIBLE_DEVICES"] = ""

# The models here are so small that a second thread does not help them, and workers would fight for the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

MOST_WORKERS = 4  # each holds about 1 GB, and more of them would wait for the longest file


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Share folders out among the cores. Named files are run at once: a worker needs seconds to start."""
    named = [Path(str(argument).partition("::")[0]) for argument in config.args]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 0 if cores == 1 or all(path.is_file() for path in named) else min(cores, MOST_WORKERS)


# Property-based tests try the same inputs in every run, so that a change is judged by what it changes. To look for new
# inputs, run `python -m pytest --hypothesis-profile=search`, and make what it finds an ordinary test.
settings.register_profile("same inputs", derandomize=True)
settings.register_profile("search", print_blob=True)
settings.load_profile("same inputs")


def pytest_collection_finish() -> None:
    """Leave out what is imported by now from each garbage collection: decoders and trainers collect again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def no_bars_left_open():
    """Close the progress bars of aborted runs. Otherwise messages of the next test begin with a line break."""
    yield
    for bar in list(getattr(tqdm, "_instances", ())):
        bar.close()


@pytest.fixture(scope="session")
def environment(tmp_path_factory) -> dict[str, str]:
    """Environment variables with which an import of torch, transformers or pandas ends the program."""
    folder = tmp_path_factory.mktemp("poison")
    for name in ("torch", "transformers", "pandas"):
        (folder / f"{name}.py").write_text(f"raise SystemExit('{name} was imported')\n")
    path = os.pathsep.join([str(folder), str(ROOT)])
    return os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "120"}


@pytest.fixture(scope="session")
def forked(tmp_path_factory):
    """Runs scripts as a user does, in forks of one process that has imported the libraries."""
    forked = Forked(tmp_path_factory.mktemp("forked"))
    yield forked
    forked.close()


@pytest.fixture
def start(environment):
    """Start a script as a user does; returns the finished process."""

    def start(script: str, *flags: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess:
        command = [sys.executable, script, *map(str, flags)]
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60)

    return start


@pytest.fixture
def workspace(tmp_path) -> Path:
    """A workspace with two small, flawless CSVs."""
    folder = tmp_path / "demo"
    data = folder / "create_dataset"
    data.mkdir(parents=True)
    (data / "sft_dataset_llm.csv").write_text(SFT_HEADER + f"a,{DIAGRAM}\nb,{DIAGRAM}\n")
    (data / "orpo_dataset_llm.csv").write_text(ORPO_HEADER + f"c,{DIAGRAM},1.0\nd,{DIAGRAM},1.0\n")
    return folder


@pytest.fixture
def refused(start, tmp_path):
    """Start a script that must refuse; returns its messages, one for each line on stderr."""

    def refused(script: str, *flags: str | Path) -> list[str]:
        before = contents(tmp_path)
        run = start(script, *flags)
        assert run.returncode == 2, run.stderr
        assert run.stdout == ""
        assert "Traceback" not in run.stderr
        assert contents(tmp_path) == before
        lines = run.stderr.splitlines()
        if lines[0].startswith("usage: "):  # argparse prints the usage first
            return lines[-1:]
        assert all(line.startswith("error: ") for line in lines)
        return lines

    return refused


@pytest.fixture(scope="session")
def forked_job():
    """Start a command as several processes, without importing the libraries each time; see `forked_job.py`."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("these processes are forked and watched as on Linux")
    with forking_launcher() as start:
        yield start


@pytest.fixture
def llama():
    """Start llama.cpp with a GGUF file. It ends with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda path: stack.enter_context(LlamaCpp(path))
