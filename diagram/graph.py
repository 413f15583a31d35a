"""The graph of a diagram, for comparing it with another one: neighbours as bit masks, and the surroundings of shapes.

A shape that the text points to but does not draw is part of the graph too.
"""

from collections.abc import Hashable, Iterator, Sequence

from diagram.nodes import Diagram

MAX_UNDRAWN = 100  # shapes that the text points to but does not draw
_MAX_STEPS = 4_000  # connections followed, in all rounds and directions together
_MAX_ROUNDS = 8


class Graph:
    """Shapes count from 0: first the drawn ones by line, then the others.

    numbers     each shape's number in the diagram
    out         a bit mask for each shape: bit b of out[a] is set if shape a points to shape b
    into        the same connections from the other end: bit a of into[b]
    """

    def __init__(self, diagram: Diagram) -> None:
        self.nodes = diagram.nodes
        edges = diagram.claimed_edges
        drawn = [node.number for node in self.nodes]
        self.numbers = drawn + sorted({target for _, target in edges}.difference(drawn))[:MAX_UNDRAWN]
        place = {number: k for k, number in enumerate(self.numbers)}
        self.out = [0] * len(self.numbers)
        self.into = [0] * len(self.numbers)
        for start, end in edges:
            if end in place:
                self.out[place[start]] |= 1 << place[end]
                self.into[place[end]] |= 1 << place[start]
        self.edge_count = sum(mask.bit_count() for mask in self.out)

    def pad(self, size: int) -> None:
        """Add empty shapes until there are `size`."""
        self.out += [0] * (size - len(self.out))
        self.into += [0] * (size - len(self.into))


def surroundings(graphs: Sequence[Graph], looks: Sequence[Sequence[int]]) -> Iterator[list[list[int]]]:
    """Colour the drawn shapes of all graphs by colour refinement (Weisfeiler and Leman, 1968); yields every round.

    A round has a list for each graph with a colour for each drawn shape. At first shapes of one look have one colour;
    then two shapes keep equal colours only as long as their neighbours' colours are equal too. The rounds run three
    times: along all connections, along outgoing ones and along incoming ones. A single fault changes the colours of
    many shapes, but seldom in both directions.
    """
    steps = max(1, max(graph.edge_count for graph in graphs))
    rounds = max(2, min(_MAX_ROUNDS, _MAX_STEPS // (8 * steps)))
    ids: dict[Hashable, int] = {}
    for directions in (("out", "into"), ("out",), ("into",)):
        colours = [
            [-1 - k for k in of] + [0] * (len(graph.out) - len(of)) for graph, of in zip(graphs, looks, strict=True)
        ]
        for _ in range(rounds):
            for k, graph in enumerate(graphs):
                old = colours[k]
                around = [
                    [tuple(sorted([old[b] for b in bits(mask)])) for mask in getattr(graph, d)] for d in directions
                ]
                colours[k] = [ids.setdefault(key, len(ids)) for key in zip(old, *around, strict=True)]
            yield [of[: len(graph.nodes)] for graph, of in zip(graphs, colours, strict=True)]


def bits(mask: int) -> Iterator[int]:
    """The positions of the set bits, lowest first."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low
