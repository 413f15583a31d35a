"""The flowchart requests that the embedded model is pre-trained on. Their wordings differ from those of the CSVs.

While a request is built, each name in it is enclosed in marks. They hold the number of the shape and of the shape it is
connected to, if any. `unmark` removes the marks and returns what they held and where they were.
"""

import re
from dataclasses import dataclass
from random import Random

import networkx as nx

from create_dataset.flowchart_wording import NOUNS, TOPICS, named_in_order
from create_dataset.graphs import flowchart
from create_dataset.network_wording import NUMBER_WORDS, enumerate_words

ALL_TOPICS = tuple(dict.fromkeys(topic for topics in TOPICS.values() for topic in topics.split()))
OPENERS = (
    "Picture this:", "A chart of shapes.", "Turn this into a diagram.", "Lay this out.", "Shapes wanted:",
    "As a diagram:", "Draw", "Please sketch", "Show", "Make", "I need", "Can you draw", "Here is a flow.",
    "Flowchart of", "A diagram of",
    "For my slides,", "I would like to see", "Here is what our pipeline does:", "Sketch the following system.",
)  # fmt: skip
_AFTER = (
    "takes", "reads", "uses", "gets", "follows", "receives", "is fed by", "comes after", "depends on", "needs", "wants",
    "is made from", "is built on", "stands behind", "draws on", "listens to",
)  # fmt: skip
_BEFORE = (
    "feeds", "goes to", "leads to", "points to", "passes on to", "is followed by", "is connected to", "sends to",
    "gives to", "serves", "fills", "calls", "writes to", "starts", "triggers", "flows into",
)  # fmt: skip
_LEAD = ("Then", "Next", "After that", "Finally", "Also", "Now", "Later", "Second", "And then")
_SOURCE = (
    "First comes", "It starts with", "We begin with", "There is also", "Another source is", "Add", "Take", "Given",
)  # fmt: skip
_OPEN, _CLOSE, _ZERO = "\ue000", "\ue001", 0xE100  # private-use characters: they occur in no request
_GROUPS = 500  # a mark names a group if its second number is at least this
_MARKED = re.compile(f"{_OPEN}(.)(.)([^{_CLOSE}]*){_CLOSE}")


@dataclass(frozen=True, slots=True)
class Mention:
    """The characters from `start` to `end` of a request, which name `shape`.

    If they also state a connection, `source` is the shape that points to `shape`, or `target` is the shape that it
    points to. In a network they name a `group` of shapes, counted from 0, and `shape` is the first of the group.
    """

    start: int
    end: int
    shape: int
    source: int | None = None
    target: int | None = None
    group: int | None = None


def _mark(text: str, shape: int, source: int | None = None, target: int | None = None) -> str:
    partner = 0 if source is None and target is None else 1 + source if target is None else 101 + target
    return f"{_OPEN}{chr(_ZERO + shape)}{chr(_ZERO + partner)}{text}{_CLOSE}"


def mark_group(text: str, shape: int, group: int) -> str:
    """Mark the text as the name of a group of shapes whose first is `shape`."""
    return f"{_OPEN}{chr(_ZERO + shape)}{chr(_ZERO + _GROUPS + group)}{text}{_CLOSE}"


def unmark(text: str) -> tuple[str, list[Mention]]:
    """Return the text without its marks, and a mention for each of them."""
    plain, mentions, length, done = [], [], 0, 0
    for match in _MARKED.finditer(text):
        plain.append(text[done : match.start()])
        length += len(plain[-1])
        shape, partner = ord(match[1]) - _ZERO, ord(match[2]) - _ZERO
        source = partner - 1 if 0 < partner <= 100 else None
        target = partner - 101 if 100 < partner < _GROUPS else None
        group = partner - _GROUPS if partner >= _GROUPS else None
        mentions.append(Mention(length, length + len(match[3]), shape, source, target, group))
        plain.append(match[3])
        length += len(match[3])
        done = match.end()
    return "".join([*plain, text[done:]]), mentions


def in_words(rng: Random, value: int) -> str:
    """Write a number as a word or as digits."""
    return str(value) if value >= len(NUMBER_WORDS) or rng.random() < 0.5 else NUMBER_WORDS[value]


