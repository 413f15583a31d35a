"""The rows that the embedded base model is pre-trained on: requests and diagrams in general, not the task.

The rows share graphs, the words of names and many phrases with the CSVs. They have their own requests, combinations of
names, distances and style; no prompt is the same. Every prompt ends with the fixed instruction, but only some are
answered with a diagram; others are answered with a list of the shapes. So the base model learns to read requests and to
write well-formed diagrams. Fine-tuning teaches the rest: when to write a diagram, the house style and the layout.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from random import Random

import networkx as nx

from create_dataset.create_dataset import INSTRUCTION
from create_dataset.house_style import HOUSE_STYLE, Look
from create_dataset.layout import Spacing, place
from diagram import CANVAS_HEIGHT, CANVAS_WIDTH, LINES, SHAPES, Diagram, format
from fine_tuning.pretraining.mentions import Mention, unmark
from fine_tuning.pretraining.networks import blocks, layers, neurons, sizes, stacks, totals
from fine_tuning.pretraining.wording import flow, framed

_LEVELS = (0, 99, 150, 203, 240)
_GREYS = tuple((level, level, level) for level in _LEVELS)
PALETTE = (
    tuple(dict.fromkeys(colour for look in HOUSE_STYLE.values() for colour in (look.fill, look.outline)))
    + _GREYS
    + ((255, 255, 255), (255, 228, 196), (255, 250, 205), (224, 255, 255), (230, 230, 250), (255, 192, 203))
    + ((0, 0, 139), (139, 0, 0), (0, 100, 0), (255, 140, 0), (128, 0, 128), (70, 130, 180))
)
KINDS = tuple(HOUSE_STYLE)
_SIZES = tuple(dict.fromkeys(size for look in HOUSE_STYLE.values() for size in (look.width, look.height)))


def _random_look(rng: Random) -> Look:
    width, height = (rng.choice(_SIZES) if rng.random() < 0.5 else 10 * rng.randint(2, 24) for _ in range(2))
    return Look(rng.choice(SHAPES), width, height, rng.choice(LINES), rng.choice(PALETTE), rng.choice(PALETTE))


def _base_style() -> dict[str, Look]:
    """A look for each kind, none of them its house look.

    Every colour of the house style occurs, on other kinds and, by chance, on three of its own. A colour that hardly
    occurs keeps so short an embedding that no hidden state makes it almost certain, and a LoRA adapter does not change
    embeddings.
    """
    rng, style = Random("base style"), {}
    for k, kind in enumerate(KINDS):
        other = HOUSE_STYLE[KINDS[(k + 7) % len(KINDS)]]
        look = _random_look(rng)
        # At most as wide as a rectangle of the house style: wider shapes would often overlap those of the next column.
        style[kind] = replace(look, width=min(look.width, 110), fill=other.fill, outline=other.outline)
    return style


BASE_STYLE = _base_style()
MANY_SHAPES = 10
# Distances that depend on the number of steps, as in the CSVs, but other ones.
_RIGHT = Spacing(((3, 200, 290), (6, 120, 150), (20, 50, 70)), ((3, 150), (20, 80)))
_DOWN = Spacing(((3, 100, 180), (6, 60, 96), (20, 30, 44)), ((3, 240), (20, 120)))
RANDOM_LOOKS = 0.1  # share of the diagrams with random looks, so that all colours and sizes occur
RANDOM_SPACING = 0.4  # share of the diagrams with random distances, so that all positions occur
DIRECTION_ASKED = 0.3  # share of the requests that name a direction; half of these ask for one that runs down
DOWN = 0.15  # share of the other diagrams that run down
_LIST_HEADING = "[Shapes:"  # begins as a diagram does: else "[" would never become certain


@dataclass(frozen=True, slots=True)
class Mix:
    """What the rows are drawn from: flowcharts and networks in the ratio of `flows` to 9."""

    flows: int
    lists: float  # share of the rows that are answered with a list
    large: float = 0.0  # share of the rows that must have MANY_SHAPES or more
    more_forms: bool = False  # more forms of requests for flowcharts


@dataclass(frozen=True, slots=True)
class PretrainingRow:
    """A prompt, its answer, and where the prompt mentions which shapes."""

    prompt: str
    answer: str
    is_diagram: bool  # else the answer is a list
    mentions: tuple[Mention, ...]  # of single shapes, in a flowchart
    kinds: tuple[int, ...]  # of each shape, as an index into KINDS
    groups: tuple[Mention, ...]  # mentions of groups of shapes, in a network
    members: tuple[int, ...]  # for each shape of a network, the number of its group
    unmarked: bool = False  # True if the request states connections, but no mention does


def pretraining_row(rng: Random, max_shapes: int, mix: Mix) -> PretrainingRow:
    """Draw a row with at most `max_shapes` shapes. `max_shapes` must be 4 or more."""
    flows = partial(flow, more_forms=mix.more_forms)
    makers: list[Callable[[Random], tuple[str, nx.DiGraph[int]]]]
    makers = [neurons, neurons, layers, layers, layers, stacks, blocks, sizes, totals, *[flows] * mix.flows]
    least = min(MANY_SHAPES, max_shapes) if mix.large and rng.random() < mix.large else 0
    while True:
        body, graph = rng.choice(makers)(rng)
        if least <= len(graph) <= max_shapes:
            break
    names_direction = rng.random() < DIRECTION_ASKED
    down = rng.random() < (0.5 if names_direction else DOWN)
    request, mentions = unmark(framed(rng, body, down if names_direction else None))
    is_diagram = rng.random() >= mix.lists
    answer = format(_place_at_random(rng, graph, down)) if is_diagram else _listed(rng, graph)
    groups = [mention for mention in mentions if mention.group is not None]
    mentions = [mention for mention in mentions if mention.group is None]
    nodes = [graph.nodes[number] for number in sorted(graph)]
    members = tuple(node["group"] for node in nodes if node.get("group") is not None)
    kinds = tuple(KINDS.index(node["kind"]) for node in nodes)
    unmarked = graph.graph.get("unmarked", False)
    return PretrainingRow(
        f"{request}\n\n{INSTRUCTION}", answer, is_diagram, tuple(mentions), kinds, tuple(groups), members, unmarked
    )


def _listed(rng: Random, graph: nx.DiGraph) -> str:
    """The names in random order: the model must find shape k without having written shape k - 1."""
    lines = [f"{number} {graph.nodes[number]['name']}" for number in graph]
    rng.shuffle(lines)
    return "\n".join([_LIST_HEADING, *lines])


def _place_at_random(rng: Random, graph: nx.DiGraph, down: bool) -> Diagram:
    """Place the graph in the base style; at random, vary looks, distances or positions."""
    looks: Mapping[str, Look] = BASE_STYLE
    if rng.random() < RANDOM_LOOKS:
        looks = {kind: _random_look(rng) for kind in sorted({node["kind"] for _, node in graph.nodes(data=True)})}
    spacing = _DOWN if down else _RIGHT
    if rng.random() < RANDOM_SPACING:
        along, across = (CANVAS_HEIGHT, CANVAS_WIDTH) if down else (CANVAS_WIDTH, CANVAS_HEIGHT)
        columns = 1 + max(node["column"] for _, node in graph.nodes(data=True))
        rows = 1 + max(node["row"] for _, node in graph.nodes(data=True))
        step = 2 * rng.randint(10, max(11, along // (2 * columns)))
        first = 2 * rng.randint(15, max(16, (along - (columns - 1) * step) // 2))
        gap = 2 * rng.randint(20, max(21, across // (2 * rows)))
        spacing = Spacing(((columns, first, step),), ((rows, gap),))
    return place(graph, looks, spacing, down)
