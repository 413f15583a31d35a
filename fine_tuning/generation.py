"""Generate answers in batches of like length that stop at EOS."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from fine_tuning.chat import decode_answer


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

    `temperature` 0 takes the likeliest token, else the full distribution is sampled. The same arguments give the same
    answers on the same machine.
    """
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
