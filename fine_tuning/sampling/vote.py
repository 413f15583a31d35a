"""Choose among several answers to one request: those that most of them agree with, and of these the tidiest.

Needs no reference. An answer is broken if it did not end, if no shape can be read, if a line cannot be read, or if it
points to a shape that it does not draw. Broken answers have no vote, and come after all whole ones. Imports no torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from diagram import Diagram, parse
from diagram.nodes import TO_ITSELF
from diagram.readability import readability_of
from diagram.references import CROSSED, MISFITTING, OFF_CANVAS, OVERLAPPING
from diagram.same_graph import same_graph

SAMPLES = 8  # besides the greedy answer, if that has a flaw; chosen with benchmarks/vote.py
MAX_SAMPLES = 1000


class Text(Protocol):
    """An answer as generated, such as `generation.Answer`."""

    @property
    def text(self) -> str: ...
    @property
    def ended(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Candidate:
    """One answer and what speaks for and against it.

    place       its position among the answers; the greedy one has 0
    graph       the place of the first answer with the same graph; its own if it is broken
    votes       the whole answers with the same graph, itself included; 0 if it is broken
    alike       those of them that also have the same look, if the style is fixed
    broken      why it is broken; empty if it is whole
    flaws       what is less than perfect in it: its layout, and deviations from the format
    untidiness  the number of shapes, connections and lines with a flaw
    """

    text: str
    diagram: Diagram
    place: int
    graph: int
    votes: int
    alike: int
    broken: tuple[str, ...]
    flaws: tuple[str, ...]
    untidiness: int

    @property
    def remarks(self) -> tuple[str, ...]:
        """Everything that speaks against it, in words."""
        return self.broken + self.flaws


def ranked(answers: Sequence[Text], style_fixed: bool = True, order_fixed: bool = True) -> list[Candidate]:
    """All answers, the best first. The first of `answers` is the greedy one and wins every tie.

    Whole answers are ranked by how many others have the same graph, then by how many of these have the same look, then
    by their tidiness; broken ones by how much of them is broken. Looks count only if the style is fixed, and the
    numbers of the shapes only if the order is.
    """
    diagrams = [parse(answer.text) for answer in answers]
    broken = [_broken(diagram, answer.ended) for diagram, answer in zip(diagrams, answers, strict=True)]
    whole = [k for k, faults in enumerate(broken) if not faults]
    graphs = _groups(diagrams, whole, False, order_fixed)
    looks = _groups(diagrams, whole, True, order_fixed) if style_fixed else graphs
    candidates = []
    for k, answer in enumerate(answers):
        votes, alike = (0, 0) if broken[k] else (graphs.count(graphs[k]), looks.count(looks[k]))
        candidates.append(
            Candidate(answer.text, diagrams[k], k, graphs[k], votes, alike, broken[k], *_flaws(diagrams[k]))
        )
    return sorted(candidates, key=_rank)


def best_different(candidates: Sequence[Candidate], count: int) -> list[Candidate]:
    """Up to `count` candidates, in order: first one of each graph, then other drawings of these graphs.

    No text occurs twice, so there may be fewer. `candidates` are as from `ranked`.
    """
    firsts = list({candidate.graph: candidate for candidate in reversed(candidates)}.values())[::-1]
    texts: dict[str, Candidate] = {}
    for candidate in [*firsts, *candidates]:
        texts.setdefault(candidate.text, candidate)
    return list(texts.values())[:count]


def _rank(candidate: Candidate) -> tuple[int, ...]:
    if not candidate.diagram.nodes:
        return 1, candidate.place
    votes = -candidate.votes, -candidate.alike
    return 0, len(candidate.broken), *votes, candidate.untidiness, candidate.place


def _groups(diagrams: Sequence[Diagram], whole: Sequence[int], style_fixed: bool, order_fixed: bool) -> list[int]:
    """For each diagram the first one of `whole` that is the same; itself if there is none."""
    groups = list(range(len(diagrams)))
    for n, k in enumerate(whole):
        others = (j for j in whole[:n] if groups[j] == j)
        groups[k] = next((j for j in others if same_graph(diagrams[j], diagrams[k], style_fixed, order_fixed)), k)
    return groups


def _broken(diagram: Diagram, ended: bool) -> tuple[str, ...]:
    problems = diagram.problems
    faults = {
        "did not end": not ended,
        "no shapes": not diagram.nodes,
        "lines that cannot be read": any(problem.kind == "unread" for problem in problems),
        "connections to shapes that do not exist": any(
            problem.kind == "connection" and problem.message != TO_ITSELF for problem in problems
        ),
    }
    return tuple(fault for fault, is_there in faults.items() if is_there)


def _flaws(diagram: Diagram) -> tuple[tuple[str, ...], int]:
    """The kinds of flaws, and how many flaws there are. Numbers and connections of a shape to itself are no flaws."""
    readable = readability_of(diagram.nodes, [edge for edge in diagram.edges if edge[0] != edge[1]])
    counts = {
        OVERLAPPING: sum(worth < 1 for worth in readable.apart.values()),
        OFF_CANVAS: sum(worth < 1 for worth in readable.inside.values()),
        CROSSED: sum(worth < 1 for worth in readable.clear.values()),
        MISFITTING: sum(worth < 1 for worth in readable.fits.values()),
        "lines that deviate from the format": len(
            {problem.line for problem in diagram.problems if problem.kind == "blemish"}
        ),
    }
    return tuple(flaw for flaw, count in counts.items() if count), sum(counts.values())
