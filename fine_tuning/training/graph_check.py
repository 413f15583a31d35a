"""Compare a captured step with the plain step: the loss and the gradient of every weight of the adapter."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

# A weight's gradient may differ by this share of its norm. Weights whose gradient is smaller than LEAST of the others'
# (the root of their mean square, separately for A and B) count as if they had that: rounding hides them.
LEAST = 0.1


@dataclass(frozen=True, slots=True)
class Limits:
    """What rounding explains: the difference of the loss, as a share of the loss + 0.1, and the differences of all
    gradients together and of each weight's gradient, as shares of their norms.
    """

    loss: float
    together: float
    each: float


EXACT = Limits(loss=1e-4, together=5e-3, each=3e-2)  # float32
# 16 bits. With 24 layers in bfloat16, padding alone made 0.00002, 0.008 and 0.02 (random weights, on a CPU). The
# limits leave room for other kernels and for a loss near zero.
ROUNDED = Limits(loss=0.01, together=0.05, each=0.25)


def difference(
    loss: Tensor, gradients: Sequence[Tensor], plain_loss: Tensor, plain: Sequence[Tensor], limits: Limits
) -> str | None:
    """What differs by more than the limits, for a message; None if nothing does. NaN differs from everything."""
    found = torch.stack(torch._foreach_norm(torch._foreach_sub(list(gradients), list(plain)))).double()
    norms = torch.stack(torch._foreach_norm(list(plain))).double()
    floors = torch.empty_like(norms)
    # LoRA's A [rank, in] and B [out, rank] take turns; their gradients differ in size.
    for part in (slice(0, None, 2), slice(1, None, 2)):
        floors[part] = LEAST * norms[part].square().mean().sqrt()
    each = float((found / norms.maximum(floors)).max())
    together = float(found.norm() / norms.norm())
    of_loss = float((loss - plain_loss).abs() / (plain_loss.abs() + 0.1))
    for name, value, limit in (
        ("the loss", of_loss, limits.loss),
        ("the gradient", together, limits.together),
        ("the gradient of a weight", each, limits.each),
    ):
        if not value <= limit:
            return f"{name} differs from the plain step's by {100 * value:.2g} %"
    return None


@contextmanager
def nowhere_zero(weights: Sequence[nn.Parameter]) -> Iterator[None]:
    """Inside this context, no weight of the adapter is all zeros, as every B is at first.

    With a B of zeros, every gradient of A would be zero, right or wrong. Draws nothing from the random state.
    """
    zeros = [weight for weight in weights if not weight.any()]
    with torch.no_grad():
        for number, weight in enumerate(zeros):
            values = torch.randn(weight.shape, generator=torch.Generator().manual_seed(number))
            weight.copy_(0.01 * values)
    try:
        yield
    finally:
        with torch.no_grad():
            for weight in zeros:
                weight.zero_()
