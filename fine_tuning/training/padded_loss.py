"""The losses of steps 1 and 3 for an example in static buffers. No length of the example is a Python number here."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from transformers import PreTrainedModel

from fine_tuning.training.orpo_loss import OrpoLoss, combine, token_log_probs
from fine_tuning.training.output_layer import output_layer_of
from fine_tuning.training.padded_example import PADDED_ATTENTION, PaddedExample
from fine_tuning.training.sft_loss import scored_tokens


def padded_pair_loss(model: PreTrainedModel, example: PaddedExample, orpo_lambda: float) -> OrpoLoss:
    """`pair_loss` of a padded pair. Call it inside `attending_to_padded`."""
    log_probs = token_log_probs(_predictors(model, example), example.targets, output_layer_of(model))
    row, rejected = log_probs.split([example.bucket.row, example.bucket.rejected])
    return combine(
        -(row * example.nll_weights).sum(),
        (row * example.chosen_weights).sum()[None],
        (rejected * example.rejected_weights).sum()[None],
        orpo_lambda,
    )


def padded_row_loss(model: PreTrainedModel, example: PaddedExample) -> tuple[Tensor, Tensor]:
    """`row_loss` of a padded row. Call it inside `attending_to_padded`."""
    log_probs, is_top = scored_tokens(_predictors(model, example), example.targets, output_layer_of(model))
    return -(log_probs * example.nll_weights).sum(), (is_top * example.chosen_weights).sum()


@contextmanager
def attending_to_padded(model: PreTrainedModel) -> Iterator[None]:
    """Inside this context, the model's forward takes only padded examples."""
    usual = model.config._attn_implementation
    model.set_attn_implementation(PADDED_ATTENTION)
    try:
        yield
    finally:
        model.set_attn_implementation(usual)


def _predictors(model: PreTrainedModel, example: PaddedExample) -> Tensor:
    """The hidden states [R + J, H] that predict the targets."""
    hidden = model.base_model(
        input_ids=example.ids, position_ids=example.positions, padded=example, use_cache=False
    ).last_hidden_state[0]
    if not example.bucket.rejected:
        return hidden
    return torch.cat([hidden[: example.bucket.row], hidden.index_select(0, example.predictors)])
