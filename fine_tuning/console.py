"""The console command of the installed package:

    text-to-diagram import | sft | sample | orpo | run-all | ask | page | export

Each subcommand runs one script of `fine_tuning`. The default workspace is the current folder.
"""

import argparse
import importlib
import sys

from fine_tuning.run.commands import CONSOLE_COMMAND, SUBCOMMANDS
from fine_tuning.run.entry_point import run


def main() -> None:
    parser = argparse.ArgumentParser(
        prog=CONSOLE_COMMAND, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "command", choices=SUBCOMMANDS, help=f"add --help to see its flags: {CONSOLE_COMMAND} sft --help"
    )
    args = parser.parse_args(sys.argv[1:2])
    run(importlib.import_module(f"fine_tuning.{SUBCOMMANDS[args.command]}").main)


if __name__ == "__main__":
    main()
