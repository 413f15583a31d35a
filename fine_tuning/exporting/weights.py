"""Greedy answers of a model in transformers: those of base model and adapter, and those of exported weights."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from tqdm import tqdm
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from fine_tuning.data.chat_format import chat_format, padding_id, render, token_ids
from fine_tuning.data.csv_rows import Row
from fine_tuning.data.tokens import encode_completion, encode_prompt
from fine_tuning.exporting.alike import SECONDS, Comparison, Difference, Question, first_difference
from fine_tuning.run.errors import UserError, explain, reason_of
from fine_tuning.sampling.batches import token_limit
from fine_tuning.sampling.generation import Model, room_for_answers

BATCH = 4  # prompts that are answered together


def questions_about(model: Model, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row]) -> list[Question]:
    """The prompts of `rows`, without those that this model cannot answer."""
    questions = []
    for row in rows:
        try:
            ids = encode_prompt(tokenizer, row.prompt)
            longest = min(token_limit(len(encode_completion(tokenizer, row.answer))), room_for_answers(model, len(ids)))
        except UserError:  # too long, or with a special token: the steps leave such rows out
            continue
        questions.append(Question(row.prompt, render(tokenizer, row.prompt), ids, longest))
    return questions


def answered(model: Model, tokenizer: PreTrainedTokenizerBase, questions: Sequence[Question]) -> list[Question]:
    """The questions with the answers of base model and adapter, which is not merged into it. Fewer if time runs out."""
    base: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    base.activation_checkpointing_disable()
    base.config.use_cache = True
    base.generation_config = GenerationConfig()  # as the steps do: its own may penalise repetition
    model.eval()
    settings = {"do_sample": False, "eos_token_id": list(chat_format(tokenizer).stop)}
    found = []
    for batch in _in_time(questions, "base model + adapter"):
        answers = _greedy(model, tokenizer, batch, settings | {"pad_token_id": padding_id(tokenizer)})
        found += [replace(question, answer=answer) for question, answer in zip(batch, answers, strict=True)]
    return found


def compare_merged(folder: Path, questions: Sequence[Question], limit: float) -> Comparison:
    """Load the exported folder as a user does, with its own tokenizer and settings, and compare its answers.

    `limit` is the largest gap between tied tokens. Raises UserError if the folder cannot be loaded, or if rounding does
    not explain how its answers differ.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        device = {"device_map": {"": "cuda"}} if torch.cuda.is_available() else {}
        model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", **device)
    except Exception as error:
        if explain(error):  # the machine's fault
            raise
        raise UserError(f"transformers cannot load the export: {reason_of(error)}") from error
    comparison = Comparison("merged", limit)
    done = 0
    for batch in _in_time(questions, "merged"):
        for question in batch:
            if token_ids(tokenizer, render(tokenizer, question.prompt)) != question.ids:
                raise UserError(f"merged: the export makes other tokens of the prompt {question.prompt[:60]!r}")
        for answer, question in zip(_greedy(model, tokenizer, batch, {}), batch, strict=True):
            done += 1
            place = first_difference(answer, question.answer)
            differences = [] if place is None else _differences(model, tokenizer, question, done, answer, place)
            comparison.add(question.answer, differences)
    comparison.check()
    return comparison


def _in_time(questions: Sequence[Question], title: str) -> Iterator[Sequence[Question]]:
    """The questions in batches, until they are all answered or the time is over. Shows a progress bar."""
    start = time.monotonic()
    with tqdm(total=len(questions), desc=f"comparing: {title}", unit="answer", disable=None) as progress:
        for k in range(0, len(questions), BATCH):
            if k and time.monotonic() - start > SECONDS:
                return
            batch = questions[k : k + BATCH]
            yield batch
            progress.update(len(batch))


def _greedy(
    model: Model,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[Question],
    settings: dict[str, Any],
) -> list[list[int]]:
    """The tokens of each answer, with the one that ended it. Without `settings`, the model's own are used."""
    length, longest = max(len(each.ids) for each in questions), max(each.longest for each in questions)
    longest = min(longest, room_for_answers(model, length))
    padding, stop = padding_id(tokenizer), chat_format(tokenizer).stop
    ids = torch.tensor([[padding] * (length - len(each.ids)) + each.ids for each in questions])
    mask = torch.tensor([[0] * (length - len(each.ids)) + [1] * len(each.ids) for each in questions])
    with torch.inference_mode():
        output = model.generate(  # type: ignore[operator]  # PreTrainedModel's type lacks it
            input_ids=ids.to(model.device), attention_mask=mask.to(model.device), max_new_tokens=longest, **settings
        )
    answers = []
    for row in output[:, length:].tolist():
        end = next((k for k, token in enumerate(row) if token in stop), len(row))
        answers.append(row[: end + 1])
    return answers


def _differences(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    question: Question,
    number: int,
    answer: Sequence[int],
    place: int,
) -> list[Difference]:
    """Every place where the model prefers another token, given the answer of base model and adapter up to there.

    `place` is the first one in its own answer; computed at once instead of token by token, it may be a tie no longer.
    """
    ids = torch.tensor([[*question.ids, *question.answer]], device=model.device)
    with torch.inference_mode():
        logits = model(input_ids=ids, use_cache=False).logits[0, len(question.ids) - 1 : -1].float()
    chosen = dict(enumerate(logits.argmax(-1).tolist()))
    found = {k: token for k, token in chosen.items() if token != question.answer[k]}
    if place < min(len(answer), len(question.answer)):
        found.setdefault(place, answer[place])
    return [
        Difference(
            number,
            k + 1,
            str(tokenizer.decode([token])),
            str(tokenizer.decode([question.answer[k]])),
            abs(float(logits[k, token] - logits[k, question.answer[k]])),
        )
        for k, token in sorted(found.items())
    ]
