"""The loss of odds-ratio preference optimisation (ORPO, arXiv 2403.07691), a chunk of tokens at a time.

The logits of a pair of 1,536 tokens are 2 x 1,536 x 32,256 numbers, held several times over by a plain loss. Here the
hidden states come first, and the output layer sees only those that predict a token of an answer, a chunk at a time;
checkpointing computes a chunk's logits again in the backward pass instead of keeping them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from fine_tuning.training.pair_batch import attend_within_pairs

CHUNK_LOGITS = 2**23  # at most so many at a time: 32 MiB in float32, 260 tokens of a vocabulary of 32,256


@dataclass(frozen=True, slots=True)
class OrpoLoss:
    """The loss and the NLL, scalars, and by pair [B] the mean log-probability of a token of the chosen and of the
    rejected answer and the log of their odds ratio."""

    loss: Tensor
    nll: Tensor
    chosen_log_probs: Tensor
    rejected_log_probs: Tensor
    log_odds_ratios: Tensor


def pair_loss(
    model: PreTrainedModel, batch: Mapping[str, Any], orpo_lambda: float, nll_over_prompt: bool = False
) -> OrpoLoss:
    """ORPO's loss (Eq. 6) of a batch from `collate_pairs`: the mean NLL of a token of the chosen answers, plus
    `orpo_lambda` times the mean over the pairs of -log sigmoid(log odds ratio).

    `nll_over_prompt` takes the NLL over the prompt's tokens as well, as TRL and the paper's code do.
    """
    attend_within_pairs(model)
    hidden = model.base_model(
        input_ids=batch["input_ids"],
        position_ids=batch["position_ids"],
        pair_lengths=batch["pair_lengths"],
        use_cache=False,
    ).last_hidden_state
    prompts, chosen, rejected = zip(*batch["pair_lengths"], strict=True)
    in_prompts = sum(prompts) - len(prompts)  # without BOS
    skipped = 0 if nll_over_prompt else in_prompts
    predictors, targets = batch["predictors"][skipped:], batch["targets"][skipped:]
    log_probs = token_log_probs(hidden.flatten(0, 1)[predictors], targets, model.get_output_embeddings())
    before, of_chosen, of_rejected = log_probs.split([in_prompts - skipped, sum(chosen), sum(rejected)])
    nll = -torch.cat([before, of_chosen]).mean()
    chosen = torch.stack([answer.mean() for answer in of_chosen.split(chosen)])
    rejected = torch.stack([answer.mean() for answer in of_rejected.split(rejected)])
    log_odds_ratios = (chosen - rejected) - (log1mexp(chosen) - log1mexp(rejected))  # Eq. 4 and 7
    loss = nll - orpo_lambda * logsigmoid(log_odds_ratios).mean()
    return OrpoLoss(loss, nll.detach(), chosen.detach(), rejected.detach(), log_odds_ratios.detach())


def token_log_probs(hidden: Tensor, targets: Tensor, output_layer: nn.Module, chunk: int | None = None) -> Tensor:
    """The log-probability [N] of each target token [N] given the hidden state [N, H] that predicts it.

    `chunk` is how many tokens' logits are held at a time, by default CHUNK_LOGITS in all. The softmax is in float32, or
    in float64 where the logits are.
    """
    chunk = chunk or max(1, CHUNK_LOGITS // output_layer.weight.shape[0])
    if len(targets) <= chunk:  # nothing is gained by computing the only chunk twice
        return _log_probs(hidden, targets, output_layer)
    return torch.cat(
        [
            checkpoint(_log_probs, states, tokens, output_layer, use_reentrant=False)
            for states, tokens in zip(hidden.split(chunk), targets.split(chunk), strict=True)
        ]
    )


def _log_probs(hidden: Tensor, targets: Tensor, output_layer: nn.Module) -> Tensor:
    logits = output_layer(hidden)
    logits = logits if logits.dtype is torch.float64 else logits.float()
    return logits.log_softmax(-1).gather(-1, targets[:, None])[:, 0]


def log1mexp(x: Tensor) -> Tensor:
    """log(1 - exp(x)) for x <= 0, accurate at both ends and finite, also in its gradient, up to x = 0.

    After Mächler (2012), "Accurately computing log(1 - exp(-|a|))".
    """
    x = x.clamp(max=-torch.finfo(x.dtype).eps)
    return torch.where(x < -0.6931471805599453, torch.log1p(-x.exp()), torch.log(-x.expm1()))
