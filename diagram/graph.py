"""The graph of a diagram, for comparing it with another: neighbours as bit masks, and what lies around a shape.

An answer may point to a shape that it does not draw; such a shape is part of the graph too.
"""

from collections.abc import Hashable, Iterator, Sequence

from diagram.nodes import Diagram

MAX_UNDRAWN = 100  # numbers that are pointed to and not drawn
_MAX_STEPS = 4_000  # connections that are followed, over all rounds and directions
_MAX_ROUNDS = 8


class Graph:
    """Shapes counted from 0 by line, the undrawn at the end. Bit `b` of `out[a]` says that shape a points to shape b.

    `numbers` are the shapes' numbers in the diagram, `into` the same connections as `out`, seen from their ends.
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
    """What lies around the drawn shapes of both graphs, round by round: equal numbers for equal surroundings.

    A shape's surroundings are its own and its neighbours' of the round before (Weisfeiler and Leman, 1968), which
    begins with its look. Both directions are followed, then outgoing connections alone, then incoming ones alone: one
    fault changes what lies around many shapes, but rarely before as well as behind them.
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
    """The places of the ones in a mask, lowest first."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low
