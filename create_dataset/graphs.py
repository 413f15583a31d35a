"""The graphs that requests ask for: networks drawn by neuron or by layer, and flowcharts.

Every function returns a directed graph. Its nodes are numbered from 0 in the order in which a request names them. Each
node has a `kind` and a `column` (its step in the flow, counted from 0).
"""

from collections.abc import Sequence
from itertools import pairwise, product
from random import Random

import networkx as nx

SOURCES = ("data", "text", "picture", "database")
STEPS = ("function", "process", "model", "function", "process", "model", "data", "text")
RESULTS = ("chart", "text", "data", "database", "picture", "model", "chart")
MAX_COLUMNS = 8
MAX_ROWS = 4
MAX_SHAPES = 15


def neuron_network(sizes: Sequence[int]) -> nx.DiGraph:
    """A fully connected network with `sizes[k]` neurons in layer k."""
    graph: nx.DiGraph[int] = nx.DiGraph()
    layers: list[list[int]] = []
    for column, size in enumerate(sizes):
        kind = "input neuron" if column == 0 else "output neuron" if column == len(sizes) - 1 else "hidden neuron"
        first = graph.number_of_nodes()
        layers.append(list(range(first, first + size)))
        graph.add_nodes_from(layers[-1], kind=kind, column=column)
    for left, right in pairwise(layers):
        graph.add_edges_from(product(left, right))
    return graph


def layer_network(kinds: Sequence[str]) -> nx.DiGraph:
    """A chain with one node for each layer."""
    graph = nx.path_graph(len(kinds), create_using=nx.DiGraph)
    for number, kind in enumerate(kinds):
        graph.nodes[number].update(kind=kind, column=number)
    return graph


def flowchart(rng: Random, form: str) -> nx.DiGraph:
    """A random flowchart of 4 to 15 shapes; `form` is chain, branch, join, diamond or mixed."""
    counts = _column_counts(rng, form)
    graph: nx.DiGraph[int] = nx.DiGraph()
    columns: list[list[int]] = []
    for column, count in enumerate(counts):
        first = graph.number_of_nodes()
        columns.append(list(range(first, first + count)))
        graph.add_nodes_from(columns[-1], column=column)
    for column, (left, right) in enumerate(pairwise(columns)):
        if form == "mixed":
            ends = [number for number in left if graph.in_degree(number)]
            if len(left) > 1 and ends and rng.random() < 0.3:
                left = _without(left, rng.choice(ends))  # a branch ends here
            if len(right) > 1 and column + 2 < len(columns) and rng.random() < 0.3:
                right = _without(right, rng.choice(right))  # a source joins in the middle
        graph.add_edges_from(_staircase(rng, left, right))
    _choose_kinds(rng, graph)
    return graph


def _column_counts(rng: Random, form: str) -> list[int]:
    if form == "chain":
        return [1] * rng.randint(4, MAX_COLUMNS)
    if form == "mixed":
        while True:
            counts = [rng.choice((1, 1, 2, 2, 3, 3, 4)) for _ in range(rng.randint(3, 7))]
            if 6 <= sum(counts) <= MAX_SHAPES and max(counts) > 1:
                return counts
    while True:
        side, middle, end = rng.randint(1, 3), rng.randint(1, 3), rng.randint(1, 3)
        width = rng.randint(2, MAX_ROWS)
        before = [] if form == "join" else [1] * side
        after = [] if form == "branch" else [1] * end
        counts = before + [width] * middle + after
        if 4 <= sum(counts) <= MAX_SHAPES:
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


def _choose_kinds(rng: Random, graph: nx.DiGraph) -> None:
    kinds: Sequence[str]
    for number in graph:
        if graph.in_degree(number) == 0:
            kinds = SOURCES
        elif graph.out_degree(number) == 0:
            kinds = RESULTS
        else:
            kinds = STEPS
        graph.nodes[number]["kind"] = rng.choice(kinds)
