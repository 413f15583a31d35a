"""The requests that the embedded model is pre-trained on, in wordings of their own.

While a request is put together, each name in it stands between marks that tell which shape it names and with which it
connects it; `unmark` takes the marks out and says where they were.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from random import Random

import networkx as nx

from create_dataset.flowchart_wording import NOUNS, TOPICS
from create_dataset.graphs import flowchart, layer_network, neuron_network
from create_dataset.network_wording import NUMBER_WORDS, enumerate_words

ALL_TOPICS = tuple(dict.fromkeys(topic for topics in TOPICS.values() for topic in topics.split()))
_OPENERS = (
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
_NEURONS = (
    "neuron by neuron", "single neurons", "every neuron a circle", "each node visible",
    "all neurons, fully connected",
)  # fmt: skip
_LAYERS = (
    "layer by layer", "one box per layer", "only layers, no neurons", "a single shape for each layer",
    "layers as boxes",
)  # fmt: skip
_OPEN, _CLOSE, _ZERO = "\ue000", "\ue001", 0xE100  # private use: no request holds them
_MARKED = re.compile(f"{_OPEN}(.)(.)([^{_CLOSE}]*){_CLOSE}")


@dataclass(frozen=True, slots=True)
class Mention:
    """Characters `start` to `end` of a request name `shape`.

    Where they say that it is connected, `source` is the shape it is reached from or `target` the one it points to.
    """

    start: int
    end: int
    shape: int
    source: int | None = None
    target: int | None = None


def _mark(text: str, shape: int, source: int | None = None, target: int | None = None) -> str:
    partner = 0 if source is None and target is None else 1 + source if target is None else 101 + target
    return f"{_OPEN}{chr(_ZERO + shape)}{chr(_ZERO + partner)}{text}{_CLOSE}"


def unmark(text: str) -> tuple[str, list[Mention]]:
    """The text without its marks, and what was marked."""
    plain, mentions, length, done = [], [], 0, 0
    for match in _MARKED.finditer(text):
        plain.append(text[done : match.start()])
        length += len(plain[-1])
        shape, partner = ord(match[1]) - _ZERO, ord(match[2]) - _ZERO
        source = partner - 1 if 0 < partner <= 100 else None
        target = partner - 101 if partner > 100 else None
        mentions.append(Mention(length, length + len(match[3]), shape, source, target))
        plain.append(match[3])
        length += len(match[3])
        done = match.end()
    return "".join([*plain, text[done:]]), mentions


def _number(rng: Random, value: int) -> str:
    return str(value) if value >= len(NUMBER_WORDS) or rng.random() < 0.5 else NUMBER_WORDS[value]


def neurons(rng: Random) -> tuple[str, nx.DiGraph]:
    """A request for a dense network drawn neuron by neuron, and its graph."""
    sizes = [rng.randint(1, 6) for _ in range(rng.randint(2, 5))]
    if len(sizes) > 3 and rng.random() < 0.2:
        sizes[1:-1] = [sizes[1]] * (len(sizes) - 2)
    spoken = [_number(rng, size) for size in sizes]
    form = rng.randrange(5)
    if len(sizes) > 3 and len(set(sizes[1:-1])) == 1 and rng.random() < 0.7:
        times = _number(rng, len(sizes) - 2)
        body = f"{spoken[0]} in, {times} {rng.choice(('times', 'x', 'layers of'))} {spoken[1]} hidden, {spoken[-1]} out"
    elif form == 0:
        body = rng.choice(("-", ", ", " then ", "/", " to ", " feed ")).join(spoken)
        body = f"{rng.choice(('network', 'MLP', 'perceptron', 'dense network', 'net'))} {body}"
    elif form == 1:
        body = f"{spoken[0]} in, {', '.join(spoken[1:-1] or ['none'])} hidden, {spoken[-1]} out"
    elif form == 2:
        names = ["input", *(f"hidden layer {k}" for k in range(1, len(sizes) - 1)), "output"]
        body = "\n" + "\n".join(f"{name} = {size}" for name, size in zip(names, spoken, strict=True)) + "\n"
    elif form == 3:
        words = [f"{size} {rng.choice(('neuron', 'node', 'circle', 'input', 'output'))}s" for size in spoken]
        body = f"{rng.choice(('from', 'first', 'start:'))} {', then '.join(words)}"
    else:
        hidden = enumerate_words(spoken[1:-1] or ["none"])
        body = f"hidden sizes {hidden} between {spoken[0]} inputs and {spoken[-1]} outputs"
    return _around(rng, body, rng.choice(_NEURONS)), neuron_network(sizes)


def layers(rng: Random) -> tuple[str, nx.DiGraph]:
    """A request for a network drawn layer by layer, and its graph."""
    form = rng.randrange(5)
    if form <= 1:
        kinds = ["input layer", *["hidden layer"] * rng.randint(0, 8), "output layer"]
        if len(kinds) > 2 and form == 0:
            body = f"{_number(rng, len(kinds) - 2)} hidden {rng.choice(('layers', 'boxes'))} between input and output"
        else:
            body = _runs(rng, kinds)
    elif form == 2:
        repeats = rng.randint(2, 4)
        block = ["convolution layer"] * rng.randint(1, 2) + ["pooling layer"]
        dense = ["dense layer"] * rng.randint(0, 2)
        kinds = ["input layer", *block * repeats, *dense, "output layer"]
        inside = rng.choice((" and ", ", ", " + ")).join(_short(rng, kind) for kind in block)
        times = _number(rng, repeats)
        blocks = rng.choice((f"({inside}) x {times}", f"{times} times ({inside})", f"{times} repeats of {inside}"))
        body = ", then ".join(["input", blocks, *([_runs(rng, dense)] if dense else []), "output"])
    else:
        inner = [rng.choice(("convolution layer", "pooling layer", "dense layer")) for _ in range(rng.randint(1, 6))]
        repeated = [kind for kind in inner for _ in range(rng.choice((1, 1, 1, 2, 2, 3)))]
        kinds = ["input layer", *repeated, "output layer"]
        body = _runs(rng, kinds)
    return _around(rng, body, rng.choice(_LAYERS)), layer_network(kinds)


def _runs(rng: Random, kinds: Sequence[str]) -> str:
    short = rng.random() < 0.3
    joint = rng.choice((", ", " -> ", " then ", "\n", " - ", ", then "))
    return joint.join(_run(rng, kind, len(list(group)), short) for kind, group in groupby(kinds))


def _run(rng: Random, kind: str, times: int, short: bool) -> str:
    name = _short(rng, kind) if short else kind
    if rng.random() < 0.2 and times == 1:
        name = f"{name} of {rng.randint(2, 900)} units"
    if times == 1:
        return name if rng.random() < 0.6 else f"a {name}"
    if rng.random() < 0.3:
        return ", ".join([name] * times)
    return rng.choice((f"{_number(rng, times)} {name}s", f"{_number(rng, times)} x {name}", f"{name} x {times}"))


def _short(rng: Random, kind: str) -> str:
    return {"convolution layer": "conv", "pooling layer": "pool"}.get(kind, kind.removesuffix(" layer"))


def _around(rng: Random, body: str, how: str) -> str:
    parts = [rng.choice(_OPENERS), body]
    parts.insert(rng.randrange(3), how)
    return " ".join(parts) + rng.choice((".", "", "?", ", please."))


def flow(rng: Random) -> tuple[str, nx.DiGraph]:
    """A marked request for a flowchart, and its graph; each node of it carries the `name` it goes by."""
    graph = flowchart(rng, rng.choice(("chain", "branch", "join", "diamond", "mixed", "mixed")))
    topics = rng.sample(ALL_TOPICS, len(graph))
    for number, topic in zip(graph, topics, strict=True):
        kind = rng.choice(tuple(NOUNS))
        graph.nodes[number].update(kind=kind, name=f"{topic} {rng.choice(NOUNS[kind])}")
    opener = rng.choice(_OPENERS) if rng.random() < 0.7 else f"{_number(rng, len(graph))} shapes:"
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
    """All shapes, then arrows between their names or between marks set before them."""
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
        for number in graph:
            if graph.out_degree(number):
                targets = [
                    article + _named(graph, target, source=number) for target in sorted(graph.successors(number))
                ]
                parts.append(f"{article}{_named(graph, number)} {before} {enumerate_words(targets)}")
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
