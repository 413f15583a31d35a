"""Ask a model with examples in its prompt: a conversation in which it has answered a few requests already."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from tqdm import tqdm

from diagram import parse
from fine_tuning.data.csv_rows import Row
from fine_tuning.run.errors import UserError

if TYPE_CHECKING:  # imports torch
    from transformers import PreTrainedTokenizerBase

    from fine_tuning.sampling.decoder import Decoder
    from fine_tuning.sampling.generation import Answer

EXAMPLES = 3
SHORT = 0.25  # of each family's rows: examples are chosen from the shortest


@dataclass(frozen=True, slots=True)
class Turn:
    """A request, the whole prompt without its chat format, and the right answer to it."""

    prompt: str
    answer: str


def choose_examples(rows: Sequence[Row], count: int = EXAMPLES) -> list[Row]:
    """Short rows of different kinds: each has a new family or, if there is none, as many new looks as possible.

    They are chosen from the shortest quarter of each family. Of several that are equally good, the shortest one.
    """
    families: dict[str, list[Row]] = {}
    for row in sorted(rows, key=_length):
        families.setdefault(row.family, []).append(row)
    short = [row for some in families.values() for row in some[: ceil(SHORT * len(some))]]
    looks = {row.number: {node.look for node in parse(row.answer).nodes} for row in short}
    chosen: list[Row] = []
    while short and len(chosen) < count:
        shown = {look for row in chosen for look in looks[row.number]}
        known = {row.family for row in chosen}
        best = max(short, key=lambda row: (row.family not in known, len(looks[row.number] - shown), -_length(row)))
        chosen.append(best)
        short.remove(best)
    return chosen


def encode_conversation(tokenizer: "PreTrainedTokenizerBase", examples: Sequence[Turn], prompt: str) -> list[int]:
    """Token ids of a prompt after the examples, each an answered request, ready for generation.

    Raises UserError if the chat template takes no conversation of several requests.
    """
    from fine_tuning.data.chat_format import dated_template, token_ids

    messages = []
    for turn in examples:
        messages += [{"role": "user", "content": turn.prompt}, {"role": "assistant", "content": turn.answer}]
    messages.append({"role": "user", "content": prompt})
    try:
        text = tokenizer.apply_chat_template(
            messages, chat_template=dated_template(tokenizer), tokenize=False, add_generation_prompt=True
        )
    except Exception as error:  # a template is a program: it can raise anything
        raise UserError(
            f"the chat template takes no examples: {type(error).__name__}: {' '.join(str(error).split())}"
        ) from error
    return token_ids(tokenizer, str(text))


def answers_after_examples(
    decoder: "Decoder", examples: Sequence[Turn], asked: Sequence[Turn], seed: int, title: str
) -> list["Answer | None"]:
    """Greedy answers to the prompts of `asked`; None where prompt and answer do not fit into the model's positions.

    The right answer limits the length of an answer, as in a validation.
    """
    from fine_tuning.data.tokens import encode_completion
    from fine_tuning.sampling.batches import Task, plan_batches, token_limit
    from fine_tuning.training.base_model import max_positions

    tokenizer, positions = decoder.tokenizer, max_positions(decoder.model.config)
    tasks: dict[int, Task] = {}
    for k, turn in enumerate(asked):
        ids = encode_conversation(tokenizer, examples, turn.prompt)
        limit = token_limit(len(encode_completion(tokenizer, turn.answer)))
        if positions is None or len(ids) + limit <= positions:
            tasks[k] = Task(ids, limit)
    keys = list(tasks)
    plan = [[keys[k] for k in batch] for batch in plan_batches([t.limit for t in tasks.values()], decoder.batch_size)]
    found: dict[int, Answer] = {}
    with tqdm(total=len(keys), desc=title, unit="answer") as progress:
        batches = decoder.answer_batches(([tasks[k] for k in batch] for batch in plan), 0, seed)
        for batch, answers in zip(plan, batches, strict=True):
            found.update(zip(batch, answers, strict=True))
            progress.update(len(batch))
    return [found.get(k) for k in range(len(asked))]


def _length(row: Row) -> int:
    return len(row.prompt) + len(row.answer)
