"""Several answers to each request in one batch: the greedy one first, then samples."""

from collections.abc import Sequence

from fine_tuning.sampling.batches import Task
from fine_tuning.sampling.decoder import Decoder
from fine_tuning.sampling.generation import Answer
from fine_tuning.sampling.grammar import DiagramGrammar

TEMPERATURE = 1.0  # of the samples


def several_answers(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    samples: int,
    max_new_tokens: int,
    seed: int,
    grammar: DiagramGrammar | None = None,
) -> list[list[Answer]]:
    """For each prompt the greedy answer and `samples` samples. Prompts are lists of token ids.

    An answer depends on the prompt, the seed and its number alone, as far as the machine computes the same in batches
    of another shape. A `grammar` holds the answers to the diagram language. Raises UserError if a prompt leaves no room
    for an answer.
    """
    numbers = [None, *range(samples)]
    tasks = [Task(prompt, max_new_tokens, number) for prompt in prompts for number in numbers]
    answers = decoder.answers(tasks, TEMPERATURE, seed, grammar)
    count = len(numbers)
    return [answers[k : k + count] for k in range(0, len(answers), count)]
