"""Parse and format the diagram language.

A diagram is text, one line per node, each line a Python list:

    [node no., 'label', x, y, 'shape', width, height, 'line', (R, G, B), (R, G, B), [node nos. it points to]]

The label is the text in the shape, at most 48 characters, and may be left out with its comma. x and y are the node's
centre in pixels on a canvas of 1000 x 600 with its origin at the top left, width and height are in pixels, the two
colours are background and line, and nodes are numbered from 0 in the order of their lines.

The text comes from a model and is untrusted. Nothing in it is executed, its length is limited, and `parse` reports
problems instead of raising.
"""

from diagram.labels import MAX_LABEL
from diagram.nodes import (
    BLANK,
    CANVAS_HEIGHT,
    CANVAS_WIDTH,
    LINES,
    MAX_COORDINATE,
    MAX_LINE_LENGTH,
    MAX_LINES,
    MAX_NUMBER,
    SHAPES,
    TO_ITSELF,
    TWICE,
    Colour,
    Diagram,
    Kind,
    Node,
    Problem,
)
from diagram.reading import read_line

__all__ = [
    "CANVAS_HEIGHT",
    "CANVAS_WIDTH",
    "LINES",
    "MAX_COORDINATE",
    "MAX_LABEL",
    "MAX_LINES",
    "MAX_LINE_LENGTH",
    "MAX_NUMBER",
    "SHAPES",
    "Colour",
    "Diagram",
    "Kind",
    "Node",
    "Problem",
    "format",
    "parse",
]

_MAX_BLANK_LINES = 900


def parse(text: str) -> Diagram:
    """Read a diagram from any text; never raises on a `str`.

    Reported and left out: a line without a node, and a node that repeats a number. Reported but read: a line that only
    deviates from the format (a comma after it, a quoted number), a blank line, and a node that is numbered out of
    order, points to itself, to a node twice or to a node that does not exist. A newline at the end of the text does
    not begin another line.
    """
    nodes: dict[int, Node] = {}
    line_of: dict[int, int] = {}
    problems: list[Problem] = []
    line_count = blank_count = due = 0
    complete = False
    lines = text.removesuffix("\n").split("\n", MAX_LINES + _MAX_BLANK_LINES) if text else []
    for line_no, line in enumerate(lines, start=1):
        line_count += 1
        if line_count - blank_count > MAX_LINES or blank_count > _MAX_BLANK_LINES:
            limit = f"{_MAX_BLANK_LINES} blank" if blank_count > _MAX_BLANK_LINES else MAX_LINES
            problems.append(Problem(line_no, f"more than {limit} lines; the rest is not read"))
            complete = False
            break
        line = line.strip()
        if not line:
            blank_count += 1
            problems.append(Problem(line_no, BLANK, "blemish"))
            continue
        node, messages = read_line(line)
        complete = node is not None and node.number not in nodes
        if node is None:
            problems += [Problem(line_no, message) for message in messages]
        elif node.number in nodes:
            problems.append(Problem(line_no, f"node {node.number} was there before"))
        else:
            problems += [Problem(line_no, message, "blemish") for message in messages]
            if node.number != due:
                problems.append(Problem(line_no, f"node {node.number} stands where node {due} is due", "numbering"))
            due = node.number + 1
            nodes[node.number] = node
            line_of[node.number] = line_no
    for node in nodes.values():
        if node.number in node.targets:
            problems.append(Problem(line_of[node.number], TO_ITSELF, "connection"))
        if len(set(node.targets)) < len(node.targets):
            problems.append(Problem(line_of[node.number], TWICE, "blemish"))
    well_formed_count = line_count - len({problem.line for problem in problems})
    for node in nodes.values():
        for target in sorted(set(node.targets) - nodes.keys()):
            message = f"points to node {target}, which does not exist"
            problems.append(Problem(line_of[node.number], message, "connection"))
    problems.sort(key=lambda problem: problem.line)
    return Diagram(tuple(nodes.values()), tuple(problems), line_count, well_formed_count, complete)


def format(diagram: Diagram) -> str:
    """Write a diagram as text: one line per node, without a newline at the end. Inverts `parse` on flawless text.

    A node whose label is None has a line of ten fields, any other one of eleven.
    """
    return "\n".join(_format_node(node) for node in diagram.nodes)


def _format_node(node: Node) -> str:
    return repr(
        [
            node.number,
            *(() if node.label is None else (node.label,)),
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
