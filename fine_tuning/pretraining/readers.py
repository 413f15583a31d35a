"""What the embedded model is taught half-way up: which shape is meant where, and where to look for it.

A request names its shapes once or many times; a diagram's lines only count them. So a line's look follows from the k-th
name of the request, and answers alone teach a model of this size too slowly to number names and find them again. Heads
that read off a token what it is about, and losses on single attention heads, train the layers to do it step by step.
What is kept is an ordinary Llama: the readers are thrown away.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import LlamaForCausalLM
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from fine_tuning.pretraining.batches import EDGES, IGNORE, MAX_SHAPES, Batch
from fine_tuning.pretraining.rows import KINDS
from fine_tuning.pretraining.stages import Stage

WANTED = 512  # targets are padded to a multiple of it: matrix libraries prepare for every new size they meet
CLASSES = {"firsts": MAX_SHAPES, "shapes": MAX_SHAPES, "edges": EDGES, "kinds": len(KINDS), "starts": MAX_SHAPES}
POINTERS = {
    "again": ("phrases", "phrases"),
    "found": ("lines", "named"),
    "linked": ("connects", "connected"),
    "grouped": ("grouped", "groups"),
}
HEAD = 0  # the attention head of a layer that is told where to look


class Readers(nn.Module):
    """Linear layers that read off a token, in the middle of the model, one of its targets in a Batch: those of CLASSES
    that are wanted."""

    def __init__(self, width: int, wanted: Iterable[str]) -> None:
        super().__init__()
        classes = {name: count for name, count in CLASSES.items() if name in wanted}
        self.heads = nn.ModuleDict(
            {name: nn.Sequential(nn.RMSNorm(width), nn.Linear(width, count)) for name, count in classes.items()}
        )


def losses_of(stage: Stage, model: LlamaForCausalLM, readers: Readers, batch: Batch) -> dict[str, Tensor]:
    """Mean cross entropy over the answers' tokens (`answer`), and a mean for all that the stage teaches half-way up."""
    device = model.device
    states = model.model(batch.ids.to(device), output_hidden_states=True).hidden_states
    losses = {"answer": _cross_entropy(model.lm_head, states[-1][:, :-1], batch.labels[:, 1:].to(device))}
    for name, layers in stage.readers.items():
        # Lines by the same head as mentions: both shall look alike to attention above.
        head = readers.heads["shapes" if name == "lines" else name]
        losses[name] = _cross_entropy(head, states[layers], getattr(batch, name).to(device))
    for name, layer in stage.pointers.items():
        wanted, offered = (getattr(batch, keys).to(device) for keys in POINTERS[name])
        losses[name] = _attention_loss(model, layer, states[layer], wanted, offered)
    return losses


def _attention_loss(model: LlamaForCausalLM, layer: int, states: Tensor, wanted: Tensor, offered: Tensor) -> Tensor:
    """-log of the share of attention that HEAD of a layer, whose input is `states` [B, T, H], gives from each token to
    the earlier ones that offer [B, T] what it wants [B, T]; to the first token where none does."""
    block = model.model.layers[layer]
    width = block.self_attn.head_dim
    rows = slice(HEAD * width, (HEAD + 1) * width)
    x = block.input_layernorm(states)
    query = nn.functional.linear(x, block.self_attn.q_proj.weight[rows])
    key = nn.functional.linear(x, block.self_attn.k_proj.weight[rows])
    positions = torch.arange(x.shape[1], device=x.device)[None]
    query, key = apply_rotary_pos_emb(query[:, None], key[:, None], *model.model.rotary_emb(x, positions))
    scores = (query[:, 0] @ key[:, 0].mT).float() / width**0.5  # [B, T, T]
    earlier = torch.ones(scores.shape[1:], dtype=torch.bool, device=x.device).tril(-1)
    goals = (wanted[:, :, None] == offered[:, None, :]) & earlier
    goals[:, :, 0] |= ~goals.any(-1)
    asked = wanted != IGNORE
    scores = scores.masked_fill(~(earlier | torch.eye(len(earlier), dtype=torch.bool, device=x.device)), -torch.inf)
    shares = scores.logsumexp(-1) - scores.masked_fill(~goals, -torch.inf).logsumexp(-1)
    return torch.where(asked, shares, 0.0).sum() / asked.sum().clamp(min=1)


def _cross_entropy(head: nn.Module, states: Tensor, targets: Tensor) -> Tensor:
    """The mean over the targets [B, T] that are not IGNORE, computed for these alone; 0 where there are none."""
    states, targets = states.flatten(0, 1), targets.flatten()
    wanted = (targets != IGNORE).nonzero()[:, 0]
    count = len(wanted)
    wanted = nn.functional.pad(wanted, (0, -count % WANTED))
    targets = targets[wanted]
    targets[count:] = IGNORE
    return cross_entropy(head(states[wanted]).float(), targets, reduction="sum") / max(1, count)
