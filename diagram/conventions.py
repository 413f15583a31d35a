"""Decide from the references of a file what an answer must follow: their style, and the order of their numbers.

The style is fixed if at least 95 % of all shapes have a look (shape, size, line and colours) that occurs five times or
more. Otherwise an answer could not know which look to use.

The order is fixed if at least 95 % of the references with a connection number their shapes along the flow: 0, 1, 2 and
so on by line, and more than two thirds of the connections lead to a higher number or back to the same shape. The others
may close a loop or join a branch that is named later. It takes at least five such references. Otherwise the numbers
follow no rule that an answer could learn, and other numbers cost nothing.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from diagram.labels import shown
from diagram.language import Diagram, parse
from diagram.nodes import Look

ENOUGH = 5  # shapes with one look, or references with a connection
NEARLY_ALL = 0.95
MOST = 2 / 3  # of the connections of a reference


@dataclass(frozen=True, slots=True)
class Conventions:
    """What the references of a file fix, and the counts behind it.

    shapes                  shapes in all references
    looks                   different looks among them
    common                  shapes with a look that occurs five times or more
    connected               references with a connection
    in_order                those of them that number their shapes along the flow
    labelled                shapes with a label; labels count wherever the reference has one
    """

    style_fixed: bool
    order_fixed: bool
    shapes: int
    looks: int
    common: int
    connected: int
    in_order: int
    labelled: int = 0

    def facts(self) -> dict[str, str]:
        """The two decisions and the counts behind them, for a log; how many shapes have labels, if any has."""
        style = f"{self.looks} looks, {self.common} of {self.shapes} shapes have one that occurs {ENOUGH} times or more"
        order = f"{self.in_order} of {self.connected} references with connections number their shapes along the flow"
        facts = {
            "style": f"{'fixed' if self.style_fixed else 'free'}: {style}",
            "order": f"{'fixed' if self.order_fixed else 'free'}: {order}",
        }
        return facts | ({"labels": f"{self.labelled} of {self.shapes} shapes have one"} if self.labelled else {})


def conventions_of(references: Iterable[str]) -> Conventions:
    """Decide from the texts of reference diagrams. Lines that cannot be read are ignored."""
    looks: Counter[Look] = Counter()
    connected = in_order = labelled = 0
    for text in references:
        diagram = parse(text)
        looks.update(node.look for node in diagram.nodes)
        labelled += sum(bool(shown(node.label)) for node in diagram.nodes)
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
        labelled=labelled,
    )


def _follows_the_flow(diagram: Diagram) -> bool:
    numbers = [node.number for node in diagram.nodes]
    onwards = sum(start <= end for start, end in diagram.edges)
    return numbers == list(range(len(numbers))) and onwards > MOST * len(diagram.edges)
