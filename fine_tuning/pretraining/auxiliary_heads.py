"""Auxiliary losses on the middle layers of the embedded model: which shape a token is about, and where to attend.

A request names each shape once or several times. The label and the look of the k-th line depend on the k-th name in the
request, and its targets are the numbers of other names. Trained on answers alone, a model of this size learns too
slowly to number the names, to find them again and to copy them. Two kinds of auxiliary losses teach it these steps one
by one: linear heads that predict what a token is about (CLASSES), and losses on the attention weights of single heads
(POINTERS). The linear heads are discarded after pre-training; the model that is kept is an ordinary Llama.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import LlamaForCausalLM
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from create_dataset.graphs import MAX_SHAPES
from fine_tuning.pretraining.batches import EDGES, IGNORE, Batch
from fine_tuning.pretraining.rows import KINDS
from fine_tuning.pretraining.stages import Stage

TARGET_MULTIPLE = 512  # targets are padded to a multiple of this: each new size costs time and memory
QUERY_MULTIPLE = 16  # the same for the tokens of a row that attend
# Linear heads: the field of Batch that each one predicts, and its number of classes.
CLASSES = {"firsts": MAX_SHAPES, "shapes": MAX_SHAPES, "edges": EDGES, "kinds": len(KINDS), "starts": MAX_SHAPES}
# Attention losses: the fields of Batch with the keys of the tokens that attend and of the tokens they should attend to.
POINTERS = {
    "again": ("phrases", "phrases"),  # from words to where they occurred before
    "copies": ("copies", "copied"),  # from a label that is being written to the same words in the request
    "linked": ("connects", "connected"),  # from the number of a target to where the prompt states the connection
    "grouped": ("grouped", "groups"),  # from a line of the answer to the name of its shape or group
}


class AuxiliaryHeads(nn.Module):
    """Linear heads, one for each of `names` in CLASSES: each predicts a token's target from its hidden state."""

    def __init__(self, width: int, names: Iterable[str]) -> None:
        super().__init__()
        classes = {name: count for name, count in CLASSES.items() if name in names}
        self.heads = nn.ModuleDict(
            {name: nn.Sequential(nn.RMSNorm(width), nn.Linear(width, count)) for name, count in classes.items()}
        )


def losses_of(stage: Stage, model: LlamaForCausalLM, auxiliary: AuxiliaryHeads, batch: Batch) -> dict[str, Tensor]:
    """Return the mean cross entropy of the answers' tokens as `answer`, and the stage's auxiliary losses by name."""
    device = model.device
    states = model.model(batch.ids.to(device), output_hidden_states=True).hidden_states
    losses = {"answer": _cross_entropy(model.lm_head, states[-1][:, :-1], batch.labels[:, 1:].to(device))}
    for name, layers in stage.heads.items():
        # `lines` and `shapes` share a head: attention in later layers can then match a line with a mention.
        linear = auxiliary.heads["shapes" if name == "lines" else name]
        losses[name] = _cross_entropy(linear, states[layers], getattr(batch, name).to(device))
    for name, (layer, head) in stage.pointers.items():
        wanted, offered = (getattr(batch, keys).to(device) for keys in POINTERS[name])
        losses[name] = _attention_loss(model, layer, head, states[layer], wanted, offered)
    return losses


def _attention_loss(
    model: LlamaForCausalLM, layer: int, head: int, states: Tensor, wanted: Tensor, offered: Tensor
) -> Tensor:
    """Return the mean of -log of the attention that a layer's head gives to the right tokens.

    `states` [B, T, H] are the layer's input. For a token with a key in `wanted` [B, T], the right tokens are the
    earlier ones with the same key in `offered` [B, T], or the first token of the row if there are none.
    """
    asked = wanted != IGNORE
    # The tokens that attend come first, and only these are computed: in most rows they are few.
    most = -(-int(asked.sum(1).max()) // QUERY_MULTIPLE) * QUERY_MULTIPLE
    at = asked.int().argsort(dim=1, descending=True, stable=True)[:, :most]  # [B, Q], positions
    asked, wanted = asked.gather(1, at), wanted.gather(1, at)

    block = model.model.layers[layer]
    width = block.self_attn.head_dim
    rows = slice(head * width, (head + 1) * width)
    x = block.input_layernorm(states)
    query = nn.functional.linear(x, block.self_attn.q_proj.weight[rows])
    key = nn.functional.linear(x, block.self_attn.k_proj.weight[rows])
    positions = torch.arange(x.shape[1], device=x.device)
    query, key = apply_rotary_pos_emb(query[:, None], key[:, None], *model.model.rotary_emb(x, positions[None]))
    query = query[:, 0].gather(1, at[:, :, None].expand(-1, -1, width))
    scores = (query @ key[:, 0].mT).float() / width**0.5  # [B, Q, T]
    goals = (wanted[:, :, None] == offered[:, None, :]) & (positions < at[:, :, None])
    goals[:, :, 0] |= ~goals.any(-1)
    scores = scores.masked_fill(positions > at[:, :, None], -torch.inf)
    shares = scores.logsumexp(-1) - scores.masked_fill(~goals, -torch.inf).logsumexp(-1)
    return torch.where(asked, shares, 0.0).sum() / asked.sum().clamp(min=1)


def _cross_entropy(head: nn.Module, states: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over the targets [B, T] that are not IGNORE, or 0 if all are. The head runs only on these."""
    states, targets = states.flatten(0, 1), targets.flatten()
    wanted = (targets != IGNORE).nonzero()[:, 0]
    count = len(wanted)
    wanted = nn.functional.pad(wanted, (0, -count % TARGET_MULTIPLE))
    targets = targets[wanted]
    targets[count:] = IGNORE
    return cross_entropy(head(states[wanted]).float(), targets, reduction="sum") / max(1, count)
