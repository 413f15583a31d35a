"""Start a command as several processes, importing the libraries once: a launcher that forks.

    python tests/forking_launcher.py < launches

Reads a line of JSON for each launch: {"count": 2, "module": "fine_tuning.orpo_create_dataset", "words": [...],
"folder": "..."}. For each, prints the process ids, {"launcher": 1, "processes": [2, 3]}, and, when the launcher has
ended, {"status": 0}. Each process writes what it prints into the folder, to `0.out`, `0.err`, `1.out` and so on.
Count 1 starts one process as without a launcher. `forked_job.py` starts this program.

Like a real launcher, it ends the other processes when one has failed, and passes nothing on when it is killed.
"""

import gc
import importlib
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

os.environ |= {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}

LIBRARIES = (
    "peft",
    "fine_tuning.orpo_create_dataset",
    "fine_tuning.sampling.decoder",
    "fine_tuning.sampling.samples",
    "fine_tuning.training.adapter",
    "fine_tuning.training.collectives",
    "fine_tuning.training.model_probe",
    "matplotlib.backends.backend_agg",
)


def main() -> None:
    for name in LIBRARIES:
        importlib.import_module(name)
    gc.freeze()  # collecting all that the libraries have made takes half a second
    for line in sys.stdin:
        launch = json.loads(line)
        reader, writer = os.pipe()
        launcher = os.fork()
        if not launcher:
            os.close(reader)
            os.setpgid(0, 0)  # Ctrl-C goes to a launcher and its processes, and to nobody else
            status = 1
            try:
                status = be_launcher(writer, **launch)
            finally:
                os._exit(status)
        os.close(writer)
        with os.fdopen(reader) as pids:
            say({"launcher": launcher, "processes": json.loads(pids.readline())})
        say({"status": os.waitstatus_to_exitcode(os.waitpid(launcher, 0)[1])})


def say(what: dict[str, Any]) -> None:
    print(json.dumps(what), flush=True)


def be_launcher(writer: int, count: int, module: str, words: list[str], folder: str) -> int:
    """Start the processes and wait for them. Returns the first exit status that is not 0."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    shared = {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    left = set()
    for rank in range(count):
        variables = {} if count == 1 else shared | {"RANK": rank, "LOCAL_RANK": rank}
        child = os.fork()
        if not child:
            os.close(writer)
            be_process(variables, module, words, Path(folder), rank)
        left.add(child)
    os.write(writer, json.dumps(sorted(left)).encode() + b"\n")
    os.close(writer)
    first = 0
    while left:
        child, wait_status = os.wait()
        left.remove(child)
        status = os.waitstatus_to_exitcode(wait_status)
        if status and not first:
            first = status if status > 0 else 128 - status
            time.sleep(0.1)
            for other in left:
                os.kill(other, signal.SIGTERM)
    return first


def be_process(variables: dict[str, Any], module: str, words: list[str], folder: Path, rank: int) -> None:
    """Run the module's `main` in this fork, as a script does."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ |= {name: str(value) for name, value in variables.items()}
    for descriptor, kind in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / f"{rank}.{kind}", os.O_CREAT | os.O_WRONLY | os.O_TRUNC), descriptor)
    sys.argv, status = [f"{module.replace('.', '/')}.py", *words], 1
    try:
        from fine_tuning.run.entry_point import run

        run(importlib.import_module(module).main)
        sys.stdout.flush()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)


if __name__ == "__main__":
    main()
