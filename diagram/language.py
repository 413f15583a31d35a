"""Parse and format the diagram language.

A diagram is text, one line per node, each line a Python list:

    [node no., x, y, 'shape', width, height, 'line', (R, G, B), (R, G, B), [node nos. it points to]]

x and y are the node's centre in pixels on a canvas of 1000 x 600 with its origin at the top left, width and height are
in pixels, the two colours are background and line, and nodes are numbered from 0 in the order of their lines.

The text comes from a model and is untrusted: nothing in it is executed, its length is bounded, and `parse` reports what
is wrong instead of raising.
"""

import ast
import warnings
from dataclasses import dataclass

CANVAS_WIDTH = 1000
CANVAS_HEIGHT = 600
SHAPES = ("rectangle", "round rectangle", "circle")
LINES = ("solid arrow", "solid line", "dashed line")

MAX_LINES = 100
MAX_LINE_LENGTH = 2_000
MAX_COORDINATE = 100_000

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Node:
    """One shape. Sizes and positions in pixels; `targets` are the numbers of the nodes it points to."""

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


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one line of the text; `line` counts from 1."""

    line: int
    message: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.message}"


@dataclass(frozen=True, slots=True)
class Diagram:
    """The nodes that could be read, and what was wrong with the text.

    Node numbers are unique. `line_count` counts the lines, `well_formed_count` those of them that
    are right by themselves: a connection to a node that does not exist is a problem, but not a malformed line.
    `complete` tells whether the last line is a whole node.
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
        """Every connection that the text states, also to nodes that do not exist."""
        return frozenset((node.number, target) for node in self.nodes for target in node.targets)


def parse(text: str) -> Diagram:
    """Read a diagram from any text at all; never raises on a `str`.

    One newline at the end is no line of its own; any other blank line is a problem. A line that is no node is reported
    and left out. A node that repeats a number is reported and left out; one that is numbered out of order, or points to
    itself, to the same node twice or to a node that does not exist, is reported and kept.
    """
    nodes: dict[int, Node] = {}
    line_of: dict[int, int] = {}
    problems: list[Problem] = []
    line_count = 0
    complete = False
    for line_no, line in enumerate(text.removesuffix("\n").split("\n") if text else (), start=1):
        line = line.strip()
        line_count += 1
        if line_count > MAX_LINES:
            problems.append(Problem(line_no, f"more than {MAX_LINES} lines; the rest is not read"))
            complete = False
            break
        node = _parse_line(line)
        complete = not isinstance(node, str)
        if isinstance(node, str):
            problems.append(Problem(line_no, node))
        elif node.number in nodes:
            problems.append(Problem(line_no, f"node {node.number} was there before"))
        else:
            if node.number != len(nodes):
                problems.append(Problem(line_no, f"node {node.number} stands where node {len(nodes)} is due"))
            nodes[node.number] = node
            line_of[node.number] = line_no
    for node in nodes.values():
        if node.number in node.targets:
            problems.append(Problem(line_of[node.number], "points to itself"))
        if len(set(node.targets)) < len(node.targets):
            problems.append(Problem(line_of[node.number], "points to a node twice"))
    well_formed_count = line_count - len({problem.line for problem in problems})
    for node in nodes.values():
        for target in sorted(set(node.targets) - nodes.keys()):
            problems.append(Problem(line_of[node.number], f"points to node {target}, which does not exist"))
    problems.sort(key=lambda problem: problem.line)
    return Diagram(tuple(nodes.values()), tuple(problems), line_count, well_formed_count, complete)


def format(diagram: Diagram) -> str:
    """Write a diagram as text: one line per node, no newline at the end. The inverse of `parse` for flawless text."""
    return "\n".join(_format_node(node) for node in diagram.nodes)


def _format_node(node: Node) -> str:
    return repr(
        [
            node.number,
            node.x,
            node.y,
            node.shape,
            node.width,
            node.height,
            node.line,
            node.fill,
            node.outline,
            list(node.targets),
        ]
    )


def _parse_line(line: str) -> Node | str:
    """The node that a line holds, or what is wrong with it."""
    if not line:
        return "blank"
    if len(line) > MAX_LINE_LENGTH:
        return f"longer than {MAX_LINE_LENGTH} characters"
    if not line.startswith("["):
        return "not a list"
    if not line.endswith("]"):
        return "not closed with ]"
    if "#" in line:  # Python would take the rest for a comment
        return "holds a #, which stands for neither a colour, written (R, G, B), nor a comment"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as "invalid escape sequence": the text's fault, not the caller's
            fields = ast.literal_eval(line)
    except (ValueError, SyntaxError, TypeError, OverflowError, MemoryError, RecursionError):
        return "not a list of numbers, texts and colours"
    if not isinstance(fields, list):
        return "not a list"
    if len(fields) != 10:
        return f"{len(fields)} fields instead of 10"
    number, x, y, shape, width, height, line_style, fill, outline, targets = fields
    checks = (
        ("node number", number, _is_int(number, 0, MAX_LINES - 1)),
        ("x", x, _is_int(x, -MAX_COORDINATE, MAX_COORDINATE)),
        ("y", y, _is_int(y, -MAX_COORDINATE, MAX_COORDINATE)),
        ("shape", shape, isinstance(shape, str) and shape in SHAPES),
        ("width", width, _is_int(width, 1, MAX_COORDINATE)),
        ("height", height, _is_int(height, 1, MAX_COORDINATE)),
        ("line", line_style, isinstance(line_style, str) and line_style in LINES),
        ("background colour", fill, _is_colour(fill)),
        ("line colour", outline, _is_colour(outline)),
        (
            "targets",
            targets,
            isinstance(targets, list) and all(_is_int(target, 0, MAX_LINES - 1) for target in targets),
        ),
    )
    wrong = [f"{name} is {_shorten(value)}" for name, value, good in checks if not good]
    if wrong:
        return "; ".join(wrong)
    return Node(number, x, y, shape, width, height, line_style, fill, outline, tuple(targets))


def _is_int(value: object, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high  # True is an int to isinstance


def _is_colour(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 3 and all(_is_int(channel, 0, 255) for channel in value)


def _shorten(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # an int of thousands of digits has no repr
        return "a number too long to show"
    return text if len(text) <= 40 else text[:37] + "..."
