"""Several answers to each request in one batch: the greedy one first, then samples."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from fine_tuning.sampling.generation import Answer, Model, generate_batch
from fine_tuning.sampling.grammar import DiagramGrammar

TEMPERATURE = 1.0  # of the samples


def several_answers(
    model: Model,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    samples: int,
    max_new_tokens: int,
    seed: int,
    grammar: DiagramGrammar | None = None,
) -> list[list[Answer]]:
    """For each prompt the greedy answer and `samples` samples. Prompts are lists of token ids.

    The same seed gives the same answers, as far as the machine computes the same in batches of another size. A batch
    that does not fit into memory is split. A `grammar` holds the answers to the diagram language. Raises UserError if a
    prompt leaves no room for an answer.
    """
    if not samples:
        answers = generate_batch(model, tokenizer, prompts, max_new_tokens, 0, seed, grammar=grammar)
        return [[answer] for answer in answers]
    count = 1 + samples
    rows = [prompt for prompt in prompts for _ in range(count)]
    streams = [None, *range(samples)] * len(prompts)
    answers = generate_batch(model, tokenizer, rows, max_new_tokens, TEMPERATURE, seed, streams, grammar)
    return [answers[k : k + count] for k in range(0, len(answers), count)]
