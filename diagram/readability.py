"""How readable every shape and every connection of a diagram is, whatever the diagram should show.

A flaw halves the worth of what it touches; a worse flaw leaves less. `degree` says how much worse, for

    a shape off the canvas          the share of it that lies off the canvas, 0 to 1
    a shape that overlaps others    how much of it the others cover together, each 0 to 1
    a connection through a shape    how many more shapes it runs through

A copy laid over a shape halves both and more, so the two are worth less together than one alone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from diagram.geometry import crossings, is_inside_canvas, overlaps, share_outside
from diagram.nodes import Node
from diagram.weights import FLAW, WORSE


@dataclass(frozen=True, slots=True)
class Readability:
    """The worth of each shape by its number and of each connection (from, to), in (0, 1]; 1.0 without a flaw."""

    inside: dict[int, float]
    apart: dict[int, float]
    clear: dict[tuple[int, int], float]

    @property
    def is_flawless(self) -> bool:
        """True when nothing that is drawn has a flaw."""
        return all(worth == 1 for part in (self.inside, self.apart, self.clear) for worth in part.values())


def readability_of(nodes: Sequence[Node], edges: Iterable[tuple[int, int]]) -> Readability:
    """Judge shapes with unique numbers and the connections between them."""
    covered: dict[int, float] = {}
    for a, b, area in overlaps(nodes):
        covered[a.number] = covered.get(a.number, 0.0) + area / (a.width * a.height)
        covered[b.number] = covered.get(b.number, 0.0) + area / (b.width * b.height)
    return Readability(
        inside={node.number: 1.0 if is_inside_canvas(node) else _worth(share_outside(node)) for node in nodes},
        apart={node.number: _worth(covered[node.number]) if node.number in covered else 1.0 for node in nodes},
        clear={edge: _worth(count - 1) if count else 1.0 for edge, count in crossings(nodes, edges).items()},
    )


def _worth(degree: float) -> float:
    return FLAW * WORSE**degree
