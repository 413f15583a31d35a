"""Words that the requests share. Numbers are written as digits or as words.

Requests for networks alone use ASK and `join_sentences`.
"""

from collections.abc import Sequence
from random import Random

NUMBER_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen".split()  # noqa: SIM905
)

ASK = (
    "Draw {}.",
    "Please draw {}.",
    "I need a picture of {}.",
    "Show me {}.",
    "Can you draw {}?",
    "Make a diagram of {}.",
    "Sketch {}.",
    "A diagram of {}, please.",
    "For my slides: {}.",
    "I would like to see {}.",
)


def number(rng: Random, value: int) -> str:
    """A number as digits or, up to fifteen, as a word."""
    return NUMBER_WORDS[value] if value < len(NUMBER_WORDS) and rng.random() < 0.5 else str(value)


def count(rng: Random, value: int, noun: str) -> str:
    """A counted noun: "3 inputs", "one input"."""
    return f"{number(rng, value)} {noun}{'' if value == 1 else 's'}"


def enumerate_words(items: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def join_sentences(rng: Random, text: str, how: str) -> str:
    """Join the request and the sentence on how to draw it, in either order."""
    if text.endswith("\n"):
        return text + how
    return f"{text} {how}" if rng.random() < 0.7 else f"{how} {text}"
