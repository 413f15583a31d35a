"""Generate answers in batches of like length that stop at EOS."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from fine_tuning.data.tokens import decode_answer
from fine_tuning.run.endings import is_out_of_memory

CPU_CACHE = 4 * 2**30  # bytes of keys and values; whatever memory there is, so that batches never depend on it
SHARE_FOR_CACHE = 0.8  # of the free memory; the rest is for a step's own tensors and for gaps between the cache's


@dataclass(frozen=True, slots=True)
class Answer:
    """Generated text, whether it ended by itself (with EOS), and its length in tokens."""

    text: str
    ended: bool
    tokens: int


def generate_batch(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    temperature: float,
    seed: int,
) -> list[Answer]:
    """One answer for each prompt (token ids).

    `temperature` 0 takes the likeliest token, else the full distribution is sampled. On a CPU, the same arguments give
    the same answers on the same machine; on a GPU, a batch that its free memory cannot hold is answered in parts, which
    draw otherwise.
    """
    if len(prompts) <= rows_that_fit(model, max(map(len, prompts)) + max_new_tokens):
        try:
            return _generate(model, tokenizer, prompts, max_new_tokens, temperature, seed)
        except RuntimeError as error:
            if len(prompts) == 1 or not is_out_of_memory(error):
                raise
        torch.cuda.empty_cache()  # outside of the handler, whose traceback holds on to the failed batch
    half = len(prompts) // 2
    other_seed = seed + 1_000_003 * len(prompts)  # the same one would draw a prompt's samples alike in both parts
    return [
        *generate_batch(model, tokenizer, prompts[:half], max_new_tokens, temperature, seed),
        *generate_batch(model, tokenizer, prompts[half:], max_new_tokens, temperature, other_seed),
    ]


def rows_that_fit(model: PreTrainedModel, length: int) -> int:
    """How many rows of `length` tokens the free memory of a GPU holds keys and values for, or CPU_CACHE on a CPU; at
    least one."""
    room = CPU_CACHE
    if model.device.type == "cuda":
        free = torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        room = int(SHARE_FOR_CACHE * free)
    return max(1, room // (length * cache_bytes_per_token(model)))


def cache_bytes_per_token(model: PreTrainedModel) -> int:
    """The bytes of one token's keys and values in all layers."""
    config = model.config
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    return 2 * config.num_hidden_layers * heads * head * model.dtype.itemsize


def _generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    temperature: float,
    seed: int,
) -> list[Answer]:
    length = max(map(len, prompts))
    ids = torch.tensor([[tokenizer.pad_token_id] * (length - len(prompt)) + list(prompt) for prompt in prompts])
    mask = torch.tensor([[0] * (length - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    sampling = (
        {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
        if temperature
        else {"do_sample": False}
    )
    torch.manual_seed(seed)
    with torch.inference_mode():
        output = model.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            max_new_tokens=max_new_tokens,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            **sampling,
        )
    answers = []
    for row in output[:, length:].tolist():
        text, ended = decode_answer(tokenizer, row)
        answers.append(Answer(text, ended, row.index(tokenizer.eos_token_id) + 1 if ended else len(row)))
    return answers
