"""Work on several tasks at the same time, in threads, and give their results in order. Imports no torch."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from queue import SimpleQueue
from typing import Protocol, TypeVar


class Worker(Protocol):
    """Works on one task at a time. It gives a task up soon after another thread has set `is_stopped`."""

    is_stopped: bool


AnyWorker = TypeVar("AnyWorker", bound=Worker)
Task = TypeVar("Task")
Result = TypeVar("Result")


def side_by_side(
    workers: Sequence[AnyWorker],
    tasks: Iterable[Task],
    work: Callable[[AnyWorker, Task], Result],
    most: Callable[[Task], int],
) -> Iterator[Result]:
    """`work(worker, task)` for each task, in order. The workers work side by side, a single one in this thread.

    A task begins only when fewer than `most(task)` others are being worked on, but one at a time always may. Tasks are
    taken from `tasks` in this thread. At most twice as many as there are workers are begun ahead of the caller.

    An error is raised in the place of its result. Then, or if the caller wants no more, all workers are stopped first.
    """
    for worker in workers:
        worker.is_stopped = False
    if len(workers) == 1:
        yield from (work(workers[0], task) for task in tasks)
        return
    free: SimpleQueue[AnyWorker] = SimpleQueue()
    for worker in workers:
        free.put(worker)

    def worked_on(task: Task) -> Result:
        worker = free.get()
        try:
            return work(worker, task)
        finally:
            free.put(worker)

    begun: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(len(workers))
    try:
        for task in tasks:
            together = min(len(workers), max(1, most(task)))
            while begun:
                going = [future for future in begun if not future.done()]
                if begun[0].done():
                    yield begun.popleft().result()
                elif len(going) >= together or len(begun) >= 2 * len(workers):
                    wait(going, return_when=FIRST_COMPLETED)
                else:
                    break
            begun.append(pool.submit(worked_on, task))
        while begun:
            yield begun.popleft().result()
    finally:
        for worker in workers:
            worker.is_stopped = True
        pool.shutdown(cancel_futures=True)
