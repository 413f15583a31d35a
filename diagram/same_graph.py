"""Decide whether two diagrams are the same but for what is free: positions always, the look or the numbers if so told.
Labels count as in the score: without case and spaces.

If the order is free, this is graph isomorphism: colour refinement (Weisfeiler and Leman, 1968) and, where it leaves
shapes with one colour, trying each pair of them. Every "yes" is right. A "no" is right unless the search ends after
MAX_TRIALS pairs. Only highly regular graphs need that many: layered networks need one for each shape at the most.
"""

from collections import Counter
from collections.abc import Hashable, Sequence

from diagram.graph import Graph, bits
from diagram.label_similarity import plain
from diagram.nodes import Diagram, Node

MAX_TRIALS = 300  # pairs of shapes tried, for one pair of diagrams

_Colours = list[list[int]]  # of the shapes of both graphs; equal colours may be matched


def same_graph(a: Diagram, b: Diagram, style_fixed: bool = True, order_fixed: bool = True) -> bool:
    """True if both have the same shapes and connections. Positions play no part.

    With `style_fixed` the look counts as well. With `order_fixed` the numbers and the order of the lines count;
    without it, any renumbering of a diagram is the same. Connections to shapes that are not drawn count as any other.
    """
    if _by_line(a, style_fixed) == _by_line(b, style_fixed):
        return True
    if order_fixed or len(a.nodes) != len(b.nodes):
        return False
    graphs = Graph(a), Graph(b)
    if len(graphs[0].numbers) != len(graphs[1].numbers) or graphs[0].edge_count != graphs[1].edge_count:
        return False
    ids: dict[Hashable, int] = {}
    colours = [
        [
            ids.setdefault(_identity(graph.nodes[k], style_fixed) if k < len(graph.nodes) else "", len(ids))
            for k in range(len(graph.numbers))
        ]
        for graph in graphs
    ]
    return _Search(graphs).finds_match(colours)


def _by_line(diagram: Diagram, style_fixed: bool) -> list[tuple[Hashable, ...]]:
    return [(node.number, _identity(node, style_fixed), tuple(sorted(set(node.targets)))) for node in diagram.nodes]


def _identity(node: Node, style_fixed: bool) -> Hashable:
    return plain(node.label), node.look if style_fixed else ()


class _Search:
    """The search for a match of two graphs with equally many shapes, of at most MAX_TRIALS trials."""

    def __init__(self, graphs: Sequence[Graph]) -> None:
        self.around = [
            [(list(bits(out)), list(bits(into))) for out, into in zip(graph.out, graph.into, strict=True)]
            for graph in graphs
        ]
        self.trials = MAX_TRIALS

    def finds_match(self, colours: _Colours) -> bool:
        """True if the graphs match in such a way that matched shapes have equal colours."""
        stable = self._refined(colours)
        if stable is None:
            return False
        first, second = stable
        counts = Counter(first)
        shared = [colour for colour, count in counts.items() if count > 1]
        if not shared:  # one shape of each colour, and equal colours have neighbours of equal colours
            return True
        colour = min(shared, key=counts.__getitem__)
        own = max(first) + 1
        a = first.index(colour)
        for b, other in enumerate(second):
            if other == colour:
                if not self.trials:
                    return False
                self.trials -= 1
                if self.finds_match([[*first[:a], own, *first[a + 1 :]], [*second[:b], own, *second[b + 1 :]]]):
                    return True
        return False

    def _refined(self, colours: _Colours) -> _Colours | None:
        """Split the colours until shapes with one colour have neighbours with equal colours.

        None if the graphs do not match: some colour is not equally frequent in both.
        """
        count = 0
        while True:
            ids: dict[Hashable, int] = {}
            colours = [
                [
                    ids.setdefault(
                        (colour, tuple(sorted([old[k] for k in out])), tuple(sorted([old[k] for k in into]))), len(ids)
                    )
                    for colour, (out, into) in zip(old, around, strict=True)
                ]
                for old, around in zip(colours, self.around, strict=True)
            ]
            if Counter(colours[0]) != Counter(colours[1]):
                return None
            if len(ids) == count:
                return colours
            count = len(ids)
