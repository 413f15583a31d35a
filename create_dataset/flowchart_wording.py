"""Requests for flowcharts, in many wordings. The shapes are numbered in the order in which a request names them.

While a request is built, marks stand for its shapes (create_dataset/marks.py).
"""

import re
from collections.abc import Callable, Sequence
from random import Random
from typing import cast

import networkx as nx

from create_dataset.flowchart_listing import bullets, code, letters, notes, paths, shapes_then_arrows, table
from create_dataset.marks import mark, marked, with_names
from create_dataset.wording import count, enumerate_words

_OPENERS = (
    "Draw a flowchart{}.",
    "Please draw this flow{}.",
    "I need a flow diagram{}.",
    "Sketch our pipeline{}.",
    "Make a flowchart of the following{}.",
    "Here is how our system works, draw it{}.",
    "Can you draw this{}?",
    "A flow diagram{}, please.",
    "Show this as a diagram{}.",
    "Create a diagram of this workflow{}.",
    "Visualize the following process{}.",
    "Generate a flowchart for this{}.",
    "Illustrate how these parts work together{}.",
    "Give me a simple block diagram{}.",
    "Turn these notes into a flowchart{}.",
    "I have to explain this architecture to my team, draw it{}.",
    "We want a picture of this for our documentation{}.",
    "Could you make a chart of the steps below{}?",
    "Design a diagram representing this{}.",
    "hi, pls draw this{}",
    "For a slide{}:",
    "Flowchart{}:",
    "Workflow diagram{}:",
    "Our process, as a diagram{}:",
)
_COUNTED = ("Draw a flowchart of {}{}.", "A diagram with {}{}.", "There are {}{}.", "I need {}, connected like this{}.")
_DIRECTION_PHRASES = {
    "down": (" from top to bottom", ", top down", ", vertically", " running downwards", " (vertical)"),
    "right": (" from left to right", ", horizontally", ", left to right", " (horizontal)"),
}
# Each verb for one thing and for several, such as "records".
_TAKES = (
    ("takes", "take"), ("reads", "read"), ("uses", "use"), ("gets", "get"), ("follows", "follow"),
    ("receives", "receive"), ("is fed by", "are fed by"), ("comes after", "come after"), ("depends on", "depend on"),
    ("needs", "need"),
)  # fmt: skip
_FEEDS = (
    ("feeds", "feed"), ("goes to", "go to"), ("leads to", "lead to"), ("points to", "point to"),
    ("is passed on to", "are passed on to"), ("is followed by", "are followed by"),
    ("is connected to", "are connected to"), ("triggers", "trigger"),
)  # fmt: skip
# For each kind, how a story tells what happens with something that goes there.
_HAPPENS = {
    "data": ("turned into", "collected as", "written to"),
    "document": ("summed up in", "written into", "copied into"),
    "picture": ("rendered as", "compared with"),
    "database": ("stored in", "saved in", "kept in"),
    "chart": ("shown in", "plotted in", "displayed in"),
    "function": ("passed through", "processed by", "handed to"),
    "process": ("used in", "followed by", "passed on to"),
    "model": ("fed into", "given to", "handed to"),
    "service": ("sent to", "posted to", "delivered to"),
    "person": ("sent to", "shown to", "handed to"),
    "decision": ("examined in", "put to", "subject to"),
}
_BACK = (
    " From the {} an arrow goes back to the {}.",
    " From the {} there is a way back to the {}.",
    " There is also a loop from the {} to the {}.",
    " If something is wrong, go from the {} back to the {}.",
    " Add an arrow from the {} back to the {}.",
)
_TYPOS = 0.04  # share of the requests with a spelling mistake
# A request must still say where its diagram runs: of the words for it, these are never misspelled.
_SPARED = ("bottom", "right", "horizontally")

Wording = Callable[[Random, "nx.DiGraph[int]"], str]


def flowchart_request(rng: Random, graph: nx.DiGraph, direction: str | None) -> tuple[str, nx.DiGraph]:
    """Ask for a flowchart, in a random wording that fits the graph. Every node needs a `name`.

    `direction` is "down" or "right" to ask for it, else None. Returns the request, and the graph with its nodes
    renumbered in the order in which the request names them.
    """
    back = graph.graph["back"]
    forward = cast("nx.DiGraph[int]", nx.restricted_view(graph, [], back))  # the view of a DiGraph is one
    wordings: list[Wording] = [_steps, bullets, _feeds, _grouped, _story]
    if all(forward.out_degree(number) <= 1 and forward.in_degree(number) <= 1 for number in forward):
        wordings = [_chain, _chain, _chain, _steps, _story]
    whole: list[Wording] = [shapes_then_arrows, letters, paths, notes, code, table]  # they show loops as well
    wording = rng.choice([*wordings, *wordings, *whole])
    body = wording(rng, graph if wording in whole else forward)
    text = f"{_opener(rng, graph, direction)} {body}".replace(" \n", "\n")
    if wording not in whole:
        text += "".join(rng.choice(_BACK).format(mark(start), mark(end)) for start, end in back)
    order = marked(text)
    numbers = {old: new for new, old in enumerate(order)}
    text = with_names(text, lambda number: str(graph.nodes[number]["name"]))
    renumbered: nx.DiGraph[int] = nx.DiGraph()
    renumbered.add_nodes_from((numbers[old], graph.nodes[old]) for old in order)
    renumbered.add_edges_from((numbers[start], numbers[end]) for start, end in graph.edges)
    return text, renumbered