def flow(rng: Random, more: bool = False) -> tuple[str, nx.DiGraph]:
    """Return a marked request for a flowchart, and its graph. Each node has the `name` that the request uses.

    With `more`, some requests do not list the shapes: they only say what each one leads to.
    """
    graph = flowchart(rng, rng.choice(("chain", "branch", "join", "diamond", "mixed", "mixed")))
    topics = rng.sample(ALL_TOPICS, len(graph))
    for number, topic in zip(graph, topics, strict=True):
        kind = rng.choice(tuple(NOUNS))
        graph.nodes[number].update(kind=kind, name=f"{topic} {rng.choice(NOUNS[kind])}")
    opener = rng.choice(OPENERS) if rng.random() < 0.7 else f"{in_words(rng, len(graph))} shapes:"
    if more and rng.random() < 0.2 and named_in_order(graph):
        return f"{opener} {_forward(rng, graph)}", graph
    is_chain = all(graph.out_degree(number) <= 1 and graph.in_degree(number) <= 1 for number in graph)
    form = _chain if is_chain and rng.random() < 0.6 else rng.choice((_arrows, _sentences, _sentences, _table))
    return f"{opener} {form(rng, graph)}", graph


def _named(graph: nx.DiGraph, shape: int, source: int | None = None, target: int | None = None) -> str:
    return _mark(graph.nodes[shape]["name"], shape, source, target)


def _chain(rng: Random, graph: nx.DiGraph) -> str:
    names = [_named(graph, number) for number in graph]
    form = rng.randrange(4)
    if form == 0:
        return "\n" + "\n".join(f"{k}{rng.choice(')/')} {name}" for k, name in enumerate(names, rng.randint(0, 1)))
    if form == 1:
        return f"start at the {names[0]}, go on with the {', the '.join(names[1:-1])}, end at the {names[-1]}"
    return rng.choice((" -> ", ", then ", " => ", ", ", " to ", " > ", ", then the ", " | ")).join(names)


def _arrows(rng: Random, graph: nx.DiGraph) -> str:
    """All shapes, then arrows between their names, or between letters that label them."""
    letters = rng.choice(("ABCDEFGHIJKLMNO", "abcdefghijklmno", None))

    def label(shape: int, source: int | None = None) -> str:
        return _mark(letters[shape], shape, source) if letters else _named(graph, shape, source)

    after_letter = rng.choice((": ", " = ", ") "))
    listed = [f"{label(number)}{after_letter}" * bool(letters) + _named(graph, number) for number in graph]
    arrow = rng.choice((" -> ", " to ", " => ", " into ", " > "))
    arrows = [
        f"{label(a)}{arrow}{enumerate_words([label(b, source=a) for b in sorted(graph.successors(a))])}"
        for a in graph
        if graph.out_degree(a)
    ]
    return (
        rng.choice((", ", "\n", "; ")).join(listed)
        + rng.choice((". ", "\n", ". Links: "))
        + rng.choice((", ", "; ", "\n")).join(arrows)
    )


def _sentences(rng: Random, graph: nx.DiGraph) -> str:
    article = rng.choice(("the ", "the ", "", "a "))
    after, before = rng.choice(_AFTER), rng.choice(_BEFORE)
    parts = []
    if rng.random() < 0.3:
        parts.append(", ".join(_named(graph, number) for number in graph))
        parts += _leading_to(graph, article, before)
    else:
        for number in graph:
            sources = [article + _named(graph, source, target=number) for source in sorted(graph.predecessors(number))]
            lead = rng.choice(_LEAD if sources else _SOURCE)
            parts.append(
                f"{lead} {article}{_named(graph, number)}" + (f" {after} {enumerate_words(sources)}" if sources else "")
            )
    return rng.choice((". ", "; ", ".\n")).join(parts) + "."


def _table(rng: Random, graph: nx.DiGraph) -> str:
    word = rng.choice(("from", "after", "input:", "<-", "behind", "fed by"))
    opening, closing = rng.choice(((" (", ")"), (", ", ""), (" ", "")))
    lines = []
    for number in graph:
        sources = [_named(graph, source, target=number) for source in sorted(graph.predecessors(number))]
        lines.append(
            _named(graph, number) + (f"{opening}{word} {enumerate_words(sources)}{closing}" if sources else "")
        )
    bullet = rng.choice(("- ", "* ", "", "+ "))
    return "\n" + "\n".join(bullet + line for line in lines)


def _forward(rng: Random, graph: nx.DiGraph) -> str:
    article, before = rng.choice(("the ", "the ", "", "a ")), rng.choice(_BEFORE)
    return rng.choice((". ", "; ", ".\n")).join(_leading_to(graph, article, before)) + "."


def _leading_to(graph: nx.DiGraph, article: str, before: str) -> list[str]:
    """Return a text such as "A feeds B and C" for each shape with outgoing connections."""
    return [
        f"{article}{_named(graph, number)} {before} "
        + enumerate_words([article + _named(graph, end, source=number) for end in sorted(graph.successors(number))])
        for number in graph
        if graph.out_degree(number)
    ]
