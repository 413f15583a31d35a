"""Optimiser steps on several examples, a global batch, which one process works through or several share.

Every example is a step of its own for the model. Its gradient is added to a sum with its weight: the number of tokens
that the loss is the mean of, or 1 for a pair. Once per optimiser step the sums of all processes are added up, in one
message, and divided by the sum of the weights. So the step is the mean over all answer tokens of the global batch, or
over its pairs, whoever has computed what. No example is used twice, and none is left out: at the end of an epoch a
process may have nothing to add.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from accelerate.data_loader import SeedableRandomSampler
from torch import Tensor
from torch.utils.data import Sampler

from fine_tuning.run.processes import Processes
from fine_tuning.training.adapter_gradients import AdapterGradients
from fine_tuning.training.collectives import all_reduce_
from fine_tuning.training.step_figures import Figures

PLAIN = "processes with plain steps"


@dataclass(frozen=True, slots=True)
class Sharing:
    """Which example a process works on. Optimiser step k of an epoch takes `size` examples of the epoch's order, from
    number k * size on. Of these, a process takes number `rank` in its first micro-step, `rank` + `count` in its second.

    examples  the number of examples of an epoch
    """

    examples: int
    size: int
    here: Processes

    @property
    def optimiser_steps(self) -> int:
        """Of an epoch."""
        return -(-self.examples // self.size)

    @property
    def micro_steps(self) -> int:
        """Of an epoch, in each process."""
        whole, rest = divmod(self.examples, self.size)
        return whole * (self.size // self.here.count) + -(-rest // self.here.count)

    def in_batch(self, micro_step: int) -> int:
        """The number in the global batch of the example of a micro-step."""
        return micro_step * self.here.count + self.here.rank

    def is_there(self, optimiser_step: int, micro_step: int) -> bool:
        """False if the epoch has no example left for this micro-step of this process."""
        first = optimiser_step % self.optimiser_steps * self.size
        return first + self.in_batch(micro_step) < self.examples


class SharedOrder(Sampler[int]):
    """The examples of one process, in an order of all examples that is the same for every number of processes.

    Where the process has no example, it yields the first one: every process makes the same number of micro-steps.
    """

    def __init__(self, order: SeedableRandomSampler, sharing: Sharing) -> None:
        self._order, self._sharing = order, sharing

    def __len__(self) -> int:
        return self._sharing.micro_steps

    def __iter__(self) -> Iterator[int]:
        order, sharing = list(self._order), self._sharing
        in_step = sharing.size // sharing.here.count
        for number in range(len(self)):
            step, micro_step = divmod(number, in_step)
            there = sharing.is_there(step, micro_step)
            yield order[step * sharing.size + sharing.in_batch(micro_step) if there else 0]

    def set_epoch(self, epoch: int) -> None:
        self._order.set_epoch(epoch)


class GlobalBatch:
    """Adds up the gradients and figures of a global batch. `names` are the figures of an example beside its loss."""

    def __init__(self, gradients: AdapterGradients, names: Sequence[str]) -> None:
        self.gradients = gradients  # of the latest example, and after `reduce` of the whole batch
        self.micro_step = 0
        self.figures: Figures = {}  # of the latest optimiser step
        self._names = ("loss", *names)
        flat = gradients.flat
        self._sum = flat.new_zeros(len(flat) + len(self._names) + 2)
        self._of_gradients, self._of_figures, self._weight, self._plain = self._sum.split(
            [len(flat), len(self._names), 1, 1]
        )

    def add(self, weight: float, loss: Tensor, figures: Tensor) -> None:
        """Add an example, whose gradients are in the buffer. Clears the buffer."""
        # Multiplied first: added with `alpha`, products are rounded in another way than those of other processes.
        self._of_gradients.add_(self.gradients.flat.mul_(weight))
        self._of_figures.add_(torch.cat([loss.reshape(1), figures.reshape(-1)]).mul_(weight))
        self._weight.add_(weight)
        self.gradients.zero()

    def begin_plain_step(self) -> None:
        """Make the backward pass of an example write into the buffer, whatever a failed capture has left there."""
        self.gradients.zero()
        self.gradients.attach()

    def reduce(self, is_plain: bool) -> None:
        """Put the mean gradients of all examples of all processes into the buffer, which the weights then refer to.

        `is_plain` says that this process no longer takes CUDA graphs.
        """
        self._plain.fill_(float(is_plain))
        all_reduce_(self._sum)
        torch.div(self._of_gradients, self._weight, out=self.gradients.flat)
        self.figures = {self._names: self._of_figures / self._weight, (PLAIN,): self._plain.clone()}
        self.gradients.attach()
        self._sum.zero_()
        self.micro_step = 0


def draw_for(seed: int, optimiser_step: int, example: int) -> None:
    """Seed the random numbers (dropout) of an example, so that it does not matter which process works on it, after
    what, and in which start of the run.
    """
    digest = hashlib.blake2b(f"{seed} {optimiser_step} {example}".encode(), digest_size=8).digest()
    torch.manual_seed(int.from_bytes(digest) >> 1)


def several_examples(size: int, count: int) -> str:
    """A line that says who works on the examples of a step."""
    each = size // count
    if count == 1:
        return f"each step trains on {size} examples, one after another (a global batch of {size})"
    several = "one each" if each == 1 else f"{each} each, one after another"
    return f"each step trains on {size} examples in {count} processes, {several} (a global batch of {size})"
