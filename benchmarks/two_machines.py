"""Run the three steps on two "machines", and compare the results with those of one process.

    sudo python benchmarks/two_machines.py

The machines are two network namespaces of Linux with a cable (veth) between them: one process in each, started by
torchrun. They share a drive, as real ones must. Needs root and the command `ip`; without them it says so and measures
nothing.

- The losses of steps 1 and 3 must be those of one process with the same global batch, but for rounding.
- From the same adapter, step 2 must write the same CSV, byte for byte, though the second machine is killed once.
- The bytes in the cable are counted, in both directions.

It measures no time: two processes on one machine take the time of its cores.

Prints a markdown table and, as the last line, one JSON object. The exit status is 1 if a result differs.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.report import benchmark_parser, flags_given, report
from fine_tuning.run.markdown import table
from fine_tuning.run.sample_parts import part_paths

PROJECT = Path(__file__).resolve().parent.parent
STEPS = ("sft_fine_tuning", "orpo_create_dataset", "orpo_fine_tuning")
LOGS = ("log_train_final_sft", "log_create_orpo_dataset", "log_train_final_orpo")
MACHINES, CABLES = ("diagram-a", "diagram-b"), ("cable-a", "cable-b")
ADDRESSES, PORT = ("10.77.0.1", "10.77.0.2"), "29511"
CSV = Path("create_dataset", "orpo_dataset_llm.csv")
BATCH = 6  # answers; small, so that few prompts give several batches to each machine
LARGEST_DIFFERENCE = 1e-3  # of a loss; rounding adds up over the steps


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def connect() -> None:
    """Make the two machines and the cable between them."""
    for machine in MACHINES:
        ip("netns", "add", machine)
    ip("link", "add", CABLES[0], "type", "veth", "peer", "name", CABLES[1])
    for machine, cable, address in zip(MACHINES, CABLES, ADDRESSES, strict=True):
        ip("link", "set", cable, "netns", machine)
        ip("-n", machine, "address", "add", f"{address}/24", "dev", cable)
        ip("-n", machine, "link", "set", cable, "up")
        ip("-n", machine, "link", "set", "lo", "up")


def disconnect() -> None:
    """Remove the machines; the cable goes with them."""
    for machine in MACHINES:
        subprocess.run(["ip", "netns", "delete", machine], stderr=subprocess.DEVNULL)


def bytes_in_cable() -> int:
    """The bytes that the first machine has sent and received."""
    shown = subprocess.run(
        ["ip", "-n", MACHINES[0], "-s", "-j", "link", "show", CABLES[0]], check=True, capture_output=True, text=True
    )
    counts = json.loads(shown.stdout)[0]["stats64"]
    return counts["rx"]["bytes"] + counts["tx"]["bytes"]


def words_of(step: str, workspace: Path, rows: int) -> list[str]:
    script = str(PROJECT / "fine_tuning" / f"{step}.py")
    flags = ["--model", "embedded", "--workspace", str(workspace), "--max-rows", str(rows)]
    flags += ["--set", f"sampling.batch_size={BATCH}"]
    return [script, *flags, *([] if step == STEPS[1] else ["--global-batch", "2"])]


def start(number: int, words: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a step on one of the two machines, as a user does there. It and its processes are a process group."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "1", "--nnodes", "2"]
    launcher += ["--node_rank", str(number), "--master_addr", ADDRESSES[0], "--master_port", PORT]
    # gloo would take the address that belongs to the host's name, and this machine does not have it.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": CABLES[number]}
    return subprocess.Popen(
        ["ip", "netns", "exec", MACHINES[number], *launcher, *words],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def end(started: Sequence[subprocess.Popen[bytes]]) -> list[int]:
    """Wait for both machines. Prints the errors of one that has failed."""
    statuses = []
    for machine in started:
        _, errors = machine.communicate()
        statuses.append(machine.returncode)
        if machine.returncode > 0:
            print(errors.decode(errors="replace")[-3000:], file=sys.stderr)
    return statuses


def run_alone(step: str, workspace: Path, rows: int) -> None:
    """Run a step with one process."""
    subprocess.run(
        [sys.executable, *words_of(step, workspace, rows)],
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def run_on_both(step: str, workspace: Path, rows: int) -> int:
    """Run a step on both machines. Returns the bytes in the cable. Raises RuntimeError if it fails."""
    before = bytes_in_cable()
    statuses = end([start(number, words_of(step, workspace, rows)) for number in range(2)])
    if any(statuses):
        raise RuntimeError(f"{step} ended with status {statuses[0]} and {statuses[1]}")
    return bytes_in_cable() - before


def lose_a_machine(workspace: Path, rows: int) -> int:
    """Start step 2 on both machines and kill the second one when it has stored a batch. Returns the batches stored."""
    machines = [start(number, words_of(STEPS[1], workspace, rows)) for number in range(2)]
    while not any("-1." in path.name for path in part_paths(workspace / CSV)):
        if any(machine.poll() is not None for machine in machines):
            raise RuntimeError("step 2 ended before a machine could be killed")
        time.sleep(0.01)
    for machine in reversed(machines):  # the first one would wait for the second: the user stops it
        os.killpg(machine.pid, signal.SIGKILL)
        machine.communicate()
        time.sleep(2)  # then its processes have noticed
    return sum(path.read_bytes().count(b"\n") for path in part_paths(workspace / CSV))


def losses(workspace: Path, log: str) -> list[float]:
    """The loss of every step in a log."""
    history = json.loads((workspace / "log" / f"{log}.json").read_text("utf-8"))["history"]
    return [entry["loss"] for entry in history if "loss" in entry]


def main() -> None:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--max-rows", type=int, default=24, help="prompts of each CSV (default: 24)")
    args = parser.parse_args()
    if not shutil.which("ip") or os.geteuid() != 0:
        raise SystemExit("skipped: two network namespaces need root and the command ip (package iproute2)")
    folder = Path(tempfile.mkdtemp(prefix="two-machines-"))
    before = folder / "before"  # step 2
    rows, wrong = [], []
    figures: dict[str, float | int | bool] = {}
    disconnect()
    try:
        connect()
        for step, log in zip(STEPS, LOGS, strict=True):
            run_alone(step, folder / "one", args.max_rows)
            if step == STEPS[1]:  # its samples must be those of the same adapter
                for name in ("models", "create_dataset"):
                    shutil.rmtree(folder / "two" / name)
                    shutil.copytree(before / name, folder / "two" / name)
                figures["batches stored before the kill"] = lose_a_machine(folder / "two", args.max_rows)
            sent = run_on_both(step, folder / "two", args.max_rows)
            if step == STEPS[1]:
                is_same = (folder / "one" / CSV).read_bytes() == (folder / "two" / CSV).read_bytes()
                found, steps = "same CSV" if is_same else "another CSV", 0
            else:
                one, two = losses(folder / "one", log), losses(folder / "two", log)
                difference = max(abs(a - b) for a, b in zip(one, two, strict=True))
                is_same, steps = difference < LARGEST_DIFFERENCE, len(one)
                found = f"losses differ by {difference:.1g} at most" if difference else "same losses"
                figures[f"{step} largest difference of a loss"] = difference
            if not is_same:
                wrong.append(step)
            per_step = f"{sent / steps / 1e6:.2f}" if steps else ""
            rows.append([step, f"{sent / 1e6:.1f}", steps or "", per_step, found])
            figures[f"{step} MB in the cable"] = round(sent / 1e6, 1)
            if step == STEPS[0]:
                shutil.copytree(folder / "one", before)
    finally:
        disconnect()
    report(
        "Two machines",
        f"python benchmarks/two_machines.py{flags_given()}",
        table(["step", "MB in the cable", "training steps", "MB per step", "result"], rows),
        figures | {"same": not wrong},
        args.record,
    )
    if wrong:
        print(f"these steps differ, see {folder}:", *wrong, sep="\n- ", file=sys.stderr)
    else:
        shutil.rmtree(folder)
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
