"""Place a graph on the canvas: one column per step of the flow, from left to right, each column centred vertically.

The diagrams of the CSVs start at the left margin. If they were centred horizontally, a model would have to know the
number of columns before it writes the first shape.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import networkx as nx

from create_dataset.house_style import Look
from diagram import CANVAS_HEIGHT, CANVAS_WIDTH, Diagram, Node, flaw_of, format
from diagram.geometry import runs_through
from diagram.readability import labels_fit


@dataclass(frozen=True, slots=True)
class Pitch:
    """Distances in pixels (even numbers) from one column to the next and from one row to the next.

    `left` is the x of the first column. Without it, the diagram is centred horizontally.
    """

    column: int
    row: int
    left: int | None = None


LEFT = 80  # leaves room for eight columns of a flowchart
FLOWCHART = Pitch(120, 110, LEFT)
NEURONS = Pitch(180, 90, LEFT)
LAYERS = Pitch(70, 110, LEFT)


def place(graph: nx.DiGraph, looks: Mapping[str, Look], pitch: Pitch) -> Diagram:
    """Turn a graph into a diagram.

    Nodes must be numbered from 0. Each needs a `kind`, which is a key of `looks`, and a `column`, counted from 0. In a
    column, the nodes are placed from top to bottom in the order of their numbers.
    """
    columns: dict[int, list[int]] = {}
    for number in graph:
        columns.setdefault(graph.nodes[number]["column"], []).append(number)
    first = CANVAS_WIDTH // 2 - (len(columns) - 1) * pitch.column // 2 if pitch.left is None else pitch.left
    nodes = []
    for number in sorted(graph):
        column = graph.nodes[number]["column"]
        peers = columns[column]
        look = looks[graph.nodes[number]["kind"]]
        nodes.append(
            Node(
                number,
                first + column * pitch.column,
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
    """True if shapes enlarged by `clearance` pixels on each side have no flaw, no connection touches another one, and
    every label fits its shape as it is."""
    enlarged = [
        replace(node, label=None, width=node.width + 2 * clearance, height=node.height + 2 * clearance)
        for node in diagram.nodes
    ]
    by_number = {node.number: node for node in enlarged}
    touches = any(
        runs_through(by_number[start], by_number[end], third, core=1.0)
        for start, end in diagram.edges
        for third in enlarged
        if third.number not in (start, end)
    )
    return (
        not touches and labels_fit(diagram.nodes) and flaw_of(format(replace(diagram, nodes=tuple(enlarged)))) is None
    )
