"""Steps that are recorded once and replayed: on a GPU, Python takes most of the time of a step that it launches itself.

A recorded step is compared with the step that Python runs before it is used: twice, because a value that was recorded
as a constant shows only at the second step.
"""

from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from fine_tuning.sampling.rows import Rows

Step = Callable[[], None]
# Of scores, as a part of the largest one: kernels may add in another order. True: weights of 16 or 4 bits.
LARGEST_DIFFERENCE = {True: 0.01, False: 1e-4}
OTHER_TOKENS = 0.125  # of the rows; where two tokens are nearly equal, such a difference decides


class Recorder(Protocol):
    """Records what a step computes, on tensors that keep their addresses."""

    def run(self, step: Step) -> None:
        """Run a step as it will be recorded."""

    def record(self, step: Step) -> Step:
        """A function that repeats the step. The state of the rows may change."""


class NotAlikeError(Exception):
    """A recorded step computes something else than the step itself."""


class CudaGraphs:
    """Records CUDA graphs. They share one memory pool, because they never run at the same time."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream()

    def run(self, step: Step) -> None:
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            step()
        torch.cuda.current_stream().wait_stream(self._stream)

    def record(self, step: Step) -> Step:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            step()
        replay: Step = graph.replay
        return replay


class Steps:
    """The steps of some rows, recorded for each number of rows and length at their first use.

    recorder  None: Python runs every step
    """

    def __init__(self, rows: Rows, recorder: Recorder | None) -> None:
        self._rows, self.recorder = rows, recorder
        self._recorded: dict[tuple[int, int], Step] = {}
        rows.keeps_scores = recorder is not None

    @torch.inference_mode()
    def run(self, count: int, length: int, times: int) -> None:
        """Add `times` tokens to each of the first `count` rows; see `Rows.step`.

        Raises NotAlikeError, or what recording raises. The rows are then as they were before.
        """
        step: Step
        if self.recorder is None:
            step = partial(self._rows.step, count, length, self._rows.are_sampled)
        elif (count, length) in self._recorded:
            step = self._recorded[count, length]
        else:
            step = self._recorded[count, length] = self._record(self.recorder, count, length)
        for _ in range(times):
            step()
        self._rows.advance(times)

    def _record(self, recorder: Recorder, count: int, length: int) -> Step:
        rows = self._rows
        step = partial(rows.step, count, length, True)
        before = self._state()
        states, expected = [before], []
        try:
            for _ in range(2):
                recorder.run(step)
                states.append(self._state())
                expected.append(rows.scores[:count].clone())
            self._restore(before)
            recorded = recorder.record(step)
            for state, after, scores in zip(states, states[1:], expected, strict=False):
                self._restore(state)
                recorded()
                self._compare(count, after, scores)
        finally:
            self._restore(before)
        return recorded

    def _compare(self, count: int, after: list[Tensor], scores: Tensor) -> None:
        rows = self._rows
        difference = (rows.scores[:count] - scores).abs().max() / scores.abs().max()
        if not float(difference) <= LARGEST_DIFFERENCE[rows.are_half]:  # also if it is NaN
            raise NotAlikeError(f"its scores differ by {float(difference):.1%} of the largest one")
        is_other = torch.zeros(count, dtype=torch.bool, device=scores.device)
        for now, then in zip(rows.state_tensors(), after, strict=True):
            is_other |= (now[:count] != then[:count]).reshape(count, -1).any(-1)
        others = int(is_other.sum())
        if others > 1 + OTHER_TOKENS * count:
            raise NotAlikeError(f"it draws other tokens in {others} of {count} rows")

    def _state(self) -> list[Tensor]:
        return [state.clone() for state in self._rows.state_tensors()]

    def _restore(self, saved: list[Tensor]) -> None:
        for state, then in zip(self._rows.state_tensors(), saved, strict=True):
            state.copy_(then)
