"""The loss of odds-ratio preference optimisation (ORPO, arXiv 2403.07691), computed a chunk of tokens at a time.

    loss = NLL(chosen) - lambda * log sigmoid(log odds(chosen) - log odds(rejected)),  odds(y) = P(y) / (1 - P(y))

P(y) is exp of the mean log-probability of answer y's tokens.

The logits of a pair of 1,536 tokens are 2 x 1,536 x 32,256 numbers, and a plain loss holds several tensors of that
size. Here the output layer gets only the hidden states that the loss needs, one chunk at a time. Checkpointing
recomputes a chunk's logits in the backward pass instead of keeping them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from fine_tuning.training.output_layer import OutputLayer, output_layer_of
from fine_tuning.training.pair_batch import attend_within_pairs

CHUNK_LOGITS = 2**23  # logits in a chunk, at most: 32 MiB in float32, 260 tokens at a vocabulary of 32,256


@dataclass(frozen=True, slots=True)
class OrpoLoss:
    """The loss and the NLL (scalars). For each pair [B]: the mean log-probability of a token in the chosen and in the
    rejected answer, and the log-odds ratio. Only the loss has a gradient.
    """

    loss: Tensor
    nll: Tensor
    chosen_log_probs: Tensor
    rejected_log_probs: Tensor
    log_odds_ratios: Tensor


def pair_loss(
    model: PreTrainedModel, batch: Mapping[str, Any], orpo_lambda: float, nll_over_prompt: bool = False
) -> OrpoLoss:
    """The ORPO loss (Eq. 6) of a batch from `collate_pairs`: the mean NLL of a token in the chosen answers, plus
    `orpo_lambda` times the mean over the pairs of -log sigmoid(log-odds ratio).

    With `nll_over_prompt` the NLL includes the prompts' tokens, as in TRL and the paper's code.
    """
    prompt_tokens, chosen_tokens, rejected_tokens = pair_log_probs(model, batch, nll_over_prompt)
    _, chosen_lengths, rejected_lengths = zip(*batch["pair_lengths"], strict=True)
    nll = -torch.cat([prompt_tokens, chosen_tokens]).mean()
    chosen = torch.stack([answer.mean() for answer in chosen_tokens.split(chosen_lengths)])
    rejected = torch.stack([answer.mean() for answer in rejected_tokens.split(rejected_lengths)])
    return combine(nll, chosen, rejected, orpo_lambda)


def combine(nll: Tensor, chosen: Tensor, rejected: Tensor, orpo_lambda: float) -> OrpoLoss:
    """The loss from the NLL and the mean log-probabilities [B] of the chosen and of the rejected answers."""
    log_odds_ratios = (chosen - rejected) - (log1mexp(chosen) - log1mexp(rejected))  # Eq. 4 and 7
    loss = nll - orpo_lambda * logsigmoid(log_odds_ratios).mean()
    return OrpoLoss(loss, nll.detach(), chosen.detach(), rejected.detach(), log_odds_ratios.detach())


def pair_log_probs(
    model: PreTrainedModel, batch: Mapping[str, Any], over_prompt: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """The log-probabilities [N] of the tokens of all prompts, of all chosen and of all rejected answers in a batch from
    `collate_pairs`. Those of the prompts are left out unless `over_prompt`.
    """
    attend_within_pairs(model)
    hidden = model.base_model(
        input_ids=batch["input_ids"],
        position_ids=batch["position_ids"],
        pair_lengths=batch["pair_lengths"],
        use_cache=False,
    ).last_hidden_state
    prompt_lengths, chosen_lengths, rejected_lengths = zip(*batch["pair_lengths"], strict=True)
    in_prompts = sum(prompt_lengths) - len(prompt_lengths)  # tokens to predict: all but the first
    skipped = 0 if over_prompt else in_prompts
    predictors, targets = batch["predictors"][skipped:], batch["targets"][skipped:]
    log_probs = token_log_probs(hidden.flatten(0, 1)[predictors], targets, output_layer_of(model))
    prompts, chosen, rejected = log_probs.split([in_prompts - skipped, sum(chosen_lengths), sum(rejected_lengths)])
    return prompts, chosen, rejected


def token_log_probs(hidden: Tensor, targets: Tensor, output_layer: OutputLayer, chunk: int | None = None) -> Tensor:
    """The log-probability [N] of each target token [N], given the hidden state [N, H] that predicts it.

    `chunk` is the number of tokens in a chunk. The default is the number whose logits are at most CHUNK_LOGITS. The
    softmax is in float32, or in float64 if the logits are.
    """
    size = chunk or max(1, CHUNK_LOGITS // output_layer.vocabulary)
    if len(targets) <= size:  # checkpointing a single chunk would save nothing
        return _log_probs(hidden, targets, output_layer)
    return torch.cat(
        [
            # Without random state: nothing here is random, and a CUDA graph cannot read the state.
            checkpoint(_log_probs, states, tokens, output_layer, use_reentrant=False, preserve_rng_state=False)
            for states, tokens in zip(hidden.split(size), targets.split(size), strict=True)
        ]
    )


def _log_probs(hidden: Tensor, targets: Tensor, output_layer: OutputLayer) -> Tensor:
    return output_layer.logits(hidden).log_softmax(-1).gather(-1, targets[:, None])[:, 0]


def log1mexp(x: Tensor) -> Tensor:
    """log(1 - exp(x)) for x <= 0, accurate near 0 and far below. Value and gradient are finite even at x = 0.

    Source: Mächler (2012), "Accurately computing log(1 - exp(-|a|))".
    """
    x = x.clamp(max=-torch.finfo(x.dtype).eps)
    return torch.where(x < -0.6931471805599453, torch.log1p(-x.exp()), torch.log(-x.expm1()))
