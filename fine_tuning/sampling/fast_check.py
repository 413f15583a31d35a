"""Whether the fast way of decoding can be used with a model, and whether its answers are those of the plain way."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache, PreTrainedTokenizerBase
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from fine_tuning.data.chat_format import chat_format
from fine_tuning.sampling.batches import Task
from fine_tuning.sampling.generation import Model, generated_ids

CHECKED_PROMPTS = 4
CHECKED_TOKENS = 32  # of each answer
# Two tokens whose scores differ by less than this part of the largest score are a tie: rounding decides between them.
TIE = {True: 0.03, False: 1e-4}  # True: weights of 16 or 4 bits
LENGTH_DEPENDENT = ("dynamic", "longrope")  # ways to scale rotary positions that depend on the longest row of a batch


def obstacle_of(model: Model, length: int) -> str | None:
    """Why rows of up to `length` tokens cannot be decoded with a static cache; None if they can.

    A window over attention is none as long as it is at least as long as the rows.
    """
    config = model.config.get_text_config(decoder=True)
    for layer in DynamicCache(config=config).layers:
        if type(layer) is DynamicSlidingWindowLayer:
            if layer.sliding_window < length:
                return f"the model's attention has a window of {layer.sliding_window} tokens"
        elif type(layer) is not DynamicLayer:
            return f"the model has a cache of its own kind ({type(layer).__name__})"
    scaling = getattr(config, "rope_parameters", None) or {}
    kinds = {scaling.get("rope_type"), *(part.get("rope_type") for part in scaling.values() if isinstance(part, dict))}
    if not kinds.isdisjoint(LENGTH_DEPENDENT):
        return "the model's rotary positions depend on the length"
    return None


def difference(
    model: Model, tokenizer: PreTrainedTokenizerBase, tasks: Sequence[Task], fast: Sequence[list[int]]
) -> tuple[str | None, int]:
    """What distinguishes greedy answers of the fast way from those of the plain way, and how many differ at a tie.

    `tasks` are greedy; `fast` are the token ids of their answers. An answer is compared up to its first difference.
    The first value is None if only ties are different.
    """
    plain = generated_ids(model, tokenizer, tasks, 1.0, 0, None)
    stop, ties = chat_format(tokenizer).stop, 0
    for task, ids, expected in zip(tasks, fast, plain, strict=True):
        end = next((k + 1 for k, token in enumerate(expected) if token in stop), len(expected))
        expected = expected[:end]
        place = next((k for k, pair in enumerate(zip(ids, expected, strict=False)) if pair[0] != pair[1]), None)
        if place is None:
            if len(ids) != len(expected):
                return f"a greedy answer has {len(ids)} tokens instead of {len(expected)}", ties
        elif _is_tie(model, [*task.prompt, *expected[:place]], ids[place], expected[place]):
            ties += 1
        else:
            return f"token {place + 1} of a greedy answer is another one, and not by rounding", ties
    return None, ties


def _is_tie(model: Any, ids: list[int], one: int, other: int) -> bool:
    """Whether rounding may decide between two tokens behind `ids`."""
    with torch.inference_mode():
        scores = model(input_ids=torch.tensor([ids], device=model.device), use_cache=False, logits_to_keep=1).logits
    scores = scores[0, -1].float()
    half = model.dtype in (torch.bfloat16, torch.float16) or bool(getattr(model, "is_loaded_in_4bit", False))
    return bool((scores[one] - scores[other]).abs() <= TIE[half] * scores.abs().max())
