"""Build the embedded base model and its tokenizer from nothing.

    python fine_tuning/embedded_model/build.py [--steps 3000] [--output DIR] [--work DIR] [--bf16]

Pre-trains a small Llama on rows made up as it goes (pretraining_data.py), easy diagrams first, and writes bfloat16
weights. Stopped at any moment, the same command goes on from its last checkpoint in --work.
"""

import argparse
import math
import os
from pathlib import Path
from random import Random

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from create_dataset.create_dataset import INSTRUCTION
from fine_tuning.embedded_model.build_tokenizer import build_tokenizer
from fine_tuning.embedded_model.pretraining_batches import EDGES, IGNORE, MAX_SHAPES, Batch, batches_of
from fine_tuning.embedded_model.pretraining_data import PretrainingRow, pretraining_row

SEED = 2025
STEPS, BATCH_SIZE = 3000, 32
GROUP = 16  # batches made at a time, so that rows of like length can share one
MUON_LR, ADAM_LR, FINAL_SHARE, WARMUP = 3e-3, 2e-3, 0.02, 100
EASY_SHAPES, EASY_UNTIL = 4, 0.25  # the limit on shapes rises over the first quarter of the steps
LISTS, MORE_LISTS, LAST = 0.25, 0.6, 0.9  # share of rows answered by a list: more of them while it is easy and at last
MENTION_WEIGHT = 0.3
WANTED = 512  # targets are padded to a multiple of it, for the same reason as lengths
SHAPE_LAYER, EDGE_LAYER = 2, 3
TOKENIZER_ROWS = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--steps", type=int, default=STEPS, help=f"optimiser steps of {BATCH_SIZE} rows (default: {STEPS})"
    )
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parent, help="where the model goes (default: here)"
    )
    parser.add_argument("--work", type=Path, default=Path("build/embedded_model"), help="where checkpoints go")
    parser.add_argument("--bf16", action="store_true", help="bfloat16 arithmetic: faster where the processor has it")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"

    rng = Random(f"{SEED} tokenizer")
    rows = (pretraining_row(rng, MAX_SHAPES, LISTS) for _ in range(TOKENIZER_ROWS))
    tokenizer = build_tokenizer((f"{row.prompt.removesuffix(INSTRUCTION)}\n{row.answer}" for row in rows), INSTRUCTION)

    torch.manual_seed(SEED)
    model = LlamaForCausalLM(_config(tokenizer)).to(device)
    readers = MentionReaders(model.config.hidden_size).to(device)
    optimizers = _optimizers(model, readers)
    parts = {"model": model, "readers": readers} | {f"optimizer {k}": each for k, each in enumerate(optimizers)}
    checkpoint = args.work / f"checkpoint-{args.steps}.pt"
    start = _load(checkpoint, parts) if checkpoint.exists() else 0

    progress = tqdm(range(start, args.steps), initial=start, total=args.steps, desc="pre-training", mininterval=10)
    batches: list[Batch] = []
    smoothed: dict[str, float] = {}
    for step in progress:
        if not batches or step % GROUP == 0:
            rng, rows = rows_of(step // GROUP, args.steps)
            batches = batches_of(tokenizer, rows, BATCH_SIZE)
            rng.shuffle(batches)
        for optimizer in optimizers:
            for settings in optimizer.param_groups:
                settings["lr"] = settings["initial_lr"] * _schedule(step, args.steps)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=args.bf16):
            losses = _losses(model, readers, batches[step % GROUP], device)
        (losses["answer"] + MENTION_WEIGHT * (losses["shapes"] + losses["edges"])).backward()
        nn.utils.clip_grad_norm_([*model.parameters(), *readers.parameters()], 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        for name, loss in losses.items():
            smoothed[name] = 0.98 * smoothed.get(name, loss.item()) + 0.02 * loss.item()
        progress.set_postfix({name: f"{loss:.4f}" for name, loss in smoothed.items()}, refresh=False)
        if (step + 1) % 250 == 0:
            _save(checkpoint, parts, step + 1)

    model.to(torch.bfloat16).save_pretrained(args.output)
    tokenizer.save_pretrained(args.output)
    print(f"{args.output}: {model.num_parameters():,} parameters, losses {smoothed}")


class MentionReaders(nn.Module):
    """Read off a prompt token, in the middle of the model, which shape it mentions and what it is connected to.

    They train the layers below them to number the shapes of a request, which the answers alone teach slowly, and are
    thrown away with the checkpoints.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.shapes = nn.Sequential(nn.RMSNorm(width), nn.Linear(width, MAX_SHAPES))
        self.edges = nn.Sequential(nn.RMSNorm(width), nn.Linear(width, EDGES))


def _config(tokenizer: PreTrainedTokenizerBase) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=6,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=tokenizer.model_max_length,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _optimizers(model: LlamaForCausalLM, readers: MentionReaders) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices, AdamW for all else."""
    matrices = [p for p in model.model.layers.parameters() if p.dim() == 2]
    others = [*model.model.embed_tokens.parameters(), *model.model.norm.parameters(), *readers.parameters()]
    others += [p for p in model.model.layers.parameters() if p.dim() != 2]
    muon = torch.optim.Muon(matrices, lr=MUON_LR, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    adam = torch.optim.AdamW(others, lr=ADAM_LR, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    for optimizer in (muon, adam):
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return [muon, adam]


def rows_of(group: int, steps: int) -> tuple[Random, list[PretrainingRow]]:
    """The rows of a group of GROUP steps, made from its number alone, so that resuming needs no state.

    The generator comes back with them, for what else is drawn in the group.
    """
    rng = Random(f"{SEED} rows {group}")
    done = group * GROUP / steps
    limit = round(EASY_SHAPES + (MAX_SHAPES - EASY_SHAPES) * min(1.0, done / EASY_UNTIL))
    lists = MORE_LISTS if done < EASY_UNTIL or done >= LAST else LISTS
    return rng, [pretraining_row(rng, limit, lists) for _ in range(GROUP * BATCH_SIZE)]


def _losses(model: LlamaForCausalLM, readers: MentionReaders, batch: Batch, device: str) -> dict[str, torch.Tensor]:
    """Mean cross entropy over the answers' tokens, and over the prompts' mentions."""
    states = model.model(batch.ids.to(device), output_hidden_states=True).hidden_states
    return {
        "answer": _cross_entropy(model.lm_head, states[-1][:, :-1], batch.labels[:, 1:].to(device)),
        "shapes": _cross_entropy(readers.shapes, states[SHAPE_LAYER], batch.shapes.to(device)),
        "edges": _cross_entropy(readers.edges, states[EDGE_LAYER], batch.edges.to(device)),
    }


def _cross_entropy(head: nn.Module, states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The mean over the targets [B, T] that are not IGNORE, computed for these alone; 0 where there are none."""
    states, targets = states.flatten(0, 1), targets.flatten()
    wanted = (targets != IGNORE).nonzero()[:, 0]
    count = len(wanted)
    wanted = nn.functional.pad(wanted, (0, -count % WANTED))
    targets = targets[wanted]
    targets[count:] = IGNORE
    return cross_entropy(head(states[wanted]).float(), targets, reduction="sum") / max(1, count)


def _schedule(step: int, steps: int) -> float:
    """The learning rate's share of its peak: a short rise, a cosine down."""
    if step < WARMUP:
        return (step + 1) / WARMUP
    done = (step - WARMUP) / max(1, steps - WARMUP)
    return FINAL_SHARE + (1 - FINAL_SHARE) * 0.5 * (1 + math.cos(math.pi * done))


def _save(path: Path, parts: dict[str, nn.Module | torch.optim.Optimizer], step: int) -> None:
    temporary = path.with_suffix(".tmp")
    torch.save({"step": step} | {name: part.state_dict() for name, part in parts.items()}, temporary)
    os.replace(temporary, path)


def _load(path: Path, parts: dict[str, nn.Module | torch.optim.Optimizer]) -> int:
    state = torch.load(path, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return state["step"]


if __name__ == "__main__":
    main()
