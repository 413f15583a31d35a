"""The output of every benchmark: a markdown table, optionally saved in RESULTS.md, and one line of JSON."""

import argparse
import datetime
import json
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fine_tuning.run.files import write_atomically

RESULTS = Path(__file__).with_name("RESULTS.md")
HEADING = """# Results

Each section was written by the command it names, run with `--record`. Only sentences in italics are by hand.
"""


def benchmark_parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with --record, the flag of every benchmark."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help=f"save the result in benchmarks/{RESULTS.name}")
    return parser


def flags_given() -> str:
    """Return the flags of this command line except --record, for the command in the report."""
    return "".join(f" {shlex.quote(word)}" for word in sys.argv[1:] if word != "--record")


def describe_device() -> str:
    """Describe what torch computes on. For a GPU this includes the version of torch, which decides the kernels."""
    import torch

    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    threads = torch.get_num_threads()
    return f"a CPU, {threads} thread{'s' if threads > 1 else ''}"


def report(title: str, command: str, body: str, figures: Mapping[str, Any], record: bool) -> None:
    """Print `body` and, as the last line, the figures as JSON. With `record`, save the section in RESULTS.md."""
    print(f"\n## {title}\n\n{body}\n")
    if record:
        keep_section(RESULTS, title, f"`{command}`, measured on {datetime.date.today()}\n\n{body}")
    print(json.dumps(figures))


def keep_section(path: Path, title: str, body: str) -> None:
    """Replace the section with that title in a markdown file, or append it."""
    text = path.read_text("utf-8") if path.exists() else HEADING
    section = f"## {title}\n\n{body.strip()}\n"
    pattern = re.compile(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", re.DOTALL | re.MULTILINE)
    text, found = pattern.subn(lambda _: f"{section}\n", text)
    write_atomically(path, f"{text.rstrip()}\n" if found else f"{text.rstrip()}\n\n{section}")
