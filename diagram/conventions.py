"""Decide from a file's references what an answer must follow: a style, and an order of the numbers.

The style is fixed where nearly all shapes look like several others: shape, size, line and colours repeat. Where every
diagram has colours of its own, no answer can know them.

The order is fixed where the references show one that an answer can follow: the lines number the shapes 0, 1, 2 and so
on, and no connection points back to a lower number, so the numbers follow the flow. Numbers drawn by chance would point
back half of the time. Numbers without such an order, or too few connections to see one, leave the order open: an answer
that numbers the same diagram otherwise then loses nothing.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from diagram.language import Diagram, parse

ENOUGH = 5  # shapes of one look; references with a connection
NEARLY_ALL = 0.95


@dataclass(frozen=True, slots=True)
class Conventions:
    """What a file's references fix, and what was counted.

    shapes, looks           of all references; `looks` counts different ones
    common                  shapes whose look occurs five times or more
    connected               references with a connection
    in_order                those of them that are numbered along the flow
    """

    style_fixed: bool
    order_fixed: bool
    shapes: int
    looks: int
    common: int
    connected: int
    in_order: int

    def facts(self) -> dict[str, str]:
        """What was decided and why, for a log."""
        style = f"{self.looks} looks, {self.common} of {self.shapes} shapes have one that occurs {ENOUGH} times or more"
        order = f"{self.in_order} of {self.connected} references with connections number their shapes along the flow"
        return {
            "style": f"{'fixed' if self.style_fixed else 'free'}: {style}",
            "order": f"{'fixed' if self.order_fixed else 'free'}: {order}",
        }


def conventions_of(references: Iterable[str]) -> Conventions:
    """Count the looks and the numbering of reference diagrams; what cannot be read is left out."""
    looks: Counter[tuple] = Counter()
    connected = in_order = 0
    for text in references:
        diagram = parse(text)
        looks.update(node.look for node in diagram.nodes)
        if diagram.edges:
            connected += 1
            in_order += _follows_the_flow(diagram)
    shapes, common = looks.total(), sum(count for count in looks.values() if count >= ENOUGH)
    return Conventions(
        style_fixed=shapes > 0 and common >= NEARLY_ALL * shapes,
        order_fixed=connected >= ENOUGH and in_order >= NEARLY_ALL * connected,
        shapes=shapes,
        looks=len(looks),
        common=common,
        connected=connected,
        in_order=in_order,
    )


def _follows_the_flow(diagram: Diagram) -> bool:
    numbers = [node.number for node in diagram.nodes]
    return numbers == list(range(len(numbers))) and all(start < end for start, end in diagram.edges)
