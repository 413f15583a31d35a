"""Time the three steps, and how much of the time goes to importing, tokenising and logging.

    python benchmarks/pipeline.py [--max-rows N] [--workspace DIR] [--record]        the embedded model
    python benchmarks/pipeline.py --architecture real --tokenizer FOLDER             deepseek-coder, on a GPU

The real architecture has random weights. Such a model hardly ever ends an answer by itself, so answers have the lengths
of their limits, which is the most that the steps can have to do. FOLDER holds the tokenizer of deepseek-coder.

Each step runs in its own process, as a user starts it, in a new workspace. Importing is all time in import statements.
Tokenising is all time in fine_tuning.data.tokens. Logging is all time spent on recording figures, drawing pictures and
writing the log. Imports that only drawing needs count as importing and as logging.
"""

import argparse
import builtins
import importlib
import json
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.report import benchmark_parser, flags_given, report
from fine_tuning.run.commands import PROJECT, STEPS
from fine_tuning.run.markdown import table

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SPENT = "SPENT "


def main() -> None:
    if sys.argv[1:2] == ["--step"]:
        run_step(Path(sys.argv[2]), sys.argv[3:])
        return
    parser = benchmark_parser(__doc__)
    parser.add_argument("--workspace", type=Path, help="a new folder to keep (default: a temporary one)")
    parser.add_argument("--architecture", choices=("embedded", "real"), default="embedded")
    parser.add_argument("--layers", type=int, default=24, help="layers of the real architecture (default: 24)")
    parser.add_argument("--tokenizer", type=Path, help="folder with the tokenizer of the real architecture")
    parser.add_argument("--max-rows", type=int, help="prompts of each CSV (default: all)")
    args = parser.parse_args()
    if args.workspace and args.workspace.exists():
        parser.error(f"--workspace {args.workspace} exists already. Pass the name of a new folder")
    is_real = args.architecture == "real"
    if is_real and not args.tokenizer:
        parser.error("--architecture real needs a tokenizer: --tokenizer FOLDER")
    rows, figures = [], {}
    with tempfile.TemporaryDirectory() as folder, model_of(args) as model:
        for step in STEPS:
            figures[step] = timed(step, model, args.workspace or Path(folder), args.max_rows)
    total = {name: sum(spent[name] for spent in figures.values()) for name in figures[STEPS[0]]}
    for name, spent in (figures | {"all": total}).items():
        overhead = [spent["importing"], spent["tokenising"], spent["logging"]]
        share = f"{100 * sum(overhead) / spent['seconds']:.1f} %"
        rows.append([name, f"{spent['seconds']:.1f}", *(f"{seconds:.1f}" for seconds in overhead), share])
    report(
        f"The whole pipeline, real architecture, {args.layers} layers, random weights"
        if is_real
        else "The whole pipeline, embedded model",
        f"python benchmarks/pipeline.py{flags_given()}",
        table(["step", "seconds", "importing", "tokenising", "logging", "share of these three"], rows),
        figures | {"all": total},
        args.record,
    )


@contextmanager
def model_of(args: argparse.Namespace) -> Iterator[str]:
    """What to give the steps as --model: the embedded model, or a folder that is deleted at the end."""
    if args.architecture == "embedded":
        yield "embedded"
        return
    from transformers import AutoTokenizer

    from benchmarks.architecture import random_weights

    tokenizer = AutoTokenizer.from_pretrained(args.tokenizer)
    with random_weights(args.layers, special_tokens(tokenizer)) as folder:
        tokenizer.save_pretrained(folder)
        yield folder


def special_tokens(tokenizer: "PreTrainedTokenizerBase") -> dict[str, int | None]:
    """The ids of a tokenizer's special tokens, as a model's configuration has them."""
    return {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}


def timed(step: str, model: str, workspace: Path, max_rows: int | None) -> dict[str, float]:
    """Run a step and return its seconds, and how many of them it spent on importing, tokenising and logging."""
    script = str(PROJECT / "fine_tuning" / f"{step}.py")
    flags = ["--model", model, "--workspace", str(workspace)]
    flags += ["--max-rows", str(max_rows)] if max_rows else []
    command = [sys.executable, __file__, "--step", script, *flags]
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as errors:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        seconds = time.perf_counter() - start
        errors.seek(0)
        stderr = errors.read()
    if done.returncode:
        raise SystemExit(f"{step} ended with status {done.returncode}: {stderr[-2000:]}")
    spent = next(line for line in stderr.splitlines() if line.startswith(SPENT))
    return {"seconds": seconds} | json.loads(spent.removeprefix(SPENT))


def run_step(script: Path, flags: list[str]) -> None:
    """Run a step in this process and print to stderr the seconds spent on importing, tokenising and logging."""
    importing, tokenising, logging = Stopwatch(), Stopwatch(), Stopwatch()
    builtins.__import__ = importing.around(builtins.__import__)
    importlib.import_module = importing.around(importlib.import_module)
    from fine_tuning.data import tokens
    from fine_tuning.run import log
    from fine_tuning.training import history

    for name in ("encode_prompt", "encode_completion", "encode_row", "encode_rows", "decode_answer"):
        setattr(tokens, name, tokenising.around(getattr(tokens, name)))
    for name in ("set", "plot", "sheet", "write"):
        setattr(log.TrainingLog, name, logging.around(getattr(log.TrainingLog, name)))
    history.record = logging.around(history.record)
    sys.argv = [str(script), *flags]
    runpy.run_path(str(script), run_name="__main__")
    watches = {"importing": importing, "tokenising": tokenising, "logging": logging}
    print(f"\n{SPENT}{json.dumps({name: watch.seconds for name, watch in watches.items()})}", file=sys.stderr)


class Stopwatch:
    """Adds up the seconds spent in functions. If one calls another, the time counts once."""

    def __init__(self) -> None:
        self.seconds, self._depth = 0.0, 0

    def around(self, function: Callable) -> Callable:
        def timed_function(*args: Any, **arguments: Any) -> Any:
            self._depth += 1
            start = time.perf_counter()
            try:
                return function(*args, **arguments)
            finally:
                self._depth -= 1
                if not self._depth:
                    self.seconds += time.perf_counter() - start

        return timed_function


if __name__ == "__main__":
    main()
