"""What the tuned models are compared with from outside: examples in the prompt, and Graphviz for the layout.

The base model answers with three examples in its prompt, greedily: with diagrams, and with graphs that Graphviz lays
out. The graphs of SFT's answers are laid out by Graphviz too, which shows how much of its loss is layout. Nothing is
tuned for this.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.few_shot import Turn, answers_after_examples
from benchmarks.graph_text import Kinds, read_graph, shapes_of, write_graph
from benchmarks.graphviz_layout import INSTALL, draw_all, graphviz_version, place_all_again
from fine_tuning.data.csv_rows import Row
from fine_tuning.data.prompt_frame import PromptFrame

if TYPE_CHECKING:  # imports torch
    from fine_tuning.sampling.decoder import Decoder
    from fine_tuning.sampling.validation import Scorer, Validation

GRAPH_INSTRUCTION = (
    "Answer with the graph alone, in the DOT language of Graphviz: one line per shape, numbered from 0 in the order "
    "named, then one line per shape that points to others. The kind of a shape is one of: {kinds}."
)
# The figures depend on these files, besides those that every answer depends on.
MADE_BY = (
    "benchmarks/few_shot.py", "benchmarks/graph_text.py", "benchmarks/graphviz_layout.py", "benchmarks/yardsticks.py",
)  # fmt: skip


class Answered(NamedTuple):
    """Answers as a validation, of those prompts that fit, and what the model wrote for each of them."""

    validation: "Validation"
    written: list[str]


def has_graphviz() -> bool:
    """Whether Graphviz can be used. If not, prints how to install it."""
    if graphviz_version():
        return True
    print(f"note: Graphviz is not installed, so what it would lay out is left out. {INSTALL}", file=sys.stderr)
    return False


def with_diagrams(
    decoder: "Decoder", examples: Sequence[Row], rows: Sequence[Row], seed: int, title: str, score: "Scorer"
) -> Answered:
    """The model's answers to the prompts of `rows`, with the rows `examples` in front of them."""
    turns = [Turn(row.prompt, row.answer) for row in rows]
    shown = [Turn(row.prompt, row.answer) for row in examples]
    return _scored(decoder, shown, turns, rows, seed, title, score, None)


def with_graphs(
    decoder: "Decoder",
    examples: Sequence[Row],
    rows: Sequence[Row],
    seed: int,
    title: str,
    score: "Scorer",
    frame: PromptFrame,
    kinds: Kinds,
) -> Answered:
    """The same for graphs, which Graphviz lays out. `frame` is what stands around the requests of all prompts."""
    instruction = GRAPH_INSTRUCTION.format(kinds=", ".join(kinds.looks))

    def turn(row: Row) -> Turn:
        return Turn(f"{frame.request_of(row.prompt)}\n\n{instruction}", write_graph(row.answer, kinds))

    return _scored(decoder, list(map(turn, examples)), list(map(turn, rows)), rows, seed, title, score, kinds)


def _scored(
    decoder: "Decoder",
    examples: Sequence[Turn],
    asked: Sequence[Turn],
    rows: Sequence[Row],
    seed: int,
    title: str,
    score: "Scorer",
    kinds: Kinds | None,
) -> Answered:
    """Ask, and score what was answered. With `kinds`, the answers are graphs, and Graphviz draws them first."""
    from fine_tuning.sampling.validation import Validation

    start = time.perf_counter()
    found = answers_after_examples(decoder, examples, asked, seed, title)
    seconds = time.perf_counter() - start
    pairs = [(row, answer) for row, answer in zip(rows, found, strict=True) if answer]
    written = [answer.text for _, answer in pairs]
    drawn = draw_all(shapes_of(read_graph(text), kinds) for text in written) if kinds else written
    answers = [replace(answer, text=text) for (_, answer), text in zip(pairs, drawn, strict=True)]
    scores = [score(text, row.answer) for (row, _), text in zip(pairs, drawn, strict=True)]
    return Answered(Validation([row for row, _ in pairs], answers, scores, seconds), written)


def placed_again(rows: Sequence[Row], texts: Sequence[str], ended: Sequence[bool], score: "Scorer") -> Answered:
    """A model's answers to the prompts of `rows`, as Graphviz lays out their graphs."""
    from fine_tuning.sampling.generation import Answer
    from fine_tuning.sampling.validation import Validation

    drawn = place_all_again(texts)
    answers = [Answer(text, is_ended, 0) for text, is_ended in zip(drawn, ended, strict=True)]
    scores = [score(text, row.answer) for row, text in zip(rows, drawn, strict=True)]
    return Answered(Validation(rows, answers, scores, 1.0), list(texts))
