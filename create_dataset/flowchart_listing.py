"""Flowchart requests in the form of a list: of the shapes and their sources, or of the shapes and the connections.

All but `bullets` can show loops as well. Shapes are named by their marks (create_dataset/marks.py).
"""

from collections.abc import Callable
from random import Random

import networkx as nx

from create_dataset.marks import mark
from create_dataset.wording import enumerate_words


def bullets(rng: Random, graph: nx.DiGraph) -> str:
    """One line per shape, with the names of the shapes that point to it."""
    word = rng.choice(("from", "after", "input:", "needs"))
    lines = []
    for number in graph:
        sources = [mark(source) for source in sorted(graph.predecessors(number))]
        lines.append(f"- {mark(number)} ({word} {enumerate_words(sources)})" if sources else f"- {mark(number)}")
    return "\n" + "\n".join(lines)


def shapes_then_arrows(rng: Random, graph: nx.DiGraph) -> str:
    """A list of all shapes, then a list of all connections."""
    listed = enumerate_words([mark(number) for number in _in_some_order(rng, graph)])
    shapes = f"{rng.choice(('The shapes are', 'It has', 'Shapes:', 'Parts:', 'Nodes:'))} {listed}."
    arrows = "; ".join(_arrows(rng, graph, mark))
    return f"{shapes} {rng.choice(('Connections:', 'Arrows:', 'Connect', 'Links:'))} {arrows}."


def letters(rng: Random, graph: nx.DiGraph) -> str:
    """One line per shape, labelled with a letter or a number, then the connections between these."""
    signs = rng.choice(("ABCDEFGHIJKLMNOPQRST", "abcdefghijklmnopqrst", [str(k) for k in range(1, 21)]))
    order = _in_some_order(rng, graph)
    sign = {number: signs[k] for k, number in enumerate(order)}
    after = rng.choice((": ", ") ", " = "))
    shapes = "\n".join(f"{sign[number]}{after}{mark(number)}" for number in order)
    return f"\n{shapes}\n{', '.join(_arrows(rng, graph, sign.__getitem__))}"


def paths(rng: Random, graph: nx.DiGraph) -> str:
    """Lines such as "a -> b -> c" that cover every connection once."""
    arrow = rng.choice((" -> ", " => ", " --> "))
    left = {number: sorted(graph.successors(number)) for number in graph}
    paths = []
    for number in graph:
        while left[number]:
            path = [number]
            while left[path[-1]]:
                path.append(left[path[-1]].pop(0))
            paths.append(arrow.join(map(mark, path)))
    return "\n" + "\n".join(paths)


def notes(rng: Random, graph: nx.DiGraph) -> str:
    """Notes in the form of YAML: each shape and what it needs."""
    name, needs = rng.choice((("name", "needs"), ("step", "after"), ("id", "inputs")))
    lines = ["steps:"]
    for number in _in_some_order(rng, graph):
        lines.append(f"  - {name}: {mark(number)}")
        if sources := sorted(graph.predecessors(number)):
            lines.append(f"    {needs}: [{', '.join(map(mark, sources))}]")
    return "\n" + "\n".join(lines)


def code(rng: Random, graph: nx.DiGraph) -> str:
    """The connections in the form of a program, or of another diagram language."""
    form = rng.randrange(3)
    if form == 0:
        lines = [f'  "{mark(start)}" -> "{mark(end)}";' for start, end in graph.edges]
        return "\ndigraph {\n" + "\n".join(lines) + "\n}"
    if form == 1:
        letter = "nsp"[len(graph) % 3]  # ids such as n0, s0 or p0, without a random draw
        ids = {number: f"{letter}{number}" for number in graph}
        lines = [f"  {ids[number]}[{mark(number)}]" for number in graph]
        lines += [f"  {ids[start]} --> {ids[end]}" for start, end in graph.edges]
        return "\ngraph\n" + "\n".join(lines)
    call = rng.choice(("connect", "edge", "add_edge"))
    return "\n" + "\n".join(f'{call}("{mark(start)}", "{mark(end)}")' for start, end in graph.edges)


def table(rng: Random, graph: nx.DiGraph) -> str:
    """A table with one connection per line."""
    head = rng.choice(("from | to", "source | target", "| from | to |"))
    ends = ("| ", " |") if head.startswith("|") else ("", "")
    return "\n" + "\n".join([head, *(f"{ends[0]}{mark(a)} | {mark(b)}{ends[1]}" for a, b in graph.edges)])


def _arrows(rng: Random, graph: nx.DiGraph, label: Callable[[int], str]) -> list[str]:
    """Return a text such as "A -> B and C" for each node with outgoing connections."""
    arrow = rng.choice((" -> ", " to ", " --> "))
    return [
        f"{label(number)}{arrow}{enumerate_words([label(target) for target in sorted(graph.successors(number))])}"
        for number in graph
        if graph.out_degree(number)
    ]


def _in_some_order(rng: Random, graph: nx.DiGraph) -> list[int]:
    """The nodes in their order, or in some requests in a random order."""
    numbers = list(graph)
    if rng.random() < 0.15:
        rng.shuffle(numbers)
    return numbers