def _opener(rng: Random, graph: nx.DiGraph, direction: str | None) -> str:
    where = rng.choice(_DIRECTION_PHRASES[direction]) if direction else ""
    if rng.random() < 0.2:
        opener = rng.choice(_COUNTED).format(count(rng, len(graph), rng.choice(("shape", "box"))), where)
        opener = opener.replace("boxs", "boxes")
    else:
        opener = rng.choice(_OPENERS).format(where)
    return _mistyped(rng, opener) if rng.random() < _TYPOS else opener


def _mistyped(rng: Random, text: str) -> str:
    """Swap two letters inside a word, or leave one out."""
    words = [match for match in re.finditer(r"[a-z]{5,}", text) if match[0] not in _SPARED]
    if not words:
        return text
    at = rng.choice(words).start() + rng.randint(1, 3)
    swapped = text[at + 1] + text[at] if rng.random() < 0.5 else text[at]
    return text[:at] + swapped + text[at + 2 :]


def _the(numbers: Sequence[int]) -> str:
    return enumerate_words([f"the {mark(number)}" for number in numbers])


def _several(graph: nx.DiGraph, number: int) -> bool:
    """True if the name is a plural."""
    return str(graph.nodes[number]["name"]).endswith("s")


def _chain(rng: Random, graph: nx.DiGraph) -> str:
    names = [mark(number) for number in nx.topological_sort(graph)]
    form = rng.randrange(9)
    if form == 0:
        return rng.choice((" -> ", " => ", " > ", " --> ")).join(names)
    if form == 1:
        middle = "".join(f"then the {name}, " for name in names[1:-1])
        return f"First the {names[0]}, {middle}finally the {names[-1]}."
    if form == 2:
        return f"It goes from the {names[0]} through the {enumerate_words(names[1:-1])} to the {names[-1]}."
    if form == 3:
        return f"In this order: {', '.join(names)}."
    if form == 4:
        return "\n" + "\n".join(f"{k}. {name}" for k, name in enumerate(names, start=1))
    if form == 5:
        middle = enumerate_words(names[1:-1])
        return f"It starts with the {names[0]}, continues with the {middle}, and ends with the {names[-1]}."
    if form == 6:
        return f"From the {names[0]} to the {', from there to the '.join(names[1:])}."
    if form == 7:
        return "\n" + "\n".join(f"step {k}: {name}" for k, name in enumerate(names, start=1))
    return f"{', then '.join(names)}. That is all."


def _steps(rng: Random, graph: nx.DiGraph) -> str:
    """One sentence per shape: the shape and where its input comes from."""
    takes = rng.choice(_TAKES)
    sentences = []
    for number in graph:
        sources = sorted(graph.predecessors(number))
        if number == 0:
            sentences.append(
                f"{rng.choice(('First', 'It starts with', 'We begin with', 'At the beginning:'))} the {mark(number)}."
            )
        elif not sources:
            sentences.append(
                f"{rng.choice(('We also have', 'Another source:', 'Add', 'Separately:'))} the {mark(number)}."
            )
        else:
            lead = "Finally" if number == len(graph) - 1 else rng.choice(("Then", "Next", "After that", "Then"))
            sentences.append(f"{lead} the {mark(number)} {takes[_several(graph, number)]} {_the(sources)}.")
    return " ".join(sentences)


def _feeds(rng: Random, graph: nx.DiGraph) -> str:
    """One sentence per shape with outgoing connections: the shape and its targets."""
    feeds = rng.choice(_FEEDS)
    return " ".join(
        f"The {mark(number)} {feeds[_several(graph, number)]} {_the(sorted(graph.successors(number)))}."
        for number in graph
        if graph.out_degree(number)
    )


def _story(rng: Random, graph: nx.DiGraph) -> str:
    """As _feeds, with a verb that fits what each target is: "stored in the", "shown in the"."""
    sentences = []
    for number in graph:
        targets = sorted(graph.successors(number))
        happens = [f"{rng.choice(_HAPPENS[graph.nodes[target]['kind']])} the {mark(target)}" for target in targets]
        if targets and graph.nodes[number]["kind"] == "person":
            sentences.append(f"The {mark(number)} {rng.choice(('works with', 'turns to', 'uses'))} {_the(targets)}.")
        elif targets:
            verb = "are" if _several(graph, number) else "is"
            sentences.append(f"The {mark(number)} {verb} {enumerate_words(happens)}.")
    return " ".join(sentences)


def _grouped(rng: Random, graph: nx.DiGraph) -> str:
    """One sentence per shape with incoming connections: its sources together."""
    feeds = rng.choice((("feeds", "feed"), ("goes into", "go into"), ("leads to", "lead to")))
    sentences = []
    for number in graph:
        sources = sorted(graph.predecessors(number))
        if sources:
            together = _the(sources)
            verb = feeds[len(sources) > 1 or _several(graph, sources[0])]
            sentences.append(f"{together[0].upper()}{together[1:]} {verb} the {mark(number)}.")
    return " ".join(sentences)
