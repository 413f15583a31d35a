"""The command line that all scripts share, read into `Options`."""

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

from fine_tuning.run.commands import default_workspace, flags, script
from fine_tuning.run.errors import Checks, UserError
from fine_tuning.run.options import DEFAULT_MODEL, DEFAULT_REVISION, MAX_SEED, SEED, Options
from fine_tuning.run.processes import processes
from fine_tuning.run.report_to import PACKAGES
from fine_tuning.run.set_flag import read_settings, settings_help
from fine_tuning.run.workspace import Workspace, broken_links


def parse_options(description: str | None) -> Options:
    """Read the command line. On --help argparse exits with status 0, on a mistake with status 2.

    Of several processes on a machine, one says what is wrong.
    """
    with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere if processes().local_rank else sys.stderr):
        args = make_parser(description).parse_args(flags())
    return to_options(args)


def make_parser(description: str | None, is_step: bool = True) -> argparse.ArgumentParser:
    """A parser with the flags of the three steps. A script that is not a step gets only --workspace and the model's."""
    parser = argparse.ArgumentParser(
        prog=" ".join(script()).removeprefix("python "),
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    model = parser.add_argument_group("model")
    model.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        help=f"hub id, local folder, or `embedded`, a small model that runs on a CPU (default: {DEFAULT_MODEL})",
    )
    model.add_argument("--revision", help="commit of a hub model (default: the pinned one for the default model)")
    model.add_argument(
        "--dtype",
        choices=("auto", "bfloat16", "float16", "float32"),
        default="auto",
        help="dtype of the weights; auto picks the best one for the hardware (default: auto)",
    )
    model.add_argument(
        "--load-in-4bit", action="store_true", help="load the base model in 4 bits; needs bitsandbytes and CUDA"
    )
    run = parser.add_argument_group("run")
    run.add_argument(
        "--workspace",
        type=user_path,
        default=default_workspace(),
        help=f"folder to read and write in (default: {default_workspace()})",
    )
    if not is_step:
        parser.set_defaults(max_rows=None, skip_bad_rows=False, seed=SEED, restart=False, set=[])
        parser.set_defaults(plain=False, no_gradient_checkpointing=False, report_to=None, global_batch=None)
        return parser
    run.add_argument(
        "--max-rows", type=whole_number(1), help="use only this many prompts of each CSV, to try things out"
    )
    run.add_argument(
        "--skip-bad-rows",
        action="store_true",
        help="leave out the rows of a CSV that would be refused; say how many and which",
    )
    run.add_argument(
        "--seed",
        type=whole_number(0, MAX_SEED),
        default=SEED,
        help=f"seed of the split, training and sampling (default: {SEED})",
    )
    run.add_argument("--restart", action="store_true", help="discard the earlier run of this step and repeat it")
    add_plain(run)
    run.add_argument(
        "--report-to",
        choices=tuple(PACKAGES),
        help="write the figures of steps 1 and 3 to this dashboard too, offline in the log folder (default: none)",
    )
    run.add_argument(
        "--global-batch",
        type=whole_number(1, 1_000_000),
        metavar="ROWS",
        help="rows or pairs of a training step, over all processes (default: one for each process). A process that has "
        "several works through them one after another",
    )
    settings = parser.add_argument_group(
        "training settings", f"Names, meanings and defaults for --set:\n\n{settings_help()}"
    )
    settings.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change a training setting, as in --set sft.epochs=2. Repeat the flag to change several",
    )
    settings.add_argument(
        "--no-gradient-checkpointing",
        action="store_true",
        help="compute each layer once: faster, with more memory. Short for --set gradient_checkpointing=false",
    )
    return parser


def add_plain(parser: "argparse.ArgumentParser | argparse._ArgumentGroup") -> None:
    """Add the flag --plain."""
    parser.add_argument("--plain", action="store_true", help="do not use CUDA graphs")


def to_options(args: argparse.Namespace) -> Options:
    """The shared flags as options.

    Raises UserError if the workspace is a file or a link to a missing folder, and with every problem of --set.
    """
    workspace = Workspace(args.workspace.resolve())
    checks = Checks()
    with checks:
        if broken := broken_links(args.workspace):
            raise UserError(*(f"--workspace {args.workspace}: {problem}" for problem in broken))
        if workspace.root.exists() and not workspace.root.is_dir():
            raise UserError(f"--workspace {args.workspace}: this is a file, not a folder")
    with checks:
        if args.global_batch and args.global_batch % processes().count:
            raise UserError(
                f"--global-batch {args.global_batch}: {processes().count} processes cannot share so many rows equally. "
                f"Give a multiple of {processes().count}"
            )
    values: dict[str, Any] = {}
    with checks:
        short = ["gradient_checkpointing=false"] if args.no_gradient_checkpointing else []
        values = read_settings([*args.set, *short])
    checks.finish()
    model = os.path.expanduser(args.model)
    return Options(
        model=model,
        revision=args.revision or (DEFAULT_REVISION if model == DEFAULT_MODEL else None),
        workspace=workspace,
        seed=args.seed,
        max_rows=args.max_rows,
        dtype=args.dtype,
        load_in_4bit=args.load_in_4bit,
        restart=args.restart,
        skip_bad_rows=args.skip_bad_rows,
        plain=args.plain,
        report_to=args.report_to,
        global_batch=args.global_batch,
        set_values=tuple(values.items()),
    )


def user_path(text: str) -> Path:
    """The path in a flag. The shell does not expand the ~ in --workspace=~/demo, or in quotes."""
    return Path(os.path.expanduser(text))


def whole_number(low: int, high: int | None = None) -> Callable[[str], int]:
    """A reader of a flag's value, a whole number from `low` to `high`, for argparse."""
    what = f"of at least {low}" if high is None else f"from {low} to {high}"

    def read(text: str) -> int:
        is_number = text.isdecimal() and len(text) <= 20  # int() refuses thousands of digits
        if not (is_number and low <= int(text) and (high is None or int(text) <= high)):
            raise argparse.ArgumentTypeError(f"{text[:60]!r} is not a whole number {what}")
        return int(text)

    return read
