"""Graphs in Graphviz's DOT language: write the graph of a diagram, and read the one that a model wrote.

Only names, labels, kinds and connections are read, by this module. Nothing that a model wrote is given to Graphviz.
A kind stands for a look. It has its name from the house style, since the request says what kind of thing a shape is.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from create_dataset.house_style import HOUSE_STYLE
from diagram import Diagram, Node, parse
from diagram.labels import MAX_LABEL
from diagram.nodes import MAX_LINES, Look
from diagram.readability import labels_fit

MAX_EDGES = 600
_WIDER, _HIGHER, _GROWTHS = 10, 4, 20  # pixels, until a label fits its shape
_TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|"((?:[^"\\]|\\.)*)"|(->|--|[\[\]{}=,;:])|([^\s\[\]{}=,;:"\-]+)', re.DOTALL)
_OPENINGS = ("strict", "digraph", "graph", "subgraph", "node", "edge")

_Token = tuple[str, bool]  # its text, and whether it is a mark such as "->"


@dataclass(slots=True)
class Graph:
    """A graph as it was written: the attributes of each node by its name, in order, and the connections."""

    nodes: dict[str, dict[str, str]] = field(default_factory=dict)
    edges: dict[tuple[str, str], None] = field(default_factory=dict)  # in order


@dataclass(frozen=True, slots=True)
class Kinds:
    """What the references show: the look of each kind, by its name, and whether shapes have labels.

    `usual` is the most frequent look; a shape of an unknown kind gets it.
    """

    looks: dict[str, Look]
    usual: Look
    labelled: bool

    def look_of(self, written: str) -> Look:
        """The look of a kind as a model has written it: the longest kind with which it ends, as in "product data"."""
        words = f" {' '.join(written.lower().split())}"
        known = [name for name in self.looks if words.endswith(f" {name.lower()}")]
        return self.looks[max(known, key=len)] if known else self.usual

    def name_of(self, look: Look) -> str:
        """The kind with this look; empty if no reference shows it."""
        return next((name for name, known in self.looks.items() if known == look), "")


def kinds_of(references: Iterable[str]) -> Kinds:
    """The kinds of all shapes in these diagrams. Raises ValueError if there are none."""
    nodes = [node for text in references for node in parse(text).nodes]
    counts = Counter(node.look for node in nodes)
    if not counts:
        raise ValueError("the references show no shape")
    looks: dict[str, Look] = {}
    for look, _ in counts.most_common():
        name = _house_name(look)
        looks[name if name not in looks else f"{name} {look[1]}x{look[2]}"] = look
    return Kinds(dict(sorted(looks.items())), counts.most_common(1)[0][0], any(node.label for node in nodes))


def _house_name(look: Look) -> str:
    """The kind of the house style. A layer that is drawn flat has the same longest side as an upright one."""
    shape, width, height, *rest = look
    for kind, house in HOUSE_STYLE.items():
        same_longest = max(width, height) == max(house.width, house.height)
        if [shape, *rest] == [house.shape, house.line, house.fill, house.outline] and same_longest:
            return kind if (width < height) == (house.width < house.height) else f"flat {kind}"
    return f"{shape} {width}x{height}"


def write_graph(text: str, kinds: Kinds) -> str:
    """The graph of a diagram in DOT: a line for each shape, then one for each shape that points to others."""
    nodes = parse(text).nodes
    lines = ["digraph {"]
    for node in nodes:
        label = f"label={_quoted(node.label)} " if node.label else ""
        lines.append(f"{node.number} [{label}kind={_quoted(kinds.name_of(node.look))}]")
    for node in nodes:
        if node.targets:
            targets = " ".join(map(str, node.targets))
            lines.append(f"{node.number} -> {targets if len(node.targets) == 1 else f'{{{targets}}}'}")
    return "\n".join([*lines, "}"])


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def read_graph(text: str) -> Graph:
    """The graph in any text; what is not DOT is skipped. At most MAX_LINES nodes and MAX_EDGES connections are read."""
    tokens = [
        (match[2], True)
        if match[2]
        else (re.sub(r"\\(.)", r"\1", match[1]) if match[1] is not None else match[3], False)
        for match in _TOKEN.finditer(text)
        if match.lastindex
    ]
    graph, place = Graph(), 0
    while place < len(tokens):
        word, is_mark = tokens[place]
        if is_mark:
            place += 1
        elif word.lower() in _OPENINGS:
            place = _after_opening(tokens, place + 1)
        else:
            place = _read_statement(tokens, place, graph)
    return graph


def _after_opening(tokens: Sequence[_Token], place: int) -> int:
    """The place behind the name of a graph, or behind attributes that all nodes share."""
    if _mark(tokens, place + 1) == "{" and not _mark(tokens, place):
        return place + 1
    return _attributes(tokens, place)[1]


def _read_statement(tokens: Sequence[_Token], place: int, graph: Graph) -> int:
    """Read a node, or connections such as a -> {b c}, or skip an attribute of the graph such as rankdir=LR."""
    names, place = _operand(tokens, place)
    if _mark(tokens, place) == "=":
        return place + 2
    chain = [names]
    while _mark(tokens, place) in ("->", "--"):
        names, place = _operand(tokens, place + 1)
        chain.append(names)
    for name in (name for some in chain for name in some):
        if len(graph.nodes) < MAX_LINES:
            graph.nodes.setdefault(name, {})
    attributes, place = _attributes(tokens, place)
    if len(chain) == 1:
        for name in graph.nodes.keys() & set(chain[0]):
            graph.nodes[name] |= attributes
    for starts, ends in zip(chain, chain[1:], strict=False):
        for edge in ((start, end) for start in starts for end in ends):
            if len(graph.edges) < MAX_EDGES and graph.nodes.keys() >= set(edge):
                graph.edges[edge] = None
    return place


def _mark(tokens: Sequence[_Token], place: int) -> str:
    """The mark at a place; empty if there is none."""
    return tokens[place][0] if place < len(tokens) and tokens[place][1] else ""


def _operand(tokens: Sequence[_Token], place: int) -> tuple[list[str], int]:
    """The names of an end of a connection, one or a group in braces, and the place behind them."""
    if _mark(tokens, place) == "{":
        names, place = [], place + 1
        while place < len(tokens) and _mark(tokens, place) != "}":
            if not tokens[place][1]:
                names.append(tokens[place][0])
            place += 1
        return names, place + 1
    if place >= len(tokens) or tokens[place][1]:
        return [], place
    name, place = tokens[place][0], place + 1
    return [name], place + 2 if _mark(tokens, place) == ":" else place  # a port of a node is skipped


def _attributes(tokens: Sequence[_Token], place: int) -> tuple[dict[str, str], int]:
    """The attributes in brackets, if there are any, and the place behind them."""
    found: dict[str, str] = {}
    if _mark(tokens, place) != "[":
        return found, place
    place += 1
    while place < len(tokens) and _mark(tokens, place) != "]":
        around = tokens[place - 1 : place + 2]
        if _mark(tokens, place) == "=" and [is_mark for _, is_mark in around] == [False, True, False]:
            found[around[0][0].lower()] = around[2][0]
        place += 1
    return found, place + 1


def shapes_of(graph: Graph, kinds: Kinds) -> Diagram:
    """The graph as a diagram, all shapes at (0, 0), numbered in the order in which the graph names them.

    A shape has the look of its kind, and is larger if its label would not fit.
    """
    numbers = {name: number for number, name in enumerate(graph.nodes)}
    nodes = []
    for name, attributes in graph.nodes.items():
        look = kinds.look_of(attributes.get("kind", ""))
        targets = tuple(sorted(numbers[end] for start, end in graph.edges if start == name))
        label = " ".join(attributes.get("label", name).split())[:MAX_LABEL] if kinds.labelled else None
        nodes.append(_with_room(Node(numbers[name], 0, 0, *look, targets, label)))
    return Diagram(tuple(nodes), line_count=len(nodes), well_formed_count=len(nodes))


def _with_room(node: Node) -> Node:
    for _ in range(_GROWTHS):
        if labels_fit([node]):
            break
        node = replace(node, width=node.width + _WIDER, height=node.height + _HIGHER)
    return node
