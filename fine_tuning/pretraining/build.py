"""Build the embedded base model and its tokenizer from scratch.

    python fine_tuning/pretraining/build.py [--steps N N] [--output DIR] [--work DIR] [--bf16]

Pre-trains a small Llama in stages (stages.py) on rows that it generates (rows.py), and saves the weights in bfloat16.
You can stop it at any moment: the same command resumes from the last checkpoint in --work.
"""

import argparse
import hashlib
import math
import os
from itertools import chain, islice
from pathlib import Path
from random import Random

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from create_dataset.create_dataset import INSTRUCTION
from create_dataset.graphs import MAX_SHAPES
from fine_tuning.pretraining.auxiliary_heads import AuxiliaryHeads, losses_of
from fine_tuning.pretraining.batches import Batch, batches_of
from fine_tuning.pretraining.build_tokenizer import build_tokenizer
from fine_tuning.pretraining.rows import pretraining_row
from fine_tuning.pretraining.stages import BATCH_SIZE, GROUP, SEED, STAGES, Stage, rows_of
from fine_tuning.run.options import EMBEDDED_FOLDER

FINAL_SHARE, WARMUP = 0.02, 100
AUXILIARY_WEIGHT = 0.3  # of each auxiliary loss
TOKENIZER_ROWS = 20_000
SAVE_STEPS = 250
WORKERS = 4  # processes that generate rows while a GPU computes; without a GPU, every core is busy with training


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    defaults = [stage.steps for stage in STAGES]
    parser.add_argument(
        "--steps",
        type=int,
        nargs=len(STAGES),
        metavar="N",
        default=defaults,
        help=f"optimiser steps of each stage, {BATCH_SIZE} rows a step (default: {' '.join(map(str, defaults))})",
    )
    parser.add_argument(
        "--output", type=Path, default=EMBEDDED_FOLDER, help="folder for the model (default: the committed one)"
    )
    parser.add_argument(
        "--work",
        type=Path,
        default=Path("build/embedded_model"),
        help="folder for checkpoints (default: build/embedded_model)",
    )
    parser.add_argument("--bf16", action="store_true", help="compute in bfloat16: faster if the processor supports it")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)

    tokenizer = _tokenizer()
    folder, made_by = None, hashlib.sha256(f"{SEED} {args.bf16}".encode())
    for stage, steps in zip(STAGES, args.steps, strict=True):
        # Load the saved weights, which are rounded, even if the model is in memory: a resumed build has no others.
        before = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32) if folder else None
        # The folder's name contains a hash of all stages so far: the result depends on each of them.
        made_by.update(f"{stage} {steps}".encode())
        folder = args.work / f"{stage.name}-{made_by.hexdigest()[:12]}"
        if not folder.exists():
            torch.manual_seed(SEED)
            model = before or LlamaForCausalLM(_config(tokenizer))
            _pretrain(stage, steps, tokenizer, model, folder, args.bf16)

    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    model.save_pretrained(args.output)
    tokenizer.save_pretrained(args.output)
    print(f"{args.output}: {model.num_parameters():,} parameters")


def _tokenizer() -> PreTrainedTokenizerBase:
    rng = Random(f"{SEED} tokenizer")
    rows = (pretraining_row(rng, MAX_SHAPES, STAGES[0].mix) for _ in range(TOKENIZER_ROWS))
    return build_tokenizer((f"{row.prompt.removesuffix(INSTRUCTION)}\n{row.answer}" for row in rows), INSTRUCTION)


