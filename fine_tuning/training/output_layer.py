"""From hidden states to logits, as the model's family does it.

Llama's logits are what the output layer returns. Granite and Cohere multiply them by a constant, Gemma 2 squashes them
into an interval. A loss that calls the output layer itself must do the same.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class OutputLayer:
    """The logits are cap * tanh(scale * layer(hidden) / cap); without a cap, scale * layer(hidden)."""

    layer: nn.Linear
    scale: float = 1.0
    cap: float | None = None

    @property
    def vocabulary(self) -> int:
        """The number of logits per token."""
        return self.layer.weight.shape[0]

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits [N, V] of hidden states [N, H], in float32, or in float64 if the hidden states are."""
        logits = self.layer(hidden)
        logits = logits if logits.dtype is torch.float64 else logits.float()
        if self.scale != 1.0:
            logits = logits * self.scale
        return logits if self.cap is None else self.cap * torch.tanh(logits / self.cap)


def output_layer_of(model: PreTrainedModel) -> OutputLayer:
    """The output layer of a causal language model, with the scale and the cap that its configuration names."""
    config = model.config
    scale = getattr(config, "logit_scale", None)  # Cohere
    if scale is None and (divisor := getattr(config, "logits_scaling", None)) is not None:  # Granite
        scale = 1 / divisor
    cap = getattr(config, "final_logit_softcapping", None)  # Gemma 2
    return OutputLayer(model.get_output_embeddings(), 1.0 if scale is None else scale, cap)
