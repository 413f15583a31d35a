"""Examine a text that is to be a reference: what answers are trained on and scored against.

A fault is an error: something could not be read, a connection leads to no shape, or a line deviates from the format.
The model would learn it. An oddity is only less than perfect. It is for the user to decide, often a convention of a
whole file, and each line that holds a shape is right:

- flaws of the layout: the diagram is right, only hard to read
- other numbers, such as from 1 on: connections name shapes by these numbers, so the diagram is the same
- a shape that points to itself: right in a state diagram
- a shape that points to another one twice: right for two transitions between the same states
- blank lines: they hold no shape

An answer loses a little of its score for most of these, as if the reference did not have it. Spaces around a line and
one newline at the end are neither: `parse` ignores them everywhere.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from diagram.language import parse
from diagram.nodes import BLANK, TO_ITSELF, TWICE
from diagram.readability import readability_of

_ODDITIES = {
    TO_ITSELF: "shapes that point to themselves",
    TWICE: "shapes that point to a shape twice",
    BLANK: "blank lines",
}
_RENUMBERED = "numbers other than 0, 1, 2, ... from line to line"
OVERLAPPING, OFF_CANVAS, CROSSED = "overlapping shapes", "shapes off the canvas", "connections through a shape"
MISFITTING = "labels that do not fit their shapes"


class Examined(NamedTuple):
    """The fault that makes a text useless as a reference, or None, and what else is less than perfect in it."""

    fault: str | None
    oddities: tuple[str, ...] = ()


def examine_reference(text: str) -> Examined:
    """The first fault of a text, and its oddities, as in "overlapping shapes"; neither if `flaw_of` finds none."""
    diagram = parse(text)
    if not diagram.nodes:
        return Examined(str(diagram.problems[0]) if diagram.problems else "no shapes")
    oddities: dict[str, None] = {}  # a set that keeps the order
    for problem in diagram.problems:
        if problem.kind == "numbering":
            oddities[_RENUMBERED] = None
        elif problem.message in _ODDITIES:
            oddities[_ODDITIES[problem.message]] = None
        else:
            return Examined(str(problem))
    readable = readability_of(diagram.nodes, [(start, end) for start, end in diagram.edges if start != end])
    flaws: dict[str, Mapping[Any, float]] = {
        OVERLAPPING: readable.apart,
        OFF_CANVAS: readable.inside,
        CROSSED: readable.clear,
        MISFITTING: readable.fits,
    }
    oddities |= {what: None for what, worths in flaws.items() if min(worths.values(), default=1.0) < 1}
    return Examined(None, tuple(oddities))
