"""Kill real runs at many points, resume them, and compare the results with uninterrupted runs.

    python benchmarks/kills.py                100 kills over the three steps, with the embedded model on a CPU
    python benchmarks/kills.py --kills 12     a quick run
    python benchmarks/kills.py --processes 2  each step as two processes, started by torchrun; on Linux

Each run of a step is killed several times, at a random moment or right after a certain kind of file has changed, mostly
with SIGKILL. Then it runs to the end. Adapters and CSVs must be equal bit for bit, and so must the loss of every step
and the validations in the logs. No temporary file may be left.

Of several processes, one of them or their launcher is killed. Step 2 continues with a random number of processes, up to
the given one, and its CSV must be the one of one process.

Prints a markdown table and, as the last line, one JSON object. The exit status is 1 if anything differs.
"""

import contextlib
import fnmatch
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from tqdm import tqdm

from benchmarks.report import benchmark_parser, flags_given, report
from fine_tuning.run.markdown import table

PROJECT = Path(__file__).resolve().parent.parent
STEPS = ("sft_fine_tuning", "orpo_create_dataset", "orpo_fine_tuning")
MODEL = {"sft_fine_tuning": "models/sft", "orpo_fine_tuning": "models/orpo"}
LOG = {
    "sft_fine_tuning": "log_train_final_sft",
    "orpo_create_dataset": "log_create_orpo_dataset",
    "orpo_fine_tuning": "log_train_final_orpo",
}
CSV = "create_dataset/orpo_dataset_llm.csv"
PARTS = "create_dataset/*.samples-*.jsonl"
SIGNALS = [signal.SIGKILL] * 6 + [signal.SIGTERM, signal.SIGINT]
KILLS_IN_A_RUN = 9
MAX_DELAY = 0.05  # seconds between the change of a file and the kill
SET: list[str] = []  # settings of all runs
RESTART_SHARE = 0.06  # share of the starts with --restart: discarding the old run must be interrupted, too


def points(step: str, processes: int) -> list[str | None]:
    """Return when to kill a step: after a file that matches the pattern has changed, or at a random moment (None)."""
    common = [None, None, None, "log/*.md", "log/.*.tmp", "log/*.png"]
    if step == "orpo_create_dataset":
        return [*common, CSV, CSV, CSV, "create_dataset/*.sampling.json", *[PARTS] * (3 if processes > 1 else 0)]
    model = MODEL[step]
    inside = [f"{model}/checkpoints/checkpoint-*{name}" for name in ("", "/adapter_model.safetensors", "/optimizer.pt")]
    last = [f"{model}/checkpoints/checkpoint-*/{name}" for name in ("trainer_state.json", "whole.json", "whole.json")]
    return [*common, *inside, *last, f"{model}/run.json", f"{model}/adapter_model.safetensors", f"{model}/README.md"]


def command(step: str, workspace: Path, rows: int, processes: int) -> list[str]:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    script = str(PROJECT / "fine_tuning" / f"{step}.py")
    flags = ["--model", "embedded", "--workspace", str(workspace), "--max-rows", str(rows), *SET]
    return [sys.executable, *(launcher if processes > 1 else []), script, *flags]


def count_for(step: str, processes: int, rng: random.Random) -> int:
    """With how many processes a start works. Training needs the same number each time."""
    return rng.randint(1, processes) if step == "orpo_create_dataset" and processes > 1 else processes


def children_of(pid: int) -> list[int]:
    """The processes that a launcher has started."""
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def wait_for(pids: Iterable[int]) -> None:
    """Wait until these processes, which are not our own, have ended. Raises RuntimeError after a minute."""
    deadline = time.monotonic() + 60
    for pid in pids:
        while Path(f"/proc/{pid}/exe").exists():  # a zombie has none
            if time.monotonic() > deadline:
                raise RuntimeError(f"process {pid} goes on without its launcher")
            time.sleep(0.01)


