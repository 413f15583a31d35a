"""End one of several processes at once: on a signal, even while it waits for the others, and with its launcher.

A process that waits inside of torch.distributed runs no signal handler, and the launcher that would kill it may itself
be killed. A thread sees both.
"""

import os
import select
import signal
import threading
from collections.abc import Callable, Collection

SECONDS = 1.0  # between two looks at the launcher


def watch(signals: Collection[int], end: Callable[[int], object]) -> None:
    """From now on, call `end` with the number of a signal among `signals` that arrives, or with SIGTERM when the
    process that started this one has ended. Call this in the main thread.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader, os.getppid(), frozenset(signals), end), daemon=True).start()


def _watch(reader: int, parent: int, signals: frozenset[int], end: Callable[[int], object]) -> None:
    while True:
        ready, _, _ = select.select([reader], [], [], SECONDS)
        arrived = os.read(reader, 64) if ready else b""
        for number in arrived:
            if number in signals:
                end(number)
        if os.getppid() != parent:
            end(signal.SIGTERM)
