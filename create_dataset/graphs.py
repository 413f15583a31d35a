"""The graphs that requests ask for: networks drawn by neuron or by layer, and flowcharts.

Every function returns a directed graph with nodes numbered from 0. Each node has a `column` (its step in the flow,
counted from 0) and a `row` (its place among the nodes of the same column). Nodes of networks also have a `kind` and a
`name`, which is the label of the shape; `create_dataset.names` gives them to the nodes of flowcharts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from random import Random

import networkx as nx

MAX_COLUMNS = 7
MAX_ROWS = 7
MAX_SHAPES = 18
FORMS = ("chain", "branch", "join", "diamond", "fan", "mixed", "mixed", "large", "loop", "loop")
_SHORT = {"convolution layer": "conv", "pooling layer": "pool"}


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer of a network: its kind, which decides the look, and its label, such as "dense 256"."""

    kind: str
    label: str


def layer_name(kind: str) -> str:
    """The label of a layer if the request says nothing but its kind: "conv" for "convolution layer"."""
    return _SHORT.get(kind, kind.removesuffix(" layer"))


def counted_layers(hidden: int) -> list[Layer]:
    """The layers of a dense network whose request only counts the hidden ones: these are hidden 1, hidden 2 and so on.

    A single hidden layer is called hidden.
    """
    names = ["hidden"] if hidden == 1 else [f"hidden {k}" for k in range(1, hidden + 1)]
    return [Layer(kind, name) for kind, name in zip(_dense_kinds(hidden), ["input", *names, "output"], strict=True)]


def sized_layers(units: Sequence[int]) -> list[Layer]:
    """The layers of a dense network whose request gives the units of each layer, from the input to the output."""
    kinds = _dense_kinds(len(units) - 2)
    return [Layer(kind, f"{layer_name(kind)} {size}") for kind, size in zip(kinds, units, strict=True)]


def _dense_kinds(hidden: int) -> list[str]:
    return ["input layer", *["hidden layer"] * hidden, "output layer"]


def neuron_network(sizes: Sequence[int]) -> nx.DiGraph:
    """A fully connected network with `sizes[k]` neurons in layer k. Neurons are called x1, x2, h1, h2, y1 and so on."""
    graph: nx.DiGraph[int] = nx.DiGraph()
    layers: list[list[int]] = []
    named = dict.fromkeys("xhy", 0)
    for column, size in enumerate(sizes):
        letter, kind = "h", "hidden neuron"
        if column == 0:
            letter, kind = "x", "input neuron"
        elif column == len(sizes) - 1:
            letter, kind = "y", "output neuron"
        layers.append([])
        for row in range(size):
            named[letter] += 1
            layers[-1].append(len(graph))
            graph.add_node(len(graph), kind=kind, name=f"{letter}{named[letter]}", column=column, row=row)
    for left, right in pairwise(layers):
        graph.add_edges_from(product(left, right))
    return graph


def layer_network(layers: Sequence[Layer]) -> nx.DiGraph:
    """A chain with one node for each layer."""
    graph = nx.path_graph(len(layers), create_using=nx.DiGraph)
    for number, layer in enumerate(layers):
        graph.nodes[number].update(kind=layer.kind, name=layer.label, column=number, row=0)
    return graph


def flowchart(rng: Random, form: str) -> nx.DiGraph:
    """A random connected flowchart of 4 to MAX_SHAPES shapes; `form` is one of FORMS.

    A loop has one or two connections that run back. They are listed in `graph.graph["back"]`.
    """
    while True:
        graph = _forward(rng, form)
        if nx.is_weakly_connected(graph):
            break
    if form == "loop":
        _add_back_connections(rng, graph)
    return graph


def _forward(rng: Random, form: str) -> nx.DiGraph:
    """Columns of shapes, each connected to the next one."""
    graph: nx.DiGraph[int] = nx.DiGraph(back=[])
    columns: list[list[int]] = []
    for column, count in enumerate(_column_counts(rng, form)):
        first = len(graph)
        columns.append(list(range(first, first + count)))
        for row, number in enumerate(columns[-1]):
            graph.add_node(number, column=column, row=row)
    for column, (left, right) in enumerate(pairwise(columns)):
        if form in ("mixed", "large", "loop"):
            ends = [number for number in left if graph.in_degree(number)]
            if len(left) > 1 and ends and rng.random() < 0.3:
                left = _without(left, rng.choice(ends))  # a branch ends here
            if len(right) > 1 and column + 2 < len(columns) and rng.random() < 0.3:
                right = _without(right, rng.choice(right))  # a source joins in the middle
        graph.add_edges_from(_staircase(rng, left, right))
    return graph


def _column_counts(rng: Random, form: str) -> list[int]:
    while True:
        if form == "chain":
            counts = [1] * rng.randint(4, MAX_COLUMNS)
        elif form == "fan":
            width = rng.randint(4, MAX_ROWS)
            counts = [1, *[width] * rng.randint(1, 2), *[1] * rng.randint(0, 2)]
        elif form in ("mixed", "large", "loop"):
            choices = (1, 1, 1, 2, 3) if form == "loop" else (1, 1, 2, 2, 3, 3, 4, 5)
            counts = [rng.choice(choices) for _ in range(rng.randint(3, MAX_COLUMNS))]
        else:
            side, middle, end = rng.randint(1, 3), rng.randint(1, 3), rng.randint(1, 3)
            before = [] if form == "join" else [1] * side
            after = [] if form == "branch" else [1] * end
            counts = before + [rng.randint(2, 4)] * middle + after
        least = {"mixed": 6, "large": 13}.get(form, 4)
        if least <= sum(counts) <= MAX_SHAPES and len(counts) <= MAX_COLUMNS:
            return counts


def _without(numbers: list[int], left_out: int) -> list[int]:
    return [number for number in numbers if number != left_out]


def _staircase(rng: Random, left: list[int], right: list[int]) -> list[tuple[int, int]]:
    """Connect two columns: every node gets a connection, and no two connections cross."""
    if len(left) == len(right):
        return list(zip(left, right, strict=True))
    i = j = 0
    edges = [(left[0], right[0])]
    while i < len(left) - 1 or j < len(right) - 1:
        steps = [(i + 1, j)] * (i < len(left) - 1) + [(i, j + 1)] * (j < len(right) - 1)
        if i < len(left) - 1 and j < len(right) - 1:
            steps = [(i + 1, j + 1)] * 2 + steps
        i, j = rng.choice(steps)
        edges.append((left[i], right[j]))
    return edges


def _add_back_connections(rng: Random, graph: nx.DiGraph) -> None:
    column = nx.get_node_attributes(graph, "column")
    for _ in range(rng.choice((1, 1, 1, 2))):
        starts = [number for number in graph if column[number] > 0 and graph.in_degree(number)]
        start = rng.choice(starts)
        ends = [number for number in graph if 1 <= column[start] - column[number] <= 3 and graph.out_degree(number)]
        end = rng.choice(ends)  # never empty: every column but the last is connected to the next one
        if not graph.has_edge(start, end):
            graph.add_edge(start, end)
            graph.graph["back"].append((start, end))
