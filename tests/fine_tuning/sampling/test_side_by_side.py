"""Tasks that are worked on in threads: results in order, not too far ahead, and an orderly end."""

import threading
from types import SimpleNamespace

import pytest

from fine_tuning.sampling.side_by_side import side_by_side

SECONDS = 10  # until a thread that should go on counts as stuck


def workers(count):
    return [SimpleNamespace(is_stopped=False, number=k) for k in range(count)]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_results_come_in_order(count):
    done = []

    def work(worker, task):
        if task == 0 and count > 1:  # the first task is done last
            assert other.wait(SECONDS)
        elif task == 1:
            other.set()
        done.append(task)
        return task * 10

    other = threading.Event()
    assert list(side_by_side(workers(count), range(8), work)) == [10 * k for k in range(8)]
    assert sorted(done) == list(range(8)) and (done[0] == 0) == (count == 1)


def test_each_worker_does_one_task_at_a_time_and_all_work():
    busy, used = set(), set()
    meet = threading.Barrier(2, timeout=SECONDS)

    def work(worker, task):
        assert worker.number not in busy
        busy.add(worker.number)
        used.add((worker.number, threading.get_ident()))
        meet.wait()  # passes only if two work at the same time
        busy.discard(worker.number)

    assert list(side_by_side(workers(2), range(6), work)) == [None] * 6
    assert {number for number, _ in used} == {0, 1} and threading.get_ident() not in {ident for _, ident in used}


def test_tasks_are_not_taken_far_ahead_of_the_caller():
    taken = []

    def tasks():
        for task in range(100):
            taken.append(task)
            yield task

    results = side_by_side(workers(2), tasks(), lambda _, task: task)
    for k in range(5):
        assert next(results) == k
        assert len(taken) <= k + 6
    results.close()


@pytest.mark.parametrize("how", ["an error", "the caller"])
def test_at_the_end_all_workers_are_stopped_and_nothing_new_begins(how):
    crew, begun, is_waiting = workers(2), [], threading.Event()

    def work(worker, task):
        begun.append(task)
        if task == 0:
            assert is_waiting.wait(SECONDS)
            if how == "an error":
                raise KeyError("a fault")
        elif task == 1:
            is_waiting.set()
            for _ in range(100 * SECONDS):
                if worker.is_stopped:
                    return
                threading.Event().wait(0.01)
            pytest.fail("it was not told to stop")

    results = side_by_side(crew, range(50), work)
    if how == "an error":
        with pytest.raises(KeyError, match="a fault"):
            next(results)
    else:
        assert next(results) is None
        results.close()
    count = len(begun)
    assert count <= 5 and not any(worker.is_stopped for worker in crew)
    assert list(side_by_side(crew, range(2, 4), work)) == [None, None]  # they can be used again
