"""Requests for flowcharts, in many wordings. Each wording names the shapes in the order of their numbers."""

from collections.abc import Sequence
from random import Random

import networkx as nx

from create_dataset.network_wording import count, enumerate_words

NOUNS = {
    "data": ("data",),
    "text": ("text", "document"),
    "picture": ("picture", "image"),
    "database": ("database",),
    "chart": ("chart", "plot"),
    "function": ("function",),
    "process": ("process", "step"),
    "model": ("model",),
}
TOPICS = {
    "data": "sales customer sensor weather traffic order price survey health sports energy training test log bank",
    "text": "review news email contract legal product support travel medical school blog letter court press manual",
    "picture": "street satellite face x-ray plant road product animal crop drone night kitchen harbour cell leaf",
    "database": "user stock film patient music library payment address recipe parts ticket museum flight tax station",
    "chart": "revenue bar line error trend profit growth pie risk demand result summary cost monthly yearly",
    "function": "cleaning sorting filter scaling counting parsing merging hashing rounding cropping joining split mean "
    "lookup ranking",
    "process": "approval shipping checking packing billing labelling printing backup audit planning booking delivery "
    "repair sign-up refund",
    "model": "language forecast vision sentiment ranking fraud speech churn topic translation detection pricing "
    "matching routing scoring",
}
_OPENERS = (
    "Draw a flowchart.",
    "Please draw this flow.",
    "I need a flow diagram.",
    "Sketch our pipeline.",
    "Make a flowchart of the following.",
    "Here is how our system works.",
    "Can you draw this?",
    "Flowchart:",
    "A flow diagram, please.",
    "Show this as a diagram.",
)
_TAKES = ("takes", "reads", "uses", "gets", "follows", "receives", "is fed by", "comes after")
_FEEDS = ("feeds", "goes to", "leads to", "points to", "passes on to", "is followed by", "is connected to")


def name_shapes(rng: Random, graph: nx.DiGraph) -> list[str]:
    """Return a name such as "sales data" for each node, in the order of the node numbers. No name occurs twice."""
    names: list[str] = []
    for number in sorted(graph):
        kind = graph.nodes[number]["kind"]
        free = [topic for topic in TOPICS[kind].split() if not any(name.startswith(topic + " ") for name in names)]
        names.append(f"{rng.choice(free)} {rng.choice(NOUNS[kind])}")
    return names


def flowchart_request(rng: Random, graph: nx.DiGraph) -> str:
    """Ask for a flowchart, in a random wording that fits the graph."""
    names = name_shapes(rng, graph)
    wordings = [_steps, _shapes_then_arrows, _bullets, _letters]
    if all(graph.out_degree(number) <= 1 and graph.in_degree(number) <= 1 for number in graph):
        wordings = [_chain, _chain, _steps, _bullets]
    elif named_in_order(graph):
        wordings.append(_feeds)
    opener = rng.choice(_OPENERS)
    if rng.random() < 0.25:
        opener = f"Draw a flowchart of {count(rng, len(names), 'shape')}."
    return f"{opener} {rng.choice(wordings)(rng, graph, names)}"


def _chain(rng: Random, graph: nx.DiGraph, names: Sequence[str]) -> str:
    form = rng.randrange(5)
    if form == 0:
        return " -> ".join(names)
    if form == 1:
        return (
            f"First the {names[0]}, "
            + "".join(f"then the {name}, " for name in names[1:-1])
            + f"finally the {names[-1]}."
        )
    if form == 2:
        return f"It goes from the {names[0]} through the {enumerate_words(names[1:-1])} to the {names[-1]}."
    if form == 3:
        return f"In this order: {', '.join(names)}."
    return "\n" + "\n".join(f"{k}. {name}" for k, name in enumerate(names, start=1))


def _steps(rng: Random, graph: nx.DiGraph, names: Sequence[str]) -> str:
    """One sentence per shape: the shape and where its input comes from."""
    takes = rng.choice(_TAKES)
    sentences = []
    for number, name in enumerate(names):
        sources = [f"the {names[source]}" for source in sorted(graph.predecessors(number))]
        if number == 0:
            sentences.append(
                rng.choice((f"First comes the {name}.", f"It starts with the {name}.", f"We begin with the {name}."))
            )
        elif not sources:
            sentences.append(
                rng.choice((f"There is also the {name}.", f"Another source is the {name}.", f"Add the {name}."))
            )
        else:
            lead = "Finally" if number == len(names) - 1 else rng.choice(("Then", "Next", "After that", "Then"))
            sentences.append(f"{lead} the {name} {takes} {enumerate_words(sources)}.")
    return " ".join(sentences)


def _shapes_then_arrows(rng: Random, graph: nx.DiGraph, names: Sequence[str]) -> str:
    """A list of all shapes, then a list of all connections."""
    shapes = f"{rng.choice(('The shapes are', 'It has', 'Shapes:'))} {enumerate_words(names)}."
    arrows = _arrows(rng, graph, names)
    return f"{shapes} {rng.choice(('Connections:', 'Arrows:', 'Connect'))} {'; '.join(arrows)}."


def _arrows(rng: Random, graph: nx.DiGraph, labels: Sequence[str]) -> list[str]:
    """Return a text such as "A -> B and C" for each node with outgoing connections."""
    arrow = rng.choice((" -> ", " to "))
    return [
        f"{labels[number]}{arrow}{enumerate_words([labels[target] for target in sorted(graph.successors(number))])}"
        for number in sorted(graph)
        if graph.out_degree(number)
    ]


def _bullets(rng: Random, graph: nx.DiGraph, names: Sequence[str]) -> str:
    """One line per shape, with the names of the shapes that point to it."""
    word = rng.choice(("from", "after", "input:"))
    lines = []
    for number, name in enumerate(names):
        sources = [names[source] for source in sorted(graph.predecessors(number))]
        lines.append(f"- {name} ({word} {enumerate_words(sources)})" if sources else f"- {name}")
    return "\n" + "\n".join(lines)


def _letters(rng: Random, graph: nx.DiGraph, names: Sequence[str]) -> str:
    """One line per shape, labelled with a letter, then the connections between the letters."""
    letters = "ABCDEFGHIJKLMNO"
    shapes = "\n".join(f"{letters[number]}: {name}" for number, name in enumerate(names))
    arrows = _arrows(rng, graph, letters)
    return f"\n{shapes}\n{', '.join(arrows)}"


def _feeds(rng: Random, graph: nx.DiGraph, names: Sequence[str]) -> str:
    """One sentence per shape with outgoing connections: the shape and its targets."""
    feeds = rng.choice(_FEEDS)
    sentences = []
    for number in sorted(graph):
        targets = [f"the {names[target]}" for target in sorted(graph.successors(number))]
        if targets:
            sentences.append(f"The {names[number]} {feeds} {enumerate_words(targets)}.")
    return " ".join(sentences)


def named_in_order(graph: nx.DiGraph) -> bool:
    """True if naming each shape with its targets, as _feeds does, mentions the shapes in the order of their numbers."""
    order: list[int] = []
    for number in sorted(graph):
        if graph.out_degree(number):
            order += [node for node in (number, *sorted(graph.successors(number))) if node not in order]
    return order == sorted(graph)
