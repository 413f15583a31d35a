"""What the embedded base model is pre-trained on: the diagram language in general, not the task.

Its rows have wordings, distances and a style of their own, some of them random looks, so the base model learns to read
requests and to write well-formed diagrams, but neither the house style nor the layout that fine-tuning teaches.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from random import Random

import networkx as nx

from create_dataset.create_dataset import INSTRUCTION
from create_dataset.flowchart_wording import NOUNS, TOPICS
from create_dataset.graphs import flowchart, layer_network, neuron_network
from create_dataset.house_style import HOUSE_STYLE, Look
from create_dataset.layout import Pitch, place
from create_dataset.network_wording import NUMBER_WORDS, enumerate_words
from diagram import CANVAS_HEIGHT, CANVAS_WIDTH, LINES, SHAPES, Diagram, format

_LEVELS = (0, 99, 150, 203, 240)
_GREYS = tuple((level, level, level) for level in _LEVELS)
PALETTE = (
    tuple(dict.fromkeys(colour for look in HOUSE_STYLE.values() for colour in (look.fill, look.outline)))
    + _GREYS
    + ((255, 255, 255), (255, 228, 196), (255, 250, 205), (224, 255, 255), (230, 230, 250), (255, 192, 203))
    + ((0, 0, 139), (139, 0, 0), (0, 100, 0), (255, 140, 0), (128, 0, 128), (70, 130, 180))
)
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
    "First comes",
    "It starts with",
    "We begin with",
    "There is also",
    "Another source is",
    "Add",
    "Take",
    "Given",
)
_NEURONS = (
    "neuron by neuron",
    "single neurons",
    "every neuron a circle",
    "each node visible",
    "all neurons, fully connected",
)
_LAYERS = (
    "layer by layer",
    "one box per layer",
    "only layers, no neurons",
    "a single shape for each layer",
    "layers as boxes",
)


def _random_look(rng: Random) -> Look:
    width, height = 10 * rng.randint(2, 14), 10 * rng.randint(2, 24)
    return Look(rng.choice(SHAPES), width, height, rng.choice(LINES), rng.choice(PALETTE), rng.choice(PALETTE))


_style_rng = Random("base style")
BASE_STYLE = {kind: _random_look(_style_rng) for kind in HOUSE_STYLE}  # the same kinds, none with its house look
RANDOM_LOOKS = 0.15  # share of rows; they keep every colour, shape and size in use


def pretraining_row(rng: Random, max_shapes: int) -> tuple[str, str]:
    """A prompt and its answer, with at most `max_shapes` shapes (4 or more)."""
    while True:
        request, graph = rng.choice((_neurons, _layers, _flow, _flow, _flow))(rng)
        if len(graph) <= max_shapes:
            return f"{request}\n\n{INSTRUCTION}", format(_place_at_random(rng, graph))


def _place_at_random(rng: Random, graph: nx.DiGraph) -> Diagram:
    """The base style or random looks for each kind, random distances, now and then from top to bottom."""
    looks = BASE_STYLE
    if rng.random() < RANDOM_LOOKS:
        looks = {kind: _random_look(rng) for kind in sorted({kind for _, kind in graph.nodes(data="kind")})}
    columns = 1 + max(column for _, column in graph.nodes(data="column"))
    down = rng.random() < 0.2
    room = CANVAS_HEIGHT if down else CANVAS_WIDTH
    pitch = Pitch(column=10 * rng.randint(3, max(4, min(20, room // (10 * columns)))), row=10 * rng.randint(4, 14))
    diagram = place(graph, looks, pitch)
    shift_x, shift_y = (0, 0) if rng.random() < 0.5 else (5 * rng.randint(-12, 12), 5 * rng.randint(-12, 12))
    nodes = []
    for node in diagram.nodes:
        x, y = node.x - CANVAS_WIDTH // 2, node.y - CANVAS_HEIGHT // 2
        if down:
            x, y = y, x
        nodes.append(replace(node, x=x + CANVAS_WIDTH // 2 + shift_x, y=y + CANVAS_HEIGHT // 2 + shift_y))
    return replace(diagram, nodes=tuple(nodes))


def _number(rng: Random, value: int) -> str:
    return str(value) if value >= len(NUMBER_WORDS) or rng.random() < 0.5 else NUMBER_WORDS[value]


def _neurons(rng: Random) -> tuple[str, nx.DiGraph]:
    sizes = [rng.randint(1, 6) for _ in range(rng.randint(2, 5))]
    spoken = [_number(rng, size) for size in sizes]
    form = rng.randrange(5)
    if form == 0:
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


def _layers(rng: Random) -> tuple[str, nx.DiGraph]:
    if rng.random() < 0.4:
        kinds = ["input layer", *["hidden layer"] * rng.randint(0, 8), "output layer"]
    else:
        inner = [rng.choice(("convolution layer", "pooling layer", "dense layer")) for _ in range(rng.randint(1, 6))]
        kinds = [
            "input layer",
            *(kind for kind in inner for _ in range(rng.choice((1, 1, 1, 2, 2, 3)))),
            "output layer",
        ]
    if len(kinds) > 2 and set(kinds[1:-1]) == {"hidden layer"} and rng.random() < 0.4:
        body = f"{_number(rng, len(kinds) - 2)} hidden {rng.choice(('layers', 'boxes'))} between input and output"
    else:
        runs = [(kind, len(list(group))) for kind, group in groupby(kinds)]
        short = rng.random() < 0.3
        body = rng.choice((", ", " -> ", " then ", "\n", " - ", ", then ")).join(
            _run(rng, kind, times, short) for kind, times in runs
        )
    return _around(rng, body, rng.choice(_LAYERS)), layer_network(kinds)


def _run(rng: Random, kind: str, times: int, short: bool) -> str:
    name = (
        {"convolution layer": "conv", "pooling layer": "pool"}.get(kind, kind.removesuffix(" layer")) if short else kind
    )
    if rng.random() < 0.2 and times == 1:
        name = f"{name} of {rng.randint(2, 900)} units"
    if times == 1:
        return name if rng.random() < 0.6 else f"a {name}"
    if rng.random() < 0.3:
        return ", ".join([name] * times)
    return rng.choice((f"{_number(rng, times)} {name}s", f"{_number(rng, times)} x {name}", f"{name} x {times}"))


def _around(rng: Random, body: str, how: str) -> str:
    parts = [rng.choice(_OPENERS), body]
    parts.insert(rng.randrange(3), how)
    return " ".join(parts) + rng.choice((".", "", "?", ", please."))


def _flow(rng: Random) -> tuple[str, nx.DiGraph]:
    graph = flowchart(rng, rng.choice(("chain", "branch", "join", "diamond", "mixed", "mixed")))
    for number in graph:
        graph.nodes[number]["kind"] = rng.choice(tuple(NOUNS))
    topics = rng.sample(ALL_TOPICS, len(graph))
    names = [
        f"{topic} {rng.choice(NOUNS[kind])}" for topic, (_, kind) in zip(topics, graph.nodes(data="kind"), strict=True)
    ]
    form = rng.choice((_arrows, _sentences, _sentences, _table))
    opener = rng.choice(_OPENERS) if rng.random() < 0.7 else f"{_number(rng, len(graph))} shapes:"
    if all(graph.out_degree(number) <= 1 and graph.in_degree(number) <= 1 for number in graph) and rng.random() < 0.6:
        return f"{opener} {rng.choice((' -> ', ', then ', ' => ', ', ', ' to ', ' > ')).join(names)}", graph
    return f"{opener} {form(rng, graph, names)}", graph


def _arrows(rng: Random, graph: nx.DiGraph, names: Sequence[str]) -> str:
    """All shapes, then arrows between their names or between marks set before them."""
    marks = rng.choice(("ABCDEFGHIJKLMNO", "abcdefghijklmno", None))
    label = list(marks) if marks else names
    listed = (
        [f"{mark}{rng.choice((': ', ' = ', ') '))}{name}" for mark, name in zip(marks, names, strict=False)]
        if marks
        else names
    )
    arrow = rng.choice((" -> ", " to ", " => ", " into ", " > "))
    arrows = [
        f"{label[a]}{arrow}{enumerate_words([label[b] for b in sorted(graph.successors(a))])}"
        for a in graph
        if graph.out_degree(a)
    ]
    return (
        rng.choice((", ", "\n", "; ")).join(listed)
        + rng.choice((". ", "\n", ". Links: "))
        + rng.choice((", ", "; ", "\n")).join(arrows)
    )


def _sentences(rng: Random, graph: nx.DiGraph, names: Sequence[str]) -> str:
    article = rng.choice(("the ", "the ", "", "a "))
    after, before = rng.choice(_AFTER), rng.choice(_BEFORE)
    parts = []
    if rng.random() < 0.3:
        parts.append(", ".join(names))
        for number in graph:
            if graph.out_degree(number):
                targets = [article + names[target] for target in sorted(graph.successors(number))]
                parts.append(f"{article}{names[number]} {before} {enumerate_words(targets)}")
    else:
        for number in graph:
            sources = [article + names[source] for source in sorted(graph.predecessors(number))]
            lead = rng.choice(_LEAD if sources else _SOURCE)
            parts.append(
                f"{lead} {article}{names[number]}" + (f" {after} {enumerate_words(sources)}" if sources else "")
            )
    return rng.choice((". ", "; ", ".\n")).join(parts) + "."


def _table(rng: Random, graph: nx.DiGraph, names: Sequence[str]) -> str:
    word = rng.choice(("from", "after", "input:", "<-", "behind", "fed by"))
    opening, closing = rng.choice(((" (", ")"), (", ", ""), (" ", "")))
    lines = []
    for number in graph:
        sources = [names[source] for source in sorted(graph.predecessors(number))]
        lines.append(names[number] + (f"{opening}{word} {enumerate_words(sources)}{closing}" if sources else ""))
    bullet = rng.choice(("- ", "* ", "", "+ "))
    return "\n" + "\n".join(bullet + line for line in lines)
