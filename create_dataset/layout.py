"""Place a graph on the canvas: one column for each step of the flow, left to right, every column centred.

A diagram begins at the left margin, however many columns it has. A model writes it from left to right, and would have
to know the length of the whole flow to centre its first shape.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import networkx as nx

from create_dataset.house_style import Look
from diagram import CANVAS_HEIGHT, CANVAS_WIDTH, Diagram, Node, flaw_of, format
from diagram.geometry import runs_through


@dataclass(frozen=True, slots=True)
class Pitch:
    """Where columns and rows stand, in pixels: how far apart (even numbers), and with `left` the first column.

    Without `left` all columns together are centred on the canvas.
    """

    column: int
    row: int
    left: int | None = None


LEFT = 80  # from here eight columns of a flowchart fit on the canvas
FLOWCHART = Pitch(120, 110, LEFT)
NEURONS = Pitch(180, 90, LEFT)
LAYERS = Pitch(70, 110, LEFT)


def place(graph: nx.DiGraph, looks: Mapping[str, Look], pitch: Pitch) -> Diagram:
    """Turn a graph into a diagram.

    Nodes must be numbered from 0 and carry a `kind`, a key of `looks`, and a `column`, counted from 0; a column's nodes
    stand below one another in the order of their numbers.
    """
    columns: dict[int, list[int]] = {}
    for number, column in graph.nodes(data="column"):
        columns.setdefault(column, []).append(number)
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
    """True when shapes grown by `clearance` pixels on each side have no flaw, and no connection grazes one."""
    grown = [
        replace(node, width=node.width + 2 * clearance, height=node.height + 2 * clearance) for node in diagram.nodes
    ]
    by_number = {node.number: node for node in grown}
    is_grazed = any(
        runs_through(by_number[start], by_number[end], third, core=1.0)
        for start, end in diagram.edges
        for third in grown
        if third.number not in (start, end)
    )
    return not is_grazed and flaw_of(format(replace(diagram, nodes=tuple(grown)))) is None
