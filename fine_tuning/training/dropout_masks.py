"""Dropout of LoRA layers whose masks are drawn before a step and kept in buffers.

Gradient checkpointing computes a layer twice, and both times must use one mask. The usual way, to restore the random
state before the second time, is not possible in a CUDA graph. Here both times read the same buffer. A graph replays
the reading, and new masks are drawn before every replay.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn


class DropoutMasks:
    """Masks for all LoRA layers of a model that have dropout, for examples of up to `tokens` tokens.

    Eight layers share a byte for each number that they read: bit 1 keeps the number.
    """

    def __init__(self, model: nn.Module, tokens: int) -> None:
        self._layers = lora_layers_with_dropout(model)
        self._share = max((_dropout_of(layer).p for layer in self._layers), default=0.0)
        device = next(model.parameters()).device
        self._scale = torch.ones((), device=device)
        widths = [_width_of(layer) for layer in self._layers]
        self._places = [(width, *divmod(widths[:k].count(width), 8)) for k, width in enumerate(widths)]
        self._bits = {
            width: torch.full((tokens, -(-widths.count(width) // 8), width), 255, dtype=torch.uint8, device=device)
            for width in set(widths)
        }

    def draw(self, tokens: int) -> None:
        """New masks for an example of `tokens` tokens. Advances the device's random state."""
        for bits in self._bits.values():
            part = bits[:tokens].zero_()
            one = torch.empty_like(part)
            for _ in range(8):
                part.mul_(2).add_(one.bernoulli_(1 - self._share))
        self._scale.fill_(1 / (1 - self._share))

    def keep_all(self) -> None:
        """Masks that drop nothing, until the next `draw`."""
        for bits in self._bits.values():
            bits.fill_(255)
        self._scale.fill_(1.0)

    @contextmanager
    def applied(self, tokens: int) -> Iterator[None]:
        """Inside this context, the layers use the masks, for an example of `tokens` tokens."""
        usual = [_dropout_of(layer) for layer in self._layers]
        for layer, (width, group, bit) in zip(self._layers, self._places, strict=True):
            _set_dropout(layer, MaskedDropout(self._bits[width][:tokens, group], bit, self._scale, self._share))
        try:
            yield
        finally:
            for layer, dropout in zip(self._layers, usual, strict=True):
                _set_dropout(layer, dropout)


class MaskedDropout(nn.Module):
    """Dropout of [..., T, H] by one bit of each byte of `bits` [T, H]. What is kept is multiplied by `scale`."""

    def __init__(self, bits: Tensor, bit: int, scale: Tensor, p: float) -> None:
        super().__init__()
        self.bits, self.bit, self.scale, self.p = bits, bit, scale, p

    def forward(self, x: Tensor) -> Tensor:
        return x * ((self.bits >> self.bit) & 1) * self.scale


@contextmanager
def without_lora_dropout(model: nn.Module) -> Iterator[None]:
    """Inside this context, the LoRA layers drop nothing."""
    dropouts = [_dropout_of(layer) for layer in lora_layers_with_dropout(model)]
    shares = [dropout.p for dropout in dropouts]
    for dropout in dropouts:
        dropout.p = 0.0
    try:
        yield
    finally:
        for dropout, share in zip(dropouts, shares, strict=True):
            dropout.p = share


def lora_layers_with_dropout(model: nn.Module) -> list[LoraLayer]:
    return [
        module
        for module in model.modules()
        if isinstance(module, LoraLayer) and getattr(_dropout_of(module), "p", 0.0) > 0
    ]


def has_other_dropout(model: nn.Module) -> bool:
    """True if the model has dropout outside of its LoRA layers. Attention keeps its probability as a number."""
    of_lora = {id(_dropout_of(layer)) for layer in lora_layers_with_dropout(model)}
    for module in model.modules():
        if isinstance(module, nn.Dropout) and module.p > 0 and id(module) not in of_lora:
            return True
        if any("dropout" in name and isinstance(value, float) and value > 0 for name, value in vars(module).items()):
            return True
    return False


def _adapter_of(layer: Any) -> str:  # `layer` is a LoraLayer, whose attributes PEFT does not type
    (adapter,) = layer.active_adapters
    name: str = adapter
    return name


def _width_of(layer: Any) -> int:
    width: int = layer.lora_A[_adapter_of(layer)].in_features
    return width


def _dropout_of(layer: Any) -> Any:
    """An nn.Dropout or, without dropout, an Identity."""
    return layer.lora_dropout[_adapter_of(layer)]


def _set_dropout(layer: Any, dropout: nn.Module) -> None:
    layer.lora_dropout[_adapter_of(layer)] = dropout
