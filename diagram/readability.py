"""The readability of each shape, connection and label of a diagram. The reference plays no part.

Without a flaw the worth is 1, with one it is 0.5 x 0.4^degree. The degree is

    inside      for a shape not wholly on the canvas: the share of its box off the canvas, 0 to 1
    apart       for a shape that overlaps others: the share of its box that each other box covers, 0 to 1, added up
    clear       for a connection through third shapes: how many there are, minus 1

A label that does not fit its shape, even in the smallest letters of `diagram.lettering`, has the worth

    fits        0.8 x 0.7^lost, where lost is the share of the label that the shape has no room for, 0 to 1; also where
                there is room only if a word is broken

A copy that covers a shape exactly leaves 0.5 x 0.4 = 0.2 of each, so both together are worth less than one alone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from diagram.geometry import crossings, is_inside_canvas, overlaps, share_outside
from diagram.labels import shown
from diagram.lettering import lettering_of
from diagram.nodes import Node
from diagram.weights import FLAW, MISFIT, MORE_LOST, WORSE


@dataclass(frozen=True, slots=True)
class Readability:
    """The worth of each shape, by its number, and of each connection (from, to), in (0, 1]; 1.0 without a flaw.

    `fits` has the shapes with a label.
    """

    inside: dict[int, float]
    apart: dict[int, float]
    clear: dict[tuple[int, int], float]
    fits: dict[int, float]

    @property
    def is_flawless(self) -> bool:
        """True if no shape, connection or label has a flaw."""
        return all(worth == 1 for part in (self.inside, self.apart, self.clear, self.fits) for worth in part.values())


def readability_of(nodes: Sequence[Node], edges: Iterable[tuple[int, int]]) -> Readability:
    """Rate shapes, whose numbers must be unique, and connections between them."""
    covered: dict[int, float] = {}
    for a, b, area in overlaps(nodes):
        covered[a.number] = covered.get(a.number, 0.0) + area / (a.width * a.height)
        covered[b.number] = covered.get(b.number, 0.0) + area / (b.width * b.height)
    return Readability(
        inside={node.number: 1.0 if is_inside_canvas(node) else _worth(share_outside(node)) for node in nodes},
        apart={node.number: _worth(covered[node.number]) if node.number in covered else 1.0 for node in nodes},
        clear={edge: _worth(count - 1) if count else 1.0 for edge, count in crossings(nodes, edges).items()},
        fits={node.number: _fit(node, text) for node in nodes if (text := shown(node.label))},
    )


def labels_fit(nodes: Iterable[Node]) -> bool:
    """True if every label fits its shape."""
    return all(lettering_of(node, text).whole for node in nodes if (text := shown(node.label)))


def _fit(node: Node, text: str) -> float:
    lettering = lettering_of(node, text)
    worth: float = 1.0 if lettering.whole else MISFIT * MORE_LOST**lettering.lost
    return worth


def _worth(degree: float) -> float:
    worth: float = FLAW * WORSE**degree
    return worth
