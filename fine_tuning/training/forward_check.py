"""Before step 3 trains: compare the loss's own way of computing log-probabilities with the model's own forward.

The loss lays out a pair as one sequence, has its own attention and LoRA layers, and calls the output layer itself.
A family of models that does something else in one of these places would be trained on wrong numbers without a word.
"""

import contextlib
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor

from fine_tuning.run.errors import UserError, explain, reason_of
from fine_tuning.training.adapter import base_of
from fine_tuning.training.lora_layers import lean_adapters
from fine_tuning.training.orpo_loss import CHUNK_LOGITS, pair_log_probs
from fine_tuning.training.output_layer import output_layer_of
from fine_tuning.training.pair_batch import EncodedPair, collate_pairs

NOT_AFFECTED = "The adapter of step 1 is not affected and can be used"
# The largest difference that rounding explains: an absolute part, and a part of the value.
TOLERANCE = {True: (0.03, 0.02), False: (1e-4, 1e-4)}  # True: weights of 16 or 4 bits
# How far a rejected answer may depend on the chosen one beside it, in a token's mean log-probability. Attention and
# experts computed exactly 0, MiniMax's linear attention 0.0075 in bfloat16 (tiny models on a CPU).
LARGEST_LEAK = 0.003


def check_pair_forward(model: PeftModel, pair: EncodedPair, dtype: torch.dtype, name: str) -> float:
    """The largest difference between the two ways in an answer's mean log-probability per token.

    Compares the last tokens of both answers of `pair`, which is best a long one: a window over attention shows only
    there. Also checks that the rejected answer does not depend on the chosen one. `dtype` is that of the training's
    autocast. Raises UserError, naming the model `name`, if a difference is larger than rounding explains.
    """
    base = base_of(model)
    batch, other = (_batch(made, base.device) for made in (pair, pair | {"chosen": pair["chosen"][::-1]}))
    half = dtype in (torch.bfloat16, torch.float16)
    was_training = model.training
    model.eval()
    autocast = torch.autocast(base.device.type, dtype) if half else contextlib.nullcontext()
    try:
        count = max(1, CHUNK_LOGITS // output_layer_of(base).vocabulary)  # more logits would take too much memory
        with torch.no_grad(), autocast:
            expected = [_mean_log_prob(base, pair["prompt"], pair[side], count) for side in ("chosen", "rejected")]
            with lean_adapters(model):
                _, *answers = pair_log_probs(base, batch)
                _, _, beside_other = pair_log_probs(base, other)
    except Exception as error:
        if explain(error):  # the machine's fault
            raise
        raise UserError(
            f"--model {name}: step 3 cannot train this family of models: the forward pass of its loss fails "
            f"({reason_of(error)}). {NOT_AFFECTED}"
        ) from error
    model.train(was_training)
    found = [float(tokens[-count:].double().mean()) for tokens in answers]
    absolute, relative = TOLERANCE[half or bool(getattr(base, "is_loaded_in_4bit", False))]
    differences = [abs(one - other) for one, other in zip(found, expected, strict=True)]
    # Not `difference > limit`, which is False for NaN.
    if not all(gap <= absolute + relative * abs(mean) for gap, mean in zip(differences, expected, strict=True)):
        raise UserError(
            f"--model {name}: step 3 cannot train this family of models. Its loss computes a mean log-probability of "
            f"{found[0]:.4f} for a chosen and {found[1]:.4f} for a rejected answer where the model's own forward gives "
            f"{expected[0]:.4f} and {expected[1]:.4f}. {NOT_AFFECTED}"
        )
    # Linear attention and convolutions pass on what they have read. In 16 bits that can hide in the rounding above.
    leak = float((answers[1] - beside_other).abs().double().mean())
    if not leak <= LARGEST_LEAK:
        raise UserError(
            f"--model {name}: step 3 cannot train this family of models. In a pair, its rejected answer depends on the "
            f"chosen one (by {leak:.4f} in a token's log-probability), so it has layers that are not attention. "
            f"{NOT_AFFECTED}"
        )
    return max(differences)


def _batch(pair: EncodedPair, device: torch.device) -> dict[str, Any]:
    batch = collate_pairs([pair])
    return batch | {part: value.to(device) for part, value in batch.items() if isinstance(value, Tensor)}


def _mean_log_prob(base: torch.nn.Module, prompt: list[int], answer: list[int], count: int) -> float:
    """The model's own mean log-probability of the last `count` tokens of an answer, each given all before it."""
    base.set_attn_implementation("sdpa")  # type: ignore[operator]  # the loss sets one that takes only pairs
    targets = torch.tensor(answer[-count:])
    ids = torch.tensor([[*prompt, *answer]], device=next(base.parameters()).device)
    logits = base(input_ids=ids, use_cache=False, logits_to_keep=len(targets) + 1).logits[0, -len(targets) - 1 : -1]
    logits = logits if logits.dtype is torch.float64 else logits.float()
    return float(logits.log_softmax(-1).gather(-1, targets[:, None].to(logits.device)).double().mean())
