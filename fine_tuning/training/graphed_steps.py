"""Training steps as CUDA graphs: loss and gradients of an example by one call, without Python in between.

On a fast GPU a plain step of batch size 1 waits for Python most of the time. A graph is captured for each bucket of
lengths, when the first example of it comes. It proves itself: before it is used, and again after CHECK_AFTER steps with
another example, its loss and gradients are compared with the plain step's, and both are timed. If anything is wrong the
training goes on plainly.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from peft import PeftModel
from torch import Tensor, nn

from fine_tuning.run.errors import explain, is_out_of_memory, reason_of
from fine_tuning.training.adapter import base_of
from fine_tuning.training.adapter_gradients import AdapterGradients
from fine_tuning.training.dropout_masks import DropoutMasks, without_lora_dropout
from fine_tuning.training.graph_capture import Capture, Work, free_memory
from fine_tuning.training.graph_check import EXACT, ROUNDED, difference, nowhere_zero
from fine_tuning.training.length_buckets import Bucket, Lengths, bucket_of
from fine_tuning.training.padded_example import PaddedExample
from fine_tuning.training.padded_loss import attending_to_padded

CHECK_AFTER = 20  # optimiser steps between the first check of a graph and the second
TIMED = 2  # steps of each way that are timed at capture; the fastest counts
CHECK_SCALE = 1024.0  # of a float16 loss in a check: the loss scale of the training may overflow

Batch = Mapping[str, Any]


class Task(Protocol):
    """What a trainer trains on, as plain and as padded examples."""

    def example_of(self, batch: Batch) -> tuple[Sequence[int], Lengths]:
        """The token ids of a batch of one, which is on the CPU: prompt, chosen and rejected answer."""

    def fill(self, example: PaddedExample, ids: Sequence[int], lengths: Lengths) -> None:
        """Put an example into the buffers."""

    def plain_loss(self, batch: Batch) -> Tensor:
        """The loss of a batch. Keeps no figures."""

    def padded_loss(self, example: PaddedExample) -> tuple[Tensor, Tensor]:
        """The loss of a padded example, and its other figures in one tensor without a gradient."""

    def keep_figures(self, figures: Tensor) -> None:
        """Keep the figures of a step for the log."""

    def autocast(self) -> contextlib.AbstractContextManager[Any]: ...


@dataclass(slots=True)
class _Graph:
    example: PaddedExample
    replay: Work
    seconds: float  # of a replay
    plain_seconds: float
    captured_at: int  # optimiser step
    ids: list[int]  # of the example it was checked with
    is_checked_again: bool = False

    def needs_check(self, ids: Sequence[int], number: int) -> bool:
        """True once, with another example and CHECK_AFTER optimiser steps later."""
        return not self.is_checked_again and number >= self.captured_at + CHECK_AFTER and list(ids) != self.ids


@dataclass(slots=True)
class GraphedSteps:
    """Runs the steps of `model` whose examples' buckets have graphs. `tokens` is the size of the largest bucket.

    `scale` returns the factor of the loss, a tensor that changes only in float16. `say` prints a line.
    """

    task: Task
    model: PeftModel
    capture: Capture
    tokens: int
    is_half: bool
    scale: Callable[[], Tensor] | None
    say: Callable[[str], Any]
    buckets: int = 0  # of all examples
    reason: str = ""  # why the training goes on plainly; empty while it does not
    steps: int = 0  # by graph
    checks: int = 0
    capture_seconds: float = 0.0
    gradients: AdapterGradients = field(init=False)
    _masks: DropoutMasks = field(init=False)
    _scale: Tensor = field(init=False)
    _has_said_slower: bool = field(init=False, default=False)
    _graphs: dict[Bucket, _Graph | None] = field(init=False, default_factory=dict)  # None: plain steps are faster

    def __post_init__(self) -> None:
        weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        self.gradients = AdapterGradients(weights)
        self._masks = DropoutMasks(self.model, self.tokens)
        self._scale = torch.ones((), device=weights[0].device)

    def step(self, batch: Batch, number: int) -> Tensor | None:
        """Add the gradients of a batch to the buffer, and return the loss. None if the step must be a plain one.

        `number` is the number of optimiser steps so far.
        """
        if self.reason:
            return None
        ids, lengths = self.task.example_of(batch)
        bucket = bucket_of(lengths)
        if bucket not in self._graphs:
            self._graphs[bucket] = self._attempt(lambda: self._new_graph(bucket, batch, number))
        graph = self._graphs.get(bucket)
        if graph and graph.needs_check(ids, number):
            graph.is_checked_again = True
            self._attempt(lambda: self._check(graph, batch, times=1))
        if self.reason or graph is None:
            return None
        self.task.fill(graph.example, ids, lengths)
        self._masks.draw(bucket.tokens)
        if self.scale is not None:
            self._scale.copy_(self.scale())
        loss, figures = graph.replay()
        self.task.keep_figures(figures)
        self.steps += 1
        return loss

    def give_way(self, problem: str) -> None:
        """Stop because of a problem, and say so."""
        self.say(f"note: {problem}, so training goes on with plain steps")
        self.stop(problem)

    def stop(self, reason: str) -> None:
        """Run all further steps plainly, and free the graphs' memory."""
        self.reason = reason
        self._graphs.clear()
        self.gradients.detach()
        free_memory()

    @property
    def captured(self) -> tuple[int, float]:
        """The number of buckets that have been captured and checked, and the seconds that it took."""
        return len(self._graphs), self.capture_seconds

    @property
    def facts(self) -> dict[str, str]:
        """The way taken, for the log."""
        graphs = [graph for graph in self._graphs.values() if graph]
        facts = {
            "way": f"plain steps: {self.reason}" if self.reason else "CUDA graphs",
            "steps by graph": f"{self.steps:,}",
        }
        if graphs:
            facts |= {
                "graphs": str(len(graphs)),
                "buckets where plain steps are faster": str(len(self._graphs) - len(graphs)),
                "checks against the plain step": str(self.checks),
                "times as fast as the plain step": " to ".join(
                    f"{extreme(graph.plain_seconds / graph.seconds for graph in graphs):.2f}" for extreme in (min, max)
                ),
                "seconds for capture and checks": f"{self.capture_seconds:.1f}",
            }
        return facts

    def _attempt(self, prepare: Callable[[], _Graph | None]) -> _Graph | None:
        """The result of capturing or checking, which leave gradients, weights and random state as they were.

        If it fails, the training goes on plainly, unless the GPU is lost.
        """
        start = time.perf_counter()
        gpus = [self._scale.device] if self._scale.device.type == "cuda" else []
        saved = self.gradients.flat.clone()
        try:
            with torch.random.fork_rng(gpus), nowhere_zero(self.gradients.weights), without_lora_dropout(self.model):
                result = prepare()
        except _Different as error:
            problem = str(error)
        except Exception as error:
            if is_out_of_memory(error):
                problem = "memory is too short for CUDA graphs"
            elif explain(error) and "captur" not in str(error):
                raise
            else:
                problem = f"a step cannot be captured as a CUDA graph ({reason_of(error)})"
        else:
            self.gradients.flat.copy_(saved)
            self.capture_seconds += time.perf_counter() - start
            return result
        # Outside of the handler, whose traceback keeps tensors alive.
        self.give_way(problem)
        return None

    def _new_graph(self, bucket: Bucket, batch: Batch, number: int) -> _Graph | None:
        example = PaddedExample(bucket, self._scale.device)
        ids, lengths = self.task.example_of(batch)
        self.task.fill(example, ids, lengths)
        self._scale.fill_(CHECK_SCALE if self.scale else 1.0)
        self._masks.keep_all()
        replay = self.capture(lambda: self._padded_step(example))
        graph = _Graph(example, replay, math.inf, math.inf, number, list(ids))
        self._check(graph, batch, TIMED)
        return graph if self._is_faster(graph) else None

    def _is_faster(self, graph: _Graph) -> bool:
        if graph.seconds < graph.plain_seconds:
            return True
        if not self._has_said_slower:
            self._has_said_slower = True
            self.say(
                f"note: rows of {graph.example.bucket.tokens} tokens train with plain steps, which are faster here "
                f"({graph.plain_seconds:.3f} s a step) than CUDA graphs ({graph.seconds:.3f} s)"
            )
        return False

    def _check(self, graph: _Graph, batch: Batch, times: int) -> None:
        """Compare a graph with the plain step on a batch, and time both. Raises _Different."""
        ids, lengths = self.task.example_of(batch)
        self.task.fill(graph.example, ids, lengths)
        self._scale.fill_(CHECK_SCALE if self.scale else 1.0)
        self._masks.keep_all()
        (plain_loss, _), plain_seconds = self._timed(lambda: self._plain_step(batch), times)
        plain = [part.clone() for part in self.gradients.parts]
        (loss, _), seconds = self._timed(graph.replay, times)
        graph.plain_seconds, graph.seconds = min(graph.plain_seconds, plain_seconds), min(graph.seconds, seconds)
        limits = ROUNDED if self.is_half else EXACT
        differs = difference(loss, self.gradients.parts, plain_loss, plain, limits)
        if differs:
            raise _Different(f"in a CUDA graph {differs}")
        self.checks += 1

    def _timed(self, work: Work, times: int) -> tuple[tuple[Tensor, ...], float]:
        """The outputs of some work, whose gradients are then in the buffer, and the seconds that it takes."""
        seconds = []
        for _ in range(times):
            self.gradients.zero()
            _synchronize()
            start = time.perf_counter()
            outputs = work()
            _synchronize()
            seconds.append(time.perf_counter() - start)
        return outputs, min(seconds)

    def _plain_step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        with self.task.autocast():
            loss = self.task.plain_loss(batch)
        (loss * self._scale).backward()
        return loss.detach(), loss.detach()

    def _padded_step(self, example: PaddedExample) -> tuple[Tensor, Tensor]:
        tokens = example.bucket.tokens
        # The backward pass computes layers again, so it needs the same contexts.
        with (
            attending_to_padded(base_of(self.model)),
            self._masks.applied(tokens),
            capturable_checkpointing(self.model),
        ):
            with self.task.autocast():
                loss, figures = self.task.padded_loss(example)
            (loss * self._scale).backward()
        return loss.detach(), figures.detach()


class _Different(Exception):
    """A graph's loss or gradients are not those of the plain step."""


@contextlib.contextmanager
def capturable_checkpointing(model: nn.Module) -> Iterator[None]:
    """Inside this context, gradient checkpointing, where it is on, does not touch the random state.

    A capture does not allow that, and nothing in a layer is random here: see `DropoutMasks`.
    """
    functions = {module: vars(module)["_gradient_checkpointing_func"] for module in model.modules()
                 if "_gradient_checkpointing_func" in vars(module)}  # fmt: skip
    for module in functions:
        module._gradient_checkpointing_func = _checkpoint  # type: ignore[assignment]
    try:
        yield
    finally:
        for module, function in functions.items():
            module._gradient_checkpointing_func = function


def _checkpoint(function: Callable[..., Any], *arguments: Any) -> Any:
    return torch.utils.checkpoint.checkpoint(function, *arguments, use_reentrant=False, preserve_rng_state=False)


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
