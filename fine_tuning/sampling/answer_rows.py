"""Answer the prompts of rows, batch by batch."""

from collections.abc import Iterator, Sequence

from fine_tuning.data.csv_rows import Row
from fine_tuning.data.tokens import encode_completion, encode_prompt
from fine_tuning.sampling.batches import Task, token_limit
from fine_tuning.sampling.decoder import Decoder
from fine_tuning.sampling.generation import Answer
from fine_tuning.sampling.streams import sample_numbers


def answer_rows(
    decoder: Decoder,
    rows: Sequence[Row],
    batches: Sequence[Sequence[int]],
    temperature: float,
    seed: int,
) -> Iterator[tuple[Sequence[int], list[Answer]]]:
    """Answer the prompts of `rows`. Yields each batch's indices and answers, in order.

    `batches` are lists of indices into `rows`: some or all of those from `plan_batches`. An answer does not depend on
    its batch: its length is limited by the row's own reference, and rows with the same prompt are its samples 0, 1, 2,
    ... in their order in `rows`. `temperature` 0 is greedy decoding.
    """
    numbers = sample_numbers(row.prompt for row in rows)

    def task(k: int) -> Task:
        limit = token_limit(len(encode_completion(decoder.tokenizer, rows[k].answer)))
        return Task(encode_prompt(decoder.tokenizer, rows[k].prompt), limit, numbers[k] if temperature else None)

    answered = decoder.answer_batches(([task(k) for k in batch] for batch in batches), temperature, seed)
    yield from zip(batches, answered, strict=True)
