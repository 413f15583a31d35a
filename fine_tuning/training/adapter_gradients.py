"""The gradients of an adapter in one buffer that keeps its place in memory, as captured work needs it.

What concerns all of them, such as clipping, is then one operation.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class AdapterGradients:
    """The gradients of `weights`, which have one dtype and one device. `flat` holds them all, one after another."""

    def __init__(self, weights: Sequence[nn.Parameter]) -> None:
        self.weights = list(weights)
        first = self.weights[0]
        self.flat = torch.zeros(sum(weight.numel() for weight in self.weights), dtype=first.dtype, device=first.device)
        parts = self.flat.split([weight.numel() for weight in self.weights])
        self.parts = [part.view_as(weight) for part, weight in zip(parts, self.weights, strict=True)]
        self.attach()

    def attach(self) -> None:
        """Make every weight's gradient a part of the buffer. Backward passes add to it."""
        for weight, part in zip(self.weights, self.parts, strict=True):
            weight.grad = part

    def detach(self) -> None:
        for weight in self.weights:
            weight.grad = None

    def zero(self) -> None:
        self.flat.zero_()

    def clip(self, max_norm: float) -> Tensor:
        """Scale the gradients down if their norm, over all of them, exceeds `max_norm`. Returns the norm before."""
        norm = torch.linalg.vector_norm(self.flat)
        self.flat.mul_((max_norm / (norm + 1e-6)).clamp(max=1.0))
        return norm
