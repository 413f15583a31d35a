"""The data of a diagram: shapes with their connections, and the problems of the text that they were read from."""

from dataclasses import dataclass
from typing import Literal

CANVAS_WIDTH = 1000
CANVAS_HEIGHT = 600
SHAPES = ("rectangle", "round rectangle", "circle")
LINES = ("solid arrow", "solid line", "dashed line")

MAX_LINES = 100
MAX_LINE_LENGTH = 2_000
MAX_COORDINATE = 100_000
MAX_NUMBER = 9_999

Colour = tuple[int, int, int]
Look = tuple[str, int, int, str, Colour, Colour]  # shape, width, height, line, background and line colour

# unread       no shape could be read from the line, or an earlier shape has its number
# blemish      the line deviates from the format but could be read, is blank, or points to a shape twice
# numbering    the shape's number is not the next one
# connection   the shape points to itself, or to a shape that does not exist
Kind = Literal["unread", "blemish", "numbering", "connection"]
# Messages of problems that a reference may have.
BLANK, TO_ITSELF, TWICE = "blank", "points to itself", "points to a node twice"


@dataclass(frozen=True, slots=True)
class Node:
    """One shape. Sizes and positions in pixels; `targets` are the numbers of the nodes it points to.

    `label` is the text in the shape; None if its line has no field for it. An empty label is a field without a text.
    """

    number: int
    x: int
    y: int
    shape: str
    width: int
    height: int
    line: str
    fill: Colour
    outline: Colour
    targets: tuple[int, ...]
    label: str | None = None

    @property
    def look(self) -> Look:
        """All fields but number, label, position and connections."""
        return self.shape, self.width, self.height, self.line, self.fill, self.outline


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one line of the text; `line` counts from 1."""

    line: int
    message: str
    kind: Kind = "unread"

    def __str__(self) -> str:
        return f"line {self.line}: {self.message}"


@dataclass(frozen=True, slots=True)
class Diagram:
    """The nodes that could be read, and what was wrong with the text.

    Node numbers are unique. `line_count` counts the lines, `well_formed_count` those without a problem of their own: a
    connection to a node that does not exist is a problem, but its line is well formed. `complete` is True if
    the last line that is not blank is one of the nodes.
    """

    nodes: tuple[Node, ...]
    problems: tuple[Problem, ...] = ()
    line_count: int = 0
    well_formed_count: int = 0
    complete: bool = True

    @property
    def edges(self) -> frozenset[tuple[int, int]]:
        """Connections between nodes that exist, as (from, to)."""
        numbers = {node.number for node in self.nodes}
        return frozenset(edge for edge in self.claimed_edges if edge[1] in numbers)

    @property
    def claimed_edges(self) -> frozenset[tuple[int, int]]:
        """Every connection in the text, also to nodes that do not exist."""
        return frozenset((node.number, target) for node in self.nodes for target in node.targets)
