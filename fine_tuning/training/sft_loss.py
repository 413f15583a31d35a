"""The loss of step 1 on a GPU: the mean NLL of the completion's tokens, computed a chunk of tokens at a time.

It equals the loss of TRL's SFTTrainer, whose kernels for a GPU are compiled by Triton and need a C compiler. Besides,
its padded form can be captured in a CUDA graph.
"""

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from fine_tuning.training.orpo_loss import CHUNK_LOGITS
from fine_tuning.training.output_layer import OutputLayer, output_layer_of


def row_loss(model: PreTrainedModel, ids: Tensor, prompt: int) -> tuple[Tensor, Tensor]:
    """The loss of a row of token ids [1, T] whose first `prompt` tokens are the prompt, and the share of the
    completion's tokens that the model holds for the most likely ones (no gradient).
    """
    hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[0, prompt - 1 : -1]
    log_probs, is_top = scored_tokens(hidden, ids[0, prompt:], output_layer_of(model))
    return -log_probs.mean(), is_top.mean()


def scored_tokens(
    hidden: Tensor, targets: Tensor, output_layer: OutputLayer, chunk: int | None = None
) -> tuple[Tensor, Tensor]:
    """The log-probability [N] of each target token [N], given the hidden state [N, H] that predicts it, and 1.0 where
    no token is more likely, else 0.0.
    """
    size = chunk or max(1, CHUNK_LOGITS // output_layer.vocabulary)
    if len(targets) <= size:
        return _scored(hidden, targets, output_layer)
    chunks = [
        checkpoint(_scored, states, tokens, output_layer, use_reentrant=False, preserve_rng_state=False)
        for states, tokens in zip(hidden.split(size), targets.split(size), strict=True)
    ]
    log_probs, is_top = zip(*chunks, strict=True)
    return torch.cat(log_probs), torch.cat(is_top)


def _scored(hidden: Tensor, targets: Tensor, output_layer: OutputLayer) -> tuple[Tensor, Tensor]:
    logits = output_layer.logits(hidden)
    is_top = (logits.detach().argmax(-1) == targets).to(logits.dtype)
    return logits.log_softmax(-1).gather(-1, targets[:, None])[:, 0], is_top
