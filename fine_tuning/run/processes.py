"""Which of several processes this one is. A launcher (`accelerate launch`, `torchrun`) starts them for one job.

Process 0 is the main one: it alone prints, and writes what all share. Imports no torch.
"""

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

from fine_tuning.run.commands import flags, script
from fine_tuning.run.errors import UserError

Item = TypeVar("Item")

NEEDED = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
# What a launcher says to the libraries. The project speaks to torch.distributed by itself: see `hide_launcher`.
HIDDEN = (*NEEDED, "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_RANK", "ROLE_WORLD_SIZE")
OF_ACCELERATE = "ACCELERATE_"


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among all of its job.

    rank         its number, from 0, over all machines
    count        the number of all processes
    local_rank   its number on its own machine
    local_count  the number of processes on its machine
    launcher     the words that start all processes, before the script's path; empty if no launcher did
    on_cpu       True if the launcher was told to use no GPU
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1
    launcher: tuple[str, ...] = ()
    on_cpu: bool = False

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    @property
    def are_several(self) -> bool:
        return self.count > 1

    def share(self, items: Sequence[Item]) -> list[Item]:
        """The items of this process: number rank, rank + count, and so on."""
        return list(islice(items, self.rank, None, self.count))

    def share_of(self, what: str) -> str:
        """`what`, of which this process does its share, for progress bars and logs."""
        return f"{what} (process {self.rank} of {self.count})" if self.are_several else what


_here: Processes | None = None
_have_met = False


def processes() -> Processes:
    """This process, from the environment that it was started in. Raises UserError if that contradicts itself."""
    global _here
    if _here is None:
        _here = read_processes(os.environ)
    return _here


def read_processes(environment: Mapping[str, str]) -> Processes:
    """The process that a launcher describes in these variables; the only one if it describes none."""
    given = {name: environment[name] for name in NEEDED if name in environment}
    if not given:
        if f"{OF_ACCELERATE}MIXED_PRECISION" in environment and "MASTER_ADDR" in environment:
            raise UserError(
                "accelerate launch was told to start several processes and has started one: without --multi_gpu it "
                "does so where it finds less than two GPUs. Add --multi_gpu, or use torchrun --nproc_per_node"
            )
        return Processes(on_cpu=_is_on_cpu(environment))
    numbers = {
        name: int(environment.get(name, "")) if environment.get(name, "").isdecimal() else None
        for name in (*NEEDED, "LOCAL_WORLD_SIZE")
    }
    rank, count, local_rank = (numbers[name] for name in NEEDED)
    if rank is None or count is None or local_rank is None or not local_rank <= rank < count:
        raise UserError(
            f"the environment variables {', '.join(NEEDED)} are {', '.join(given.get(n, 'not set') for n in NEEDED)}, "
            "which no launcher sets together. Start several processes with accelerate launch or torchrun, or unset them"
        )
    local_count = max(numbers["LOCAL_WORLD_SIZE"] or 1, local_rank + 1)
    launcher = _launcher(environment, count, local_count) if count > 1 else ()
    return Processes(rank, count, local_rank, local_count, launcher, _is_on_cpu(environment))


def _launcher(environment: Mapping[str, str], count: int, local_count: int) -> tuple[str, ...]:
    """The words of the launcher's command line. Only these are known of what the user has typed."""
    machine, machines = environment.get("GROUP_RANK", "0"), -(-count // local_count)
    address, port = environment.get("MASTER_ADDR", "ADDRESS"), environment.get("MASTER_PORT", "PORT")
    if any(name.startswith(OF_ACCELERATE) for name in environment):
        words = ["accelerate", "launch", "--multi_gpu", "--num_processes", str(count)]
        names = ("--num_machines", "--machine_rank", "--main_process_ip", "--main_process_port")
    else:
        words = ["torchrun", "--nproc_per_node", str(local_count)]
        names = ("--nnodes", "--node_rank", "--master_addr", "--master_port")
    if machines > 1:
        for name, value in zip(names, (str(machines), machine, address, port), strict=True):
            words += [name, value]
    return tuple(words)


def launcher_of(count: int) -> tuple[str, ...]:
    """The words of a command line that start so many processes on one machine, by the launcher of these processes."""
    here = processes()
    if count == here.count or count == 1:
        return here.launcher if count > 1 else ()
    if here.launcher[:1] == ("accelerate",):
        return ("accelerate", "launch", "--multi_gpu", "--num_processes", str(count))
    return ("torchrun", "--nproc_per_node", str(count))


def _is_on_cpu(environment: Mapping[str, str]) -> bool:
    return environment.get(f"{OF_ACCELERATE}USE_CPU", "").lower() in ("1", "true", "yes")


def hide_launcher() -> None:
    """Remove the launcher's variables, once `processes` has read them.

    Transformers and accelerate would wrap the model for several processes, share out the examples in their own way and
    take settings from the launcher's configuration. Here each process trains as if it were alone, and the project adds
    up the gradients itself.
    """
    processes()
    for name in [name for name in os.environ if name in HIDDEN or name.startswith(OF_ACCELERATE)]:
        del os.environ[name]


def refuse_several() -> None:
    """Raise UserError if a launcher has started several processes for this program, which is the work of one."""
    if processes().are_several:
        raise UserError(
            f"{Path(script()[1]).name} is the work of one process, and a launcher has started {processes().count}. "
            f"Start it without the launcher: {shlex.join([*script(), *flags()])}"
        )


def have_met() -> bool:
    """True once the processes can speak to each other. Until then, each meets the same mistakes of the user."""
    return _have_met


def set_have_met(value: bool) -> None:
    global _have_met
    _have_met = value
