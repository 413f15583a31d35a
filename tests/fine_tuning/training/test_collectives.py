"""What the processes of a job say to each other."""

import pytest
import torch
from launching import end_several, launch, start_several

from fine_tuning.training.collectives import all_reduce_, any_of, barrier, broadcast, end_group, gather, start_group

HEAD = """
import os, torch, sys, time
from fine_tuning.run.entry_point import run
from fine_tuning.run.processes import processes
from fine_tuning.training.collectives import *
from fine_tuning.training import collectives
"""


def program(body: str) -> list[str]:
    """A script whose `main` meets the other processes and has this body."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return ["-c", f"{HEAD}def main():\n    start_group()\n    rank = processes().rank\n{lines}run(main)"]


def test_with_one_process_nothing_is_started_and_every_value_is_its_own():
    start_group()
    barrier()
    assert (gather("a"), broadcast("a"), any_of(True), any_of(False)) == (["a"], "a", True, False)
    assert all_reduce_(torch.ones(2)).tolist() == [1, 1]
    assert not torch.distributed.is_initialized()
    end_group()


def test_processes_gather_broadcast_agree_and_add_up():
    body = """print(gather({"rank": rank}), broadcast(rank + 5), any_of(rank == 1), any_of(False), file=sys.stderr)
print(all_reduce_(torch.tensor([rank + 1.0, 10.0])).tolist(), file=sys.stderr)
end_group()"""
    ended = launch(2, *program(body))
    assert ended == [(0, "", "[{'rank': 0}, {'rank': 1}] 5 True False\n[3.0, 20.0]\n")] * 2


@pytest.mark.parametrize("call", ["all_reduce_(torch.ones(1000))", "barrier()", "broadcast(1)"])
def test_who_waits_for_a_process_that_was_killed_says_so_and_ends(call):
    started = start_several(2, program(f"if rank:\n    os.kill(os.getpid(), 9)\n{call}\n{call}"))
    (status, _, errors), killed = end_several(started, 30)
    assert killed[0] == -9
    assert status == 2
    assert errors.startswith("error: process 0: another process has ended or does not answer (")
    assert errors.endswith("Then continue: torchrun --nproc_per_node 2 -c\n")
    assert errors.count("\n") == 1
