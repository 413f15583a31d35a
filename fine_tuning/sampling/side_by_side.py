"""Work on several tasks at the same time, in threads, and give the results in order. Imports no torch."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from queue import SimpleQueue
from typing import Protocol, TypeVar


class Worker(Protocol):
    """Works on one task at a time, and gives it up soon after another thread has set `is_stopped`."""

    is_stopped: bool


AnyWorker = TypeVar("AnyWorker", bound=Worker)
Task = TypeVar("Task")
Result = TypeVar("Result")


def side_by_side(
    workers: Sequence[AnyWorker], tasks: Iterable[Task], work: Callable[[AnyWorker, Task], Result]
) -> Iterator[Result]:
    """`work(worker, task)` for each task, in order. The workers work side by side, a single one in this thread.

    Tasks are taken from `tasks` in this thread, at most twice as many as there are workers ahead of the caller. An
    error in a task is raised in the place of its result. Before it, and if the caller closes the iterator, the other
    workers are stopped. Until then nobody else may use a worker.
    """
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
            while begun:
                going = [future for future in begun if not future.done()]
                if begun[0].done():
                    yield begun.popleft().result()
                elif len(going) >= len(workers) or len(begun) >= 2 * len(workers):
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
        for worker in workers:
            worker.is_stopped = False
