"""A stand-in for CUDA graphs on a CPU: record the operations of some work, and replay them in the same memory.

As in a graph, every Python value is what it was when recorded, and operations read and write the tensors of the
recording. Operations whose result decides what Python does next are refused, as a capture refuses them.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
REFUSED = {aten._local_scalar_dense.default, aten.nonzero.default, aten.masked_select.default, aten.equal.default}


def record(work):
    """`Capture` for a CPU: warm up, record, and return the replay."""
    work()
    recording = Recording()
    with recording:
        outputs = work()

    def replay() -> tuple[Tensor, ...]:
        recording.replay()
        return tuple(output.clone() for output in outputs)

    return replay


class Recording(TorchDispatchMode):
    """The operations inside this context, below autograd: those of the backward pass too."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in REFUSED:
            raise RuntimeError(f"operation not permitted when stream is capturing: {func}")
        result = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, result))
        return result

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, result in self.calls:
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                is_new = isinstance(old, Tensor) and old.untyped_storage()._cdata != new.untyped_storage()._cdata
                if is_new and old.numel():
                    old.copy_(new)
