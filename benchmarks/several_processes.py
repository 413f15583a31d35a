"""Time training with several processes against one process, and the message that they exchange in every step.

    python benchmarks/several_processes.py                 two processes of one thread against one of two threads
    python benchmarks/several_processes.py --processes 8   on a machine with several GPUs: so many against one

Both train step 1 on the same rows with the same global batch, two rows a step or as many as there are processes. The
message is the sum of the adapter's gradients at rank 16 on deepseek-coder, of 6,291,456 numbers in float32.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks.report import benchmark_parser, describe_device, flags_given, report
from fine_tuning.run.commands import PROJECT
from fine_tuning.run.markdown import table
from fine_tuning.run.processes import hide_launcher, processes

GRADIENTS = 6_291_456
STEP_1 = str(PROJECT / "fine_tuning" / "sft_fine_tuning.py")
TIMES = 20  # messages that are timed


def main() -> None:
    parser = benchmark_parser(__doc__ or "")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rows", type=int, default=40, help="prompts of the CSV to use (default: 40)")
    parser.add_argument("--epochs", type=int, default=1)
    args = parser.parse_args()
    count = args.processes
    threads = os.cpu_count() or 1
    rows: list[list[Any]] = []
    figures: dict[str, Any] = {}
    for number, each in ((1, threads), (count, max(1, threads // count))):
        flags = ["--model", "embedded", "--max-rows", str(args.rows), "--set", f"sft.epochs={args.epochs}"]
        result = trained(number, each, [*flags, "--global-batch", str(count)])
        name = f"{number} process{'es' if number > 1 else ''} of {each} thread{'s' if each > 1 else ''}"
        rows.append([name, result["seconds per training step"], result["training tokens per second"]])
        figures[name] = {k: result[k] for k in ("seconds per training step", "training tokens per second")}
    message = float(launched(count, 1, [__file__, "--message"]))
    figures["seconds for a message"] = message
    shown = table(["step 1", "seconds a step", "tokens per second"], rows)
    text = (
        f"{describe_device()}.\n\n{shown}\n\nA message of {GRADIENTS * 4 / 1e6:.1f} MB between {count} processes: "
        f"{1000 * message:.1f} ms."
    )
    report("Several processes", f"python benchmarks/several_processes.py{flags_given()}", text, figures, args.record)


def trained(count: int, threads: int, flags: list[str]) -> dict[str, float]:
    """The figures of step 1 with so many processes."""
    with tempfile.TemporaryDirectory() as folder:
        result: dict[str, float] = json.loads(launched(count, threads, [STEP_1, *flags, "--workspace", folder]))
    return result


def launched(count: int, threads: int, words: list[str]) -> str:
    """Run `python WORDS` in so many processes, and return the last line that they print."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count)] if count > 1 else []
    environment = os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")]),
    }
    run = subprocess.run(
        [sys.executable, *launcher, *words], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return run.stdout.splitlines()[-1]


def time_messages() -> None:
    """Print the median seconds that adding up the gradients of all processes takes."""
    from fine_tuning.run.gpus import use_one_gpu

    use_one_gpu()
    here = processes()
    hide_launcher()
    import torch

    from fine_tuning.training.collectives import all_reduce_, barrier, end_group, start_group
    from fine_tuning.training.device import device_name

    start_group()
    flat = torch.zeros(GRADIENTS, device=device_name())
    seconds = []
    for _ in range(TIMES):
        barrier()
        start = time.perf_counter()
        all_reduce_(flat)
        if flat.is_cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    end_group()
    if here.is_main:
        print(statistics.median(seconds))


if __name__ == "__main__":
    time_messages() if sys.argv[1:] == ["--message"] else main()
