"""Measure the memory that step 1 needs for the rows of its CSV: reading, checking, splitting and encoding them.

    python benchmarks/many_rows.py [--rows 700 70000 700000] [--record]

Repeats the committed rows, with a number in front of each prompt, and does with them what step 1 does before it loads
the model. The tokenizer is the embedded model's. The largest file takes about half an hour on one core.
"""

import csv
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.report import benchmark_parser, flags_given, report
from fine_tuning.run.commands import PROJECT
from fine_tuning.run.markdown import table

CSV = Path("create_dataset") / "sft_dataset_llm.csv"
MIB = 2**20
SECONDS_BETWEEN_LOOKS = 0.02


def main() -> None:
    if sys.argv[1:2] == ["measure"]:
        print(json.dumps(measure(Path(sys.argv[2]))))
        return
    parser = benchmark_parser(__doc__)
    parser.add_argument(
        "--rows",
        type=int,
        nargs="+",
        default=[700, 70_000, 700_000],
        help="sizes of the CSV (default: 700 70000 700000)",
    )
    args = parser.parse_args()
    figures = {}
    for count in args.rows:
        with tempfile.TemporaryDirectory() as folder:
            size = write_rows(Path(folder) / CSV, count)
            output = subprocess.check_output([sys.executable, __file__, "measure", folder], text=True)
        figures[count] = {"MiB of the CSV": round(size / MIB, 1)} | json.loads(output.splitlines()[-1])
        print(f"{count:,} rows: {figures[count]}", flush=True)
    columns = ["rows", *next(iter(figures.values()))]
    lines = [[f"{count:,}", *(f"{value:,}" for value in found.values())] for count, found in figures.items()]
    body = (
        f"{table(columns, lines)}\n\n"
        "The peak is that of the memory that the process itself holds, libraries included. Token ids lie in a mapped "
        "file, which the operating system may drop from memory at any time; they do not count."
    )
    command = f"python benchmarks/many_rows.py{flags_given()}"
    report("Memory for many rows", command, body, {str(count): found for count, found in figures.items()}, args.record)


def write_rows(path: Path, count: int) -> int:
    """Write a CSV of `count` different rows; return its size in bytes."""
    with open(PROJECT / CSV, encoding="utf-8", newline="") as file:
        committed = list(csv.DictReader(file))
    path.parent.mkdir()
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, committed[0], lineterminator="\n")
        writer.writeheader()
        for number in range(count):
            row = committed[number % len(committed)]
            writer.writerow(row | {"input_data": f"{number}: {row['input_data']}"})
    return path.stat().st_size


def measure(workspace: Path) -> dict[str, Any]:
    """Read and encode a workspace's SFT CSV as step 1 does. Returns sizes in MiB and seconds."""
    from fine_tuning.data.sft_csv import read_sft_rows
    from fine_tuning.data.split import split_prompts
    from fine_tuning.data.tokens import ROW_PARTS, encode_rows
    from fine_tuning.run.command_line import make_parser, to_options
    from fine_tuning.run.step_preset import preset_for
    from fine_tuning.training.base_model import load_tokenizer
    from fine_tuning.training.token_table import write_tokens

    options = to_options(make_parser("").parse_args(["--model", "embedded", "--workspace", str(workspace)]))
    tokenizer = load_tokenizer(options)
    libraries = held()
    with Peak() as peak:
        start = time.perf_counter()
        rows = read_sft_rows(options).rows
        train_prompts, _ = split_prompts(rows, options.seed)
        read = time.perf_counter() - start
        encoded = write_tokens(
            encode_rows(tokenizer, rows, preset_for(options).max_length), ROW_PARTS, ROW_PARTS[:1], workspace
        )
        train_set, _ = encoded.divide(train_prompts)
        encoding = time.perf_counter() - start - read
        for example in (train_set[k] for k in range(0, len(train_set), max(1, len(train_set) // 1000))):
            assert example["input_ids"]
    return {
        "peak MiB": round(peak.bytes / MIB, 1),
        "of it libraries": round(libraries / MIB, 1),
        "MiB of token ids on disk": round(encoded.examples.data.nbytes / MIB, 1),
        "seconds to read": round(read, 1),
        "seconds to encode": round(encoding, 1),
    }


def held() -> int:
    """The bytes of memory that this process itself holds; mapped files do not count. Linux only."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no RssAnon")


class Peak:
    """The highest `held()` inside a `with` block, looked at every SECONDS_BETWEEN_LOOKS."""

    def __enter__(self) -> "Peak":
        self.bytes = held()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._end.wait(SECONDS_BETWEEN_LOOKS):
            self.bytes = max(self.bytes, held())


if __name__ == "__main__":
    main()