def _pretrain(
    stage: Stage, steps: int, tokenizer: PreTrainedTokenizerBase, model: LlamaForCausalLM, folder: Path, bf16: bool
) -> None:
    """Train the model for `steps` steps and save it to `folder`. If the stage has a checkpoint, resume from it."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device)  # type: ignore[arg-type]  # transformers' wrapper hides the signature
    auxiliary = AuxiliaryHeads(model.config.hidden_size, stage.heads).to(device)
    optimizers = _optimizers(stage, model, auxiliary)
    parts = {"model": model, "auxiliary": auxiliary} | {f"optimizer {k}": each for k, each in enumerate(optimizers)}
    checkpoint = folder.with_suffix(".pt")
    start = _load(checkpoint, parts) if checkpoint.exists() else 0

    workers = WORKERS if device == "cuda" else 0
    if workers:
        torch.multiprocessing.set_sharing_strategy("file_system")  # the default runs out of file descriptors
    groups = DataLoader(
        _Groups(stage, steps, tokenizer),
        batch_size=None,
        sampler=range(start // GROUP, math.ceil(steps / GROUP)),
        num_workers=workers,
    )
    batches = islice(chain.from_iterable(groups), start % GROUP, None)
    progress = tqdm(range(start, steps), initial=start, total=steps, desc=f"{stage.name} stage", mininterval=10)
    smoothed: dict[str, float] = {}
    for step, batch in zip(progress, batches, strict=False):
        for optimizer in optimizers:
            for settings in optimizer.param_groups:
                settings["lr"] = settings["initial_lr"] * _schedule(step, steps)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=bf16):
            losses = losses_of(stage, model, auxiliary, batch)
        weighted = [loss if name == "answer" else AUXILIARY_WEIGHT * loss for name, loss in losses.items()]
        sum(weighted, torch.zeros((), device=device)).backward()
        nn.utils.clip_grad_norm_([*model.parameters(), *auxiliary.parameters()], 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        for name, loss in zip(losses, torch.stack(list(losses.values())).tolist(), strict=True):
            smoothed[name] = 0.98 * smoothed.get(name, loss) + 0.02 * loss
        progress.set_postfix({name: f"{loss:.4f}" for name, loss in smoothed.items()}, refresh=False)
        if (step + 1) % SAVE_STEPS == 0:
            _save(checkpoint, parts, step + 1)

    unfinished = folder.with_name(f"unfinished-{folder.name}")  # a stage's own folder must never be incomplete
    model.to(torch.bfloat16).save_pretrained(unfinished)  # type: ignore[arg-type]  # as above
    os.replace(unfinished, folder)


class _Groups(Dataset):
    """The batches of each group of GROUP steps, in training order."""

    def __init__(self, stage: Stage, steps: int, tokenizer: PreTrainedTokenizerBase) -> None:
        self.stage, self.steps, self.tokenizer = stage, steps, tokenizer

    def __getitem__(self, group: int) -> list[Batch]:
        rng, rows = rows_of(self.stage, group, self.steps)
        batches = batches_of(self.tokenizer, rows, BATCH_SIZE)
        rng.shuffle(batches)
        return batches


def _config(tokenizer: PreTrainedTokenizerBase) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=8,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=tokenizer.model_max_length,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _optimizers(stage: Stage, model: LlamaForCausalLM, auxiliary: AuxiliaryHeads) -> list[torch.optim.Optimizer]:
    """Muon for the weight matrices of the layers, AdamW for everything else."""
    matrices = [p for p in model.model.layers.parameters() if p.dim() == 2]
    rest = [*model.model.embed_tokens.parameters(), *model.model.norm.parameters(), *auxiliary.parameters()]
    rest += [p for p in model.model.layers.parameters() if p.dim() != 2]
    muon = torch.optim.Muon(matrices, lr=stage.muon_lr, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    adam = torch.optim.AdamW(rest, lr=stage.adam_lr, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    for optimizer in (muon, adam):
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return [muon, adam]


def _schedule(step: int, steps: int) -> float:
    """The learning rate as a share of its peak: linear warm-up, then cosine decay."""
    if step < WARMUP:
        return (step + 1) / WARMUP
    done = (step - WARMUP) / max(1, steps - WARMUP)
    return FINAL_SHARE + (1 - FINAL_SHARE) * 0.5 * (1 + math.cos(math.pi * done))


def _save(path: Path, parts: dict[str, nn.Module | torch.optim.Optimizer], step: int) -> None:
    temporary = path.with_suffix(".tmp")
    torch.save({"step": step} | {name: part.state_dict() for name, part in parts.items()}, temporary)
    os.replace(temporary, path)


def _load(path: Path, parts: dict[str, nn.Module | torch.optim.Optimizer]) -> int:
    state = torch.load(path, map_location="cpu", weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return state["step"]


if __name__ == "__main__":
    main()
