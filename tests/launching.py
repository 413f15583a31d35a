"""Start a command as several processes, as a launcher does: each with its number in the environment."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from helpers import ROOT


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start_several(count: int, words: Sequence[str | Path], **environment: str) -> list[subprocess.Popen[str]]:
    """Start `python WORDS` so many times, each as one of several processes on this machine."""
    shared = {
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        "CUDA_VISIBLE_DEVICES": "",
    }
    return [
        subprocess.Popen(
            [sys.executable, *map(str, words)],
            cwd=ROOT,
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]


def end_several(processes: Sequence[subprocess.Popen[str]], timeout: float = 120) -> list[tuple[int, str, str]]:
    """Wait for all processes, as a launcher does: when one fails, the others get SIGTERM. Returns the exit status,
    stdout and stderr of each.
    """
    try:
        ended = []
        for process in processes:
            output, errors = process.communicate(timeout=timeout)
            ended.append((process.returncode, output, errors))
        return ended
    finally:
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)


def launch(count: int, *words: str | Path, **environment: str) -> list[tuple[int, str, str]]:
    """Run `python WORDS` as several processes, and return the exit status, stdout and stderr of each."""
    return end_several(start_several(count, words, **environment))
