"""Capture a function's work on the GPU as a CUDA graph, which one call replays without any Python in between.

A replay does the same to the same memory. So what changes from call to call must be in tensors that keep their place,
and a value that was a Python number at capture stays as it was.
"""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Outputs = tuple[Tensor, ...]
Work = Callable[[], Outputs]
Capture = Callable[[Work], Work]  # takes the work, returns its replay

WARM_UPS = 2  # libraries choose kernels and allocate workspaces in the first calls


class CudaCapture:
    """Captures work as CUDA graphs that share one memory pool: they are never replayed at the same time."""

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()
        # A pool ends with its last graph, and a capture into one that has ended fails.
        self._graphs: weakref.WeakSet[torch.cuda.CUDAGraph] = weakref.WeakSet()

    def __call__(self, work: Work) -> Work:
        """Run the work a few times and capture it. The replay returns copies of the outputs, which are its own."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            for _ in range(WARM_UPS):
                work()
        torch.cuda.current_stream().wait_stream(self._stream)
        torch.cuda.synchronize()
        free_memory()  # of the warm-up: the graphs' pool cannot use what the allocator keeps for others
        pool: Any = next((graph.pool() for graph in self._graphs), None)  # torch has no public name for the type
        graph = torch.cuda.CUDAGraph()
        # Only this thread is watched for calls that a capture forbids: others may do anything meanwhile.
        with torch.cuda.graph(graph, pool=pool, stream=self._stream, capture_error_mode="thread_local"):
            outputs = work()
        self._graphs.add(graph)

        def replay() -> Outputs:
            graph.replay()
            return tuple(output.clone() for output in outputs)

        return replay


def free_memory() -> None:
    """Give back memory that is no longer used, to the GPU's driver too."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
