"""Place a graph on the canvas: one column for each step of the flow, left to right, everything centred."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import networkx as nx

from create_dataset.house_style import Look
from diagram import CANVAS_HEIGHT, CANVAS_WIDTH, Diagram, Node, format, score_diagram


@dataclass(frozen=True, slots=True)
class Pitch:
    """The distance between neighbouring columns and between neighbouring rows, in pixels (even numbers)."""

    column: int
    row: int


FLOWCHART = Pitch(120, 110)
NEURONS = Pitch(180, 90)
LAYERS = Pitch(70, 110)


def place(graph: nx.DiGraph, looks: Mapping[str, Look], pitch: Pitch) -> Diagram:
    """Turn a graph into a diagram.

    Nodes must be numbered from 0 and carry a `kind`, a key of `looks`, and a `column`, counted from 0; a column's nodes
    stand below one another in the order of their numbers.
    """
    columns: dict[int, list[int]] = {}
    for number, column in graph.nodes(data="column"):
        columns.setdefault(column, []).append(number)
    nodes = []
    for number in sorted(graph):
        column = graph.nodes[number]["column"]
        peers = columns[column]
        look = looks[graph.nodes[number]["kind"]]
        nodes.append(
            Node(
                number,
                CANVAS_WIDTH // 2 + (2 * column - len(columns) + 1) * pitch.column // 2,
                CANVAS_HEIGHT // 2 + (2 * peers.index(number) - len(peers) + 1) * pitch.row // 2,
                look.shape,
                look.width,
                look.height,
                look.line,
                look.fill,
                look.outline,
                tuple(sorted(graph.successors(number))),
            )
        )
    return Diagram(tuple(nodes), line_count=len(nodes), well_formed_count=len(nodes))


def is_readable(diagram: Diagram, clearance: int = 6) -> bool:
    """True when every shape, grown by `clearance` pixels on each side, still leaves nothing to object to."""
    grown = [
        replace(node, width=node.width + 2 * clearance, height=node.height + 2 * clearance) for node in diagram.nodes
    ]
    text = format(replace(diagram, nodes=tuple(grown)))
    return score_diagram(text, text).total == 1.0