def run_to_the_end(step: str, workspace: Path, rows: int, processes: int) -> float:
    """Run a step without interruption and return the seconds. Raises RuntimeError if it fails."""
    start = time.monotonic()
    done = subprocess.run(command(step, workspace, rows, processes), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{step} ended with status {done.returncode}: {done.stderr[-2000:]}")
    return time.monotonic() - start


def files_in(workspace: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield each file and folder with its modification time and size. What is deleted meanwhile is left out."""
    for parent, folders, files in os.walk(workspace):  # skips a folder that was deleted
        for path in (Path(parent) / name for name in folders + files):
            with contextlib.suppress(FileNotFoundError):
                state = path.lstat()
                yield path.relative_to(workspace).as_posix(), (state.st_mtime_ns, state.st_size)


def has_changed(workspace: Path, pattern: str, before: dict[str, tuple[int, int]]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) and before.get(name) != state for name, state in files_in(workspace))


def kill_once(
    step: str, workspace: Path, rows: int, processes: int, point: str | None, seconds: float, rng: random.Random
) -> bool:
    """Start a step and kill it at a point. Return False if it ended before that. Raises RuntimeError if it failed."""
    flags = ["--restart"] if rng.random() < RESTART_SHARE else []
    before = dict(files_in(workspace)) if workspace.exists() else {}
    delay = rng.random() * (seconds if point is None else MAX_DELAY)
    number = rng.choice(SIGNALS)
    start = time.monotonic()
    with tempfile.TemporaryFile("w+") as errors:
        words = [*command(step, workspace, rows, processes), *flags]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=errors)
        while point and process.poll() is None and not has_changed(workspace, point, before):
            time.sleep(0.002)
        end = (start if point is None else time.monotonic()) + delay
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.002)
        children = children_of(process.pid) if processes > 1 else []
        victim = rng.choice([process.pid, *children]) if children else process.pid
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, number)
        status = process.wait()
        wait_for(children)
        errors.seek(0)
        stderr = errors.read()
    if status == 0:
        return False
    names_command = stderr.splitlines()[-1:] and stderr.splitlines()[-1].startswith("stopped. To continue: python ")
    as_promised = status == -number or (status == 128 + number and names_command)
    if processes > 1:  # the launcher ends with a status of its own
        as_promised = number == signal.SIGKILL or "stopped. To continue: torchrun " in stderr
    if not as_promised and time.monotonic() - start > 2:  # before that, Python itself is still starting
        raise RuntimeError(f"{step} ended with status {status} after signal {number}: {stderr[-2000:]}")
    return True


def result(step: str, workspace: Path) -> dict[str, bytes | str | list]:
    """Return, by name, all results that must not depend on interruptions."""
    log = json.loads((workspace / "log" / f"{LOG[step]}.json").read_text("utf-8"))
    figures = {name: value for name, value in log["Result"].items() if not any(w in name for w in ("second", "memory"))}
    found = {"figures": figures, "losses": log["history"], "validations": log.get("Loss by epoch", [])}
    if step in MODEL:
        found["adapter"] = (workspace / MODEL[step] / "adapter_model.safetensors").read_bytes()
    else:
        found["CSV"] = (workspace / CSV).read_bytes()
    left = [name for name, _ in files_in(workspace) if name.endswith((".tmp", ".discarded")) or "/checkpoints" in name]
    return found | {"temporary files": left}


def main() -> None:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--kills", type=int, default=100, help="total number of kills (default: 100)")
    parser.add_argument("--processes", type=int, default=1, help="processes of each start (default: 1)")
    parser.add_argument("--max-rows", type=int, default=24, help="prompts of each CSV (default: 24)")
    parser.add_argument("--seed", type=int, default=2025, help="random seed of the points and delays (default: 2025)")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    if args.processes > 1:
        os.environ["OMP_NUM_THREADS"] = "1"  # as torchrun sets it; results are equal with equal numbers of threads
        SET.extend(("--set", "sampling.batch_size=6"))  # several batches for each process
    quota = {step: args.kills // 3 + (number < args.kills % 3) for number, step in enumerate(STEPS)}
    kills, finished, same = Counter[str](), Counter[str](), Counter[str]()
    differences: list[str] = []
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    start = time.monotonic()
    seconds, expected = {}, {}
    uninterrupted = folder / "uninterrupted"
    for step in STEPS:
        if uninterrupted.exists():
            shutil.copytree(uninterrupted, folder / f"before {step}")
        seconds[step] = run_to_the_end(step, uninterrupted, args.max_rows, 1 if step not in MODEL else args.processes)
        expected[step] = result(step, uninterrupted)
    with tqdm(total=args.kills, desc="kills", unit="kill") as progress:
        for step in STEPS:
            while kills[step] < quota[step]:
                workspace = folder / f"{step} {finished[step]}"
                if (folder / f"before {step}").exists():
                    shutil.copytree(folder / f"before {step}", workspace)
                for _ in range(min(quota[step] - kills[step], KILLS_IN_A_RUN)):
                    point, count = rng.choice(points(step, args.processes)), count_for(step, args.processes, rng)
                    if not kill_once(step, workspace, args.max_rows, count, point, seconds[step], rng):
                        break
                    kills[step] += 1
                    progress.update()
                run_to_the_end(step, workspace, args.max_rows, count_for(step, args.processes, rng))
                finished[step] += 1
                found = result(step, workspace)
                wrong = [name for name in found if found[name] != expected[step][name]]
                same[step] += not wrong
                differences += [f"{workspace.name}: {name}" for name in wrong]
                if not wrong:
                    shutil.rmtree(workspace)
    minutes = round((time.monotonic() - start) / 60, 1)
    rows = [[step, kills[step], finished[step], same[step]] for step in STEPS]
    report(
        "Kills" if args.processes == 1 else "Kills of several processes",
        f"python benchmarks/kills.py{flags_given()}",
        table(["step", "kills", "runs to the end", "same result as uninterrupted"], rows),
        {"kills": kills.total(), "runs": finished.total(), "same": same.total(), "minutes": minutes},
        args.record,
    )
    if differences:
        print(f"these results in {folder} differ:", *differences, sep="\n- ", file=sys.stderr)
    else:
        shutil.rmtree(folder)
    raise SystemExit(bool(differences))


if __name__ == "__main__":
    main()
