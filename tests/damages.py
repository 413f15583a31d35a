"""Damages: functions that put a single fault into a diagram, for tests of the score.

A damage takes nodes, a random generator and the numbers of shapes that it must not touch. It returns the damaged nodes
and the numbers of the shapes that it touched, or None if it found nothing to damage.
"""

from collections.abc import Callable, Collection
from dataclasses import replace
from random import Random
from typing import Any

from hypothesis import strategies as st

from diagram.language import LINES, SHAPES, Diagram, Node, format

Nodes = list[Node]
Damage = Callable[[Nodes, Random, Collection[int]], tuple[Nodes, set[int]] | None]

COLUMN, ROW = 200, 110
NOWHERE = 77  # no shape has this number


def text_of(nodes: Nodes) -> str:
    return format(Diagram(tuple(nodes)))


@st.composite
def diagrams(draw: st.DrawFn, most_columns: int = 5) -> Nodes:
    """A flawless diagram of four or more shapes with different looks, in columns connected from left to right."""
    counts = draw(st.lists(st.integers(1, 5), min_size=2, max_size=most_columns).filter(lambda counts: sum(counts) > 3))
    rng = draw(st.randoms(use_true_random=False))
    columns, total = [], 0
    for count in counts:
        columns.append(list(range(total, total + count)))
        total += count
    edges = set()
    for left, right in zip(columns, columns[1:], strict=False):
        edges |= {(start, rng.choice(right)) for start in left} | {(rng.choice(left), end) for end in right}
    nodes = []
    for column, numbers in enumerate(columns):
        for row, number in enumerate(numbers):
            nodes.append(
                Node(
                    number,
                    80 + column * COLUMN,
                    300 + (2 * row - len(numbers) + 1) * ROW // 2,
                    SHAPES[number % 3],
                    40 + number,
                    30 + number,
                    LINES[number // 3 % 3],
                    (200, 200, 10 * number),
                    (0, 9 * number, 0),
                    tuple(sorted(end for start, end in edges if start == number)),
                )
            )
    return nodes


def _untouched(nodes: Nodes, touched: Collection[int]) -> Nodes:
    return [node for node in nodes if node.number not in touched]


def _edges(nodes: Nodes, touched: Collection[int]) -> list[tuple[int, int]]:
    """Connections between untouched shapes."""
    numbers = {node.number for node in _untouched(nodes, touched)}
    return [(node.number, end) for node in nodes for end in node.targets if {node.number, end} <= numbers]


def changed(nodes: Nodes, number: int, **fields: Any) -> Nodes:
    return [replace(node, **fields) if node.number == number else node for node in nodes]


def targets_of(nodes: Nodes, number: int) -> tuple[int, ...]:
    return next(node.targets for node in nodes if node.number == number)


def _change(**fields: Callable[[Node], Any]) -> Damage:
    """Change fields of one shape."""

    def damage(nodes: Nodes, rng: Random, touched: Collection[int]) -> tuple[Nodes, set[int]] | None:
        whole = _untouched(nodes, touched)
        if not whole:
            return None
        node = rng.choice(whole)
        return changed(nodes, node.number, **{name: change(node) for name, change in fields.items()}), {node.number}

    return damage


def leave_out(nodes, rng, touched):
    whole = _untouched(nodes, touched)
    if not whole or len(nodes) == 1:
        return None
    node = rng.choice(whole)
    return [other for other in nodes if other is not node], {node.number}


def disconnect(nodes, rng, touched):
    edges = _edges(nodes, touched)
    if not edges:
        return None
    start, end = rng.choice(edges)
    return changed(nodes, start, targets=tuple(t for t in targets_of(nodes, start) if t != end)), {start, end}


def connect(nodes, rng, touched):
    """Add a connection to a lower number; `diagrams` makes none of those."""
    whole = _untouched(nodes, touched)
    if len(whole) < 2:
        return None
    start, end = sorted(rng.sample([node.number for node in whole], 2), reverse=True)
    return changed(nodes, start, targets=(*targets_of(nodes, start), end)), {start, end}


def redirect(nodes, rng, touched):
    choices = [
        (start, end, other.number)
        for start, end in _edges(nodes, touched)
        for other in _untouched(nodes, touched)
        if other.number not in (start, *targets_of(nodes, start))
    ]
    if not choices:
        return None
    start, end, other = rng.choice(choices)
    targets = tuple(other if target == end else target for target in targets_of(nodes, start))
    return changed(nodes, start, targets=targets), {start, end, other}


def cover(nodes, rng, touched):
    """Move one shape over another."""
    whole = _untouched(nodes, touched)
    if len(whole) < 2:
        return None
    over, under = rng.sample(whole, 2)
    return changed(nodes, over.number, x=under.x + 5, y=under.y - 5), {over.number, under.number}


def add(nodes, rng, touched):
    number = max(40, *(node.number + 1 for node in nodes))
    new = Node(number, 985, 15, "rectangle", 10, 10, LINES[0], (1, 1, 1), (1, 1, 1), ())
    return [*nodes, new], {number}


def copy(nodes, rng, touched):
    whole = _untouched(nodes, touched)
    if not whole:
        return None
    node = rng.choice(whole)
    number = max(40, *(node.number + 1 for node in nodes))
    return [*nodes, replace(node, number=number)], {node.number, number}


GRAPH: dict[str, Damage] = {
    "shape left out": leave_out,
    "connection left out": disconnect,
    "connection added": connect,
    "connection to nowhere": _change(targets=lambda node: (*node.targets, NOWHERE)),
    "connection to itself": _change(targets=lambda node: (*node.targets, node.number)),
    "redirected connection": redirect,
    "shape added": add,
    "shape copied": copy,
}
LAYOUT: dict[str, Damage] = {
    "shape over another": cover,
    "shape off the canvas": _change(y=lambda node: -300),
    "shape half off the canvas": _change(y=lambda node: 600),
}
LOOK: dict[str, Damage] = {
    "other shape": _change(shape=lambda node: SHAPES[(SHAPES.index(node.shape) + 1) % 3]),
    "other width": _change(width=lambda node: node.width - 1),
    "other height": _change(height=lambda node: node.height - 1),
    "other line": _change(line=lambda node: LINES[(LINES.index(node.line) + 1) % 3]),
    "other background": _change(fill=lambda node: (node.fill[0] + 1, *node.fill[1:])),
    "other line colour": _change(outline=lambda node: (*node.outline[:2], node.outline[2] + 1)),
}
LABELS: dict[str, Damage] = {  # of diagrams with labels
    "other letter in a label": _change(label=lambda node: f"{(node.label or '')[:-1]}?"),
    "other label": _change(label=lambda node: "zq"),
    "label left out": _change(label=lambda node: None),
}


def _edit(change: Callable[[str], str]) -> Callable[[list[str], Random, Collection[int]], tuple[list[str], int] | None]:
    """Edit one line of a text. Works like a damage, with indices of lines instead of numbers of shapes."""

    def damage(lines: list[str], rng: Random, touched: Collection[int]) -> tuple[list[str], int] | None:
        whole = [k for k, line in enumerate(lines) if k not in touched and change(line) != line]
        if not whole:
            return None
        k = rng.choice(whole)
        return [*lines[:k], change(lines[k]), *lines[k + 1 :]], k

    return damage


def quote_x(line: str) -> str:
    number, x, rest = line.split(", ", 2)
    return f"{number}, '{x}', {rest}"


def targets_as_tuple(line: str) -> str:
    start, targets = line.rsplit("[", 1)
    return f"{start}({targets[:-2]},)]" if targets != "]]" else f"{start}()]"


BLEMISHES = {
    "comma after the line": _edit(lambda line: line + ","),
    "brace after the line": _edit(lambda line: line + "}"),
    "bracket too many": _edit(lambda line: "[" + line + "]"),
    "blank line": _edit(lambda line: "\n" + line),
    "quoted number": _edit(quote_x),
    "fraction of a pixel": _edit(lambda line: line.replace(", ", ".25, ", 2).replace(".25, ", ", ", 1)),
    "colour as a list": _edit(lambda line: line.replace("(200, 200, 10)", "[200, 200, 10]")),
    "targets as a tuple": _edit(targets_as_tuple),
    "line run short": _edit(lambda line: line.replace("'solid line'", "'solid'").replace("'dashed line'", "'dashed'")),
}
