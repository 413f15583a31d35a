"""Place a graph on the canvas: one column per step of the flow, or, if it runs downwards, one row per step.

Every step is centred across the flow. Along it, the distances depend on about how many steps there are, so that most
of the canvas is used. To centre a diagram along the flow, a model would have to know their exact number before it
writes the first shape.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import networkx as nx

from create_dataset.house_style import Look
from diagram import CANVAS_HEIGHT, CANVAS_WIDTH, Diagram, Node, flaw_of, format
from diagram.geometry import runs_through
from diagram.readability import labels_fit


@dataclass(frozen=True, slots=True)
class Spacing:
    """Distances in pixels, all even.

    `along` lists (most steps, centre of the first step, distance from one step to the next), `across` (most shapes in a
    step, distance from one shape to the next): the first entry with enough room counts.
    """

    along: tuple[tuple[int, int, int], ...]
    across: tuple[tuple[int, int], ...]


FLOW_RIGHT = Spacing(((2, 300, 400), (3, 180, 320), (4, 140, 240), (5, 100, 200), (7, 80, 140)), ((4, 130), (5, 110)))
FLOW_DOWN = Spacing(((2, 180, 240), (3, 100, 200), (4, 76, 150), (6, 50, 100)), ((4, 220), (6, 160), (7, 136)))
NEURONS = Spacing(((3, 160, 340), (4, 140, 240), (5, 100, 200)), ((7, 80),))
LAYERS_RIGHT = Spacing(((3, 180, 320), (4, 140, 240), (6, 126, 150), (9, 100, 100), (11, 60, 88)), ((1, 0),))
LAYERS_DOWN = Spacing(((3, 120, 180), (4, 90, 140), (6, 50, 100), (9, 40, 64)), ((1, 0),))


def fits(graph: nx.DiGraph, spacing: Spacing) -> bool:
    """True if the spacing has room for the graph's columns and rows."""
    columns, rows = _size(graph)
    return columns <= spacing.along[-1][0] and rows <= spacing.across[-1][0]


def place(graph: nx.DiGraph, looks: Mapping[str, Look], spacing: Spacing, down: bool = False) -> Diagram:
    """Turn a graph into a diagram that runs to the right or `down`.

    Nodes must be numbered from 0. Each needs a `name`, a `kind`, which is a key of `looks`, a `column` and a `row`.
    """
    _, first, step = next(entry for entry in spacing.along if _size(graph)[0] <= entry[0])
    in_column: dict[int, int] = {}
    for number in graph:
        column = graph.nodes[number]["column"]
        in_column[column] = in_column.get(column, 0) + 1
    nodes = []
    for number in sorted(graph):
        data = graph.nodes[number]
        peers = in_column[data["column"]]
        gap = next(distance for most, distance in spacing.across if peers <= most)
        along = first + data["column"] * step
        across = (2 * data["row"] - peers + 1) * gap // 2
        x, y = (CANVAS_WIDTH // 2 + across, along) if down else (along, CANVAS_HEIGHT // 2 + across)
        look = looks[data["kind"]]
        nodes.append(
            Node(
                number,
                x,
                y,
                look.shape,
                look.width,
                look.height,
                look.line,
                look.fill,
                look.outline,
                tuple(sorted(graph.successors(number))),
                label=data["name"],
            )
        )
    return Diagram(tuple(nodes), line_count=len(nodes), well_formed_count=len(nodes))


def _size(graph: nx.DiGraph) -> tuple[int, int]:
    """The number of columns, and of rows."""
    nodes = [data for _, data in graph.nodes(data=True)]
    return 1 + max(data["column"] for data in nodes), 1 + max(data["row"] for data in nodes)


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
