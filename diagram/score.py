"""Score an answer against a reference.

    score = well_formed x ending x (structure + style + layout) / 3

What must hold multiplies: the share of lines that are well formed, and an ending that is not cut. What is graded is
averaged: the right nodes and connections, the house style, and a layout one can read. Every part lies in [0, 1] and is
exactly 1.0 when nothing in it is wrong, so the score is 1.0 exactly for a flawless answer. Positions are judged by the
layout alone: any clear arrangement will do.

Nodes are compared by number, since a request fixes the numbering: shapes are numbered in the order it names them.
"""

from collections.abc import Set
from dataclasses import asdict, dataclass
from typing import Any

from diagram.geometry import is_inside_canvas, overlap, runs_through
from diagram.language import Diagram, Node, parse

CUT_ENDING = 0.5  # an answer whose last line is cut is worth half of what the rest of it is worth


@dataclass(frozen=True, slots=True)
class Score:
    """The parts of a score, each in [0, 1].

    well_formed     share of lines that are a node of their own, numbered in order
    ending          1.0, or CUT_ENDING where the last line is not a whole node
    nodes           F1 of the node numbers
    connections     F1 of the connections (from, to)
    style           share of shape, size, line and both colours that equal the reference's, over all nodes of either
    inside          share of nodes that lie wholly on the canvas
    apart           share of nodes that overlap no other
    clear           share of connections that run through no third shape

    tidy            whether it is well formed and all that it draws is inside, apart and clear, whatever was asked for

    Missing nodes and connections count as neither inside, apart nor clear: leaving things out does not tidy a diagram.
    """

    well_formed: float
    ending: float
    nodes: float
    connections: float
    style: float
    inside: float
    apart: float
    clear: float
    tidy: bool

    @property
    def structure(self) -> float:
        """The mean of nodes and connections."""
        return (self.nodes + self.connections) / 2

    @property
    def layout(self) -> float:
        """The mean of inside, apart and clear."""
        return (self.inside + self.apart + self.clear) / 3

    @property
    def total(self) -> float:
        """The score in [0, 1]."""
        return self.well_formed * self.ending * (self.structure + self.style + self.layout) / 3

    def parts(self) -> dict[str, float]:
        """Every part by name, the total first."""
        parts = {"score": self.total, "structure": self.structure, "layout": self.layout} | asdict(self)
        del parts["tidy"]  # is no part of the total
        return {name.replace("_", "-"): value for name, value in parts.items()}


def score_diagram(candidate: str, reference: str) -> Score:
    """Score any text against a reference diagram.

    `total` of the result is the score in [0, 1]. Raises ValueError where the reference itself is not well
    formed or has no node; `flaw_of` says what else a reference must not have.
    """
    wanted = parse(reference)
    if wanted.problems or not wanted.nodes:
        raise ValueError(f"the reference is not a diagram: {wanted.problems[0] if wanted.problems else 'no node'}")
    found = parse(candidate)
    if not found.nodes:
        return Score(0.0, CUT_ENDING, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, tidy=False)
    wanted_numbers = {node.number for node in wanted.nodes}
    found_numbers = {node.number for node in found.nodes}
    inside, apart, clear = _layout_counts(found)
    node_count = max(len(found.nodes), len(wanted.nodes))
    edge_count = max(len(found.edges), len(wanted.edges))
    return Score(
        well_formed=found.well_formed_count / found.line_count,
        ending=1.0 if found.complete else CUT_ENDING,
        nodes=_f1(wanted_numbers, found_numbers, found_numbers),
        connections=_f1(wanted.edges, found.edges, found.claimed_edges),
        style=_style(found, wanted),
        inside=inside / node_count,
        apart=apart / node_count,
        clear=clear / edge_count if edge_count else 1.0,
        tidy=not found.problems and (inside, apart, clear) == (len(found.nodes), len(found.nodes), len(found.edges)),
    )


def flaw_of(text: str) -> str | None:
    """What keeps a text from being a reference, which scores 1.0 against itself; None where nothing does."""
    diagram = parse(text)
    if diagram.problems or not diagram.nodes:
        return str(diagram.problems[0]) if diagram.problems else "no shapes"
    flaws = ("a shape lies off the canvas", "two shapes overlap", "a connection runs through a third shape")
    wanted = len(diagram.nodes), len(diagram.nodes), len(diagram.edges)
    counts = zip(flaws, _layout_counts(diagram), wanted, strict=True)
    return next((flaw for flaw, found, all_of_them in counts if found < all_of_them), None)


def _f1(wanted: Set[Any], found: Set[Any], claimed: Set[Any]) -> float:
    """2 |wanted and found| / (|wanted| + |claimed|), where `claimed` may hold more than what was found to exist."""
    if not wanted and not claimed:
        return 1.0
    return 2 * len(wanted & found) / (len(wanted) + len(claimed))


def _style(found: Diagram, wanted: Diagram) -> float:
    looks = {node.number: _look(node) for node in wanted.nodes}
    equal = 0
    for node in found.nodes:
        if node.number in looks:
            equal += sum(a == b for a, b in zip(_look(node), looks[node.number], strict=True))
    either = len(looks.keys() | {node.number for node in found.nodes})
    return equal / (5 * either)


def _look(node: Node) -> tuple[Any, ...]:
    return node.shape, (node.width, node.height), node.line, node.fill, node.outline


def _layout_counts(diagram: Diagram) -> tuple[int, int, int]:
    """The nodes on the canvas, the nodes that overlap no other, and the connections that run through no third shape."""
    nodes = diagram.nodes
    by_number = {node.number: node for node in nodes}
    crowded = set()
    for k, node in enumerate(nodes):
        for other in nodes[:k]:
            if overlap(node, other):
                crowded |= {node.number, other.number}
    clear = 0
    for start, end in diagram.edges:
        others = (node for node in nodes if node.number not in (start, end))
        clear += not any(runs_through(by_number[start], by_number[end], node) for node in others)
    return sum(map(is_inside_canvas, nodes)), len(nodes) - len(crowded), clear
