"""Build the embedded base model and its tokenizer from nothing.

    python fine_tuning/embedded_model/build.py [--steps 4000] [--output DIR] [--work DIR]

Pre-trains a small Llama on rows made up as it goes (pretraining_data.py), easy diagrams first, and writes bfloat16
weights. Stopped at any moment, the same command goes on from its last checkpoint in --work.
"""

import argparse
import math
import os
from pathlib import Path
from random import Random

import torch
from torch.nn.functional import cross_entropy
from tqdm import tqdm
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from create_dataset.create_dataset import INSTRUCTION
from fine_tuning.chat import encode_completion, encode_prompt
from fine_tuning.embedded_model.build_tokenizer import build_tokenizer
from fine_tuning.embedded_model.pretraining_data import pretraining_row

SEED = 2025
BATCH_SIZE = 16
GROUP = 16  # batches made at a time, so that rows of like length can share one
PEAK_LR, FINAL_LR, WARMUP = 1.5e-3, 5e-5, 200
MAX_SHAPES, EASY_SHAPES, EASY_UNTIL = 16, 4, 0.3  # the limit rises over the first 30 % of the steps
TOKENIZER_ROWS = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4000, help=f"optimiser steps of {BATCH_SIZE} rows (default: 4000)")
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parent, help="where the model goes (default: here)"
    )
    parser.add_argument("--work", type=Path, default=Path("build/embedded_model"), help="where checkpoints go")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"

    rng = Random(f"{SEED} tokenizer")
    rows = (pretraining_row(rng, MAX_SHAPES) for _ in range(TOKENIZER_ROWS))
    texts = (f"{prompt.removesuffix(INSTRUCTION)}\n{answer}" for prompt, answer in rows)
    tokenizer = build_tokenizer(texts, INSTRUCTION)

    torch.manual_seed(SEED)
    model = LlamaForCausalLM(_config(tokenizer)).to(device)
    decayed = [p for p in model.parameters() if p.dim() == 2]
    others = [p for p in model.parameters() if p.dim() != 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
        betas=(0.9, 0.95),
        fused=True,
    )
    checkpoint = args.work / f"checkpoint-{args.steps}.pt"
    start = _load(checkpoint, model, optimizer) if checkpoint.exists() else 0

    progress = tqdm(range(start, args.steps), initial=start, total=args.steps, desc="pre-training", mininterval=10)
    batches: list[list[tuple[list[int], list[int]]]] = []
    smoothed = None
    for step in progress:
        if not batches or step % GROUP == 0:
            batches = _batches(tokenizer, step, args.steps)
        for group in optimizer.param_groups:
            group["lr"] = _learning_rate(step, args.steps)
        loss = _loss(model, batches[step % GROUP], tokenizer.pad_token_id, device)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        smoothed = loss.item() if smoothed is None else 0.98 * smoothed + 0.02 * loss.item()
        progress.set_postfix(loss=f"{smoothed:.4f}", refresh=False)
        if (step + 1) % 250 == 0:
            _save(checkpoint, model, optimizer, step + 1)

    model.to(torch.bfloat16).save_pretrained(args.output)
    tokenizer.save_pretrained(args.output)
    print(f"{args.output}: {model.num_parameters():,} parameters, loss {smoothed}")


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


def _batches(tokenizer: PreTrainedTokenizerBase, step: int, steps: int) -> list[list[tuple[list[int], list[int]]]]:
    """The GROUP batches that `step` belongs to, made from their number alone, so that resuming needs no state."""
    group = step // GROUP
    rng = Random(f"{SEED} rows {group}")
    ease = min(1.0, group * GROUP / (EASY_UNTIL * steps))
    limit = round(EASY_SHAPES + (MAX_SHAPES - EASY_SHAPES) * ease)
    rows = []
    for _ in range(GROUP * BATCH_SIZE):
        prompt, answer = pretraining_row(rng, limit)
        rows.append((encode_prompt(tokenizer, prompt), encode_completion(tokenizer, answer)))
    rows.sort(key=lambda row: len(row[0]) + len(row[1]))
    batches = [rows[k : k + BATCH_SIZE] for k in range(0, len(rows), BATCH_SIZE)]
    rng.shuffle(batches)
    return batches


def _loss(model: LlamaForCausalLM, batch: list[tuple[list[int], list[int]]], pad: int, device: str) -> torch.Tensor:
    """Mean cross entropy over the completions' tokens."""
    length = max(len(prompt) + len(completion) for prompt, completion in batch)
    ids = torch.full((len(batch), length), pad)
    labels = torch.full((len(batch), length), -100)
    for k, (prompt, completion) in enumerate(batch):
        end = len(prompt) + len(completion)
        ids[k, :end] = torch.tensor(prompt + completion)
        labels[k, len(prompt) : end] = torch.tensor(completion)
    # Padding stands at the right, where a causal model's real tokens never look: no mask is needed.
    hidden = model.model(ids.to(device)).last_hidden_state[:, :-1]
    labels = labels[:, 1:].to(device)
    trained = labels != -100
    return cross_entropy(model.lm_head(hidden[trained]), labels[trained])


def _learning_rate(step: int, steps: int) -> float:
    if step < WARMUP:
        return PEAK_LR * (step + 1) / WARMUP
    done = (step - WARMUP) / max(1, steps - WARMUP)
    return FINAL_LR + (PEAK_LR - FINAL_LR) * 0.5 * (1 + math.cos(math.pi * done))


def _save(path: Path, model: LlamaForCausalLM, optimizer: torch.optim.Optimizer, step: int) -> None:
    temporary = path.with_suffix(".tmp")
    torch.save({"step": step, "model": model.state_dict(), "optimizer": optimizer.state_dict()}, temporary)
    os.replace(temporary, path)


def _load(path: Path, model: LlamaForCausalLM, optimizer: torch.optim.Optimizer) -> int:
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return state["step"]


if __name__ == "__main__":
    main()
