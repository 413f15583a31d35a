"""What the processes of a job say to each other, by torch.distributed. With one process, all of this does nothing.

Objects travel by gloo, on the CPU; a tensor travels by NCCL if it is on a GPU. If another process has ended, whoever
waits for it raises LostProcess.
"""

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from fine_tuning.run.commands import continue_command
from fine_tuning.run.errors import UserError
from fine_tuning.run.processes import have_met, processes, set_have_met

# The longest that a process waits for the others. One of them may write a checkpoint or capture graphs meanwhile.
TIMEOUT = timedelta(minutes=30)

Value = TypeVar("Value")
Result = TypeVar("Result")


class LostProcess(UserError):
    """Another process has ended or does not answer."""


def start_group() -> None:
    """Meet the other processes. Call it once torch may be imported and before a process does what others may not."""
    here = processes()
    if not here.are_several or have_met():
        return
    # The Trainer warns of processes that it has not started. They are ours.
    logging.getLogger("transformers.training_args").addFilter(lambda record: "process group" not in record.getMessage())
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    _meeting(
        lambda: dist.init_process_group(
            backend, init_method="env://", rank=here.rank, world_size=here.count, timeout=TIMEOUT
        )
    )
    set_have_met(True)


def end_group() -> None:
    """Take leave of the other processes."""
    if have_met():
        barrier()
        dist.destroy_process_group()
        set_have_met(False)


def barrier() -> None:
    """Wait until every process has come here."""
    gather(None)


def gather(value: Value) -> list[Value]:
    """The values of all processes, in the order of their numbers. Any value that pickle takes."""
    if not processes().are_several:
        return [value]
    values: list[Any] = [None] * processes().count
    _meeting(lambda: dist.all_gather_object(values, value))
    return values


def broadcast(value: Value) -> Value:
    """The main process's value."""
    if not processes().are_several:
        return value
    values = [value]
    _meeting(lambda: dist.broadcast_object_list(values, src=0, device=torch.device("cpu")))
    return values[0]


def any_of(flag: bool) -> bool:
    """True if the flag is true in any process."""
    return any(gather(flag))


def all_reduce_(flat: Tensor) -> Tensor:
    """Replace a tensor by the sum of those of all processes, and return it."""
    if processes().are_several:
        _meeting(lambda: dist.all_reduce(flat))
    return flat


def _meeting(speak: Callable[[], Result]) -> Result:
    """The result of a call that all processes make."""
    try:
        return speak()
    except (RuntimeError, ValueError) as error:
        if not isinstance(error, dist.DistError) and not any(
            words in str(error).lower() for words in ("connection", "timed out", "timeout", "peer", "socket", "broken")
        ):
            raise
        raise LostProcess(
            f"another process has ended or does not answer ({' '.join(str(error).split())[:120]}). What it has printed "
            f"says why. Then continue: {continue_command()}"
        ) from error
