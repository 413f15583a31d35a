"""All three steps in order, with the flags given: supervised fine-tuning, sampling, ORPO.

    python fine_tuning/run_all.py                                     the real model, on a CUDA GPU
    python fine_tuning/run_all.py --model embedded --workspace demo   a small model, on two CPU cores, in minutes

Stops at the first step that fails. Started again, it goes on where it was stopped.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from fine_tuning.options import parse_options

STEPS = ("sft_fine_tuning", "orpo_create_dataset", "orpo_fine_tuning")


def main() -> None:
    parse_options(__doc__)
    start = time.perf_counter()
    figures = {}
    environment = os.environ | {"PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"}
    for number, step in enumerate(STEPS, start=1):
        print(f"step {number} of {len(STEPS)}: {step}", flush=True)
        command = [sys.executable, str(Path(__file__).with_name(f"{step}.py")), *sys.argv[1:]]
        last = ""
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8", env=environment) as process:
            for last in process.stdout:
                if not last.startswith("{"):
                    print(f"  {last}", end="", flush=True)
        if process.returncode:
            raise SystemExit(process.returncode)
        figures[step] = json.loads(last)
    figures["wall seconds"] = round(time.perf_counter() - start, 1)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
