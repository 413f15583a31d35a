"""The rows that the embedded base model is pre-trained on: requests and diagrams in general, not the task.

The rows have their own wordings, distances and style. Every prompt ends with the fixed instruction, but only some are
answered with a diagram; others are answered with a list of the shapes. So the base model learns to read requests and to
write well-formed diagrams. Fine-tuning teaches the rest: when to write a diagram, the house style and the layout.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random

import networkx as nx

from create_dataset.create_dataset import INSTRUCTION
from create_dataset.house_style import HOUSE_STYLE, Look
from create_dataset.layout import Pitch, place
from diagram import CANVAS_HEIGHT, CANVAS_WIDTH, LINES, SHAPES, Diagram, format
from fine_tuning.pretraining.networks import blocks, layer_list, layers, neurons, sizes, stacks, totals
from fine_tuning.pretraining.wording import Mention, flow, unmark

_LEVELS = (0, 99, 150, 203, 240)
_GREYS = tuple((level, level, level) for level in _LEVELS)
PALETTE = (
    tuple(dict.fromkeys(colour for look in HOUSE_STYLE.values() for colour in (look.fill, look.outline)))
    + _GREYS
    + ((255, 255, 255), (255, 228, 196), (255, 250, 205), (224, 255, 255), (230, 230, 250), (255, 192, 203))
    + ((0, 0, 139), (139, 0, 0), (0, 100, 0), (255, 140, 0), (128, 0, 128), (70, 130, 180))
)


def _random_look(rng: Random) -> Look:
    width, height = 10 * rng.randint(2, 14), 10 * rng.randint(2, 24)
    return Look(rng.choice(SHAPES), width, height, rng.choice(LINES), rng.choice(PALETTE), rng.choice(PALETTE))


KINDS = tuple(HOUSE_STYLE)
_style_rng = Random("base style")
BASE_STYLE = {kind: _random_look(_style_rng) for kind in KINDS}  # the same kinds, none with its house look
# Has every colour of the house style, but on other kinds. A colour that hardly occurs keeps so short an embedding that
# no hidden state makes it almost certain (0.88 to 0.96 at most), and a LoRA adapter does not change embeddings.
COMPLETE_STYLE = BASE_STYLE | {
    "text": replace(BASE_STYLE["text"], fill=(222, 235, 247), outline=(203, 24, 29)),
    "picture": replace(BASE_STYLE["picture"], outline=(239, 237, 245)),
    "process": replace(BASE_STYLE["process"], fill=(230, 85, 13), outline=(222, 235, 247)),
    "hidden neuron": replace(BASE_STYLE["hidden neuron"], fill=(239, 237, 245), outline=(230, 85, 13)),
    "pooling layer": replace(BASE_STYLE["pooling layer"], outline=(203, 24, 29)),
}
BASE_PITCH = Pitch(column=90, row=80)
MANY_SHAPES = 10
RANDOM_PITCH, TOP_DOWN, SHIFTED = 0.4, 0.1, 0.1  # shares of diagrams; with them, all distances and positions occur


@dataclass(frozen=True, slots=True)
class Mix:
    """What the rows are drawn from.

    A row asks for a flowchart or for a network, in the ratio of `flows` to 2. Each `more_...` option adds to the
    networks' side of the ratio.
    """

    flows: int
    lists: float  # share of the rows that are answered with a list
    shuffled: bool  # list the shapes in random order: the model must find shape k without having written shape k - 1
    more_wordings: bool = False  # +1: networks that name every layer; also flowcharts that do not list their shapes
    more_networks: bool = False  # +6: more that name every layer, more by neuron, and some that count layers
    more_runs: bool = False  # +3: networks with many runs of equal layers, and more by neuron, to keep their share
    style: Mapping[str, Look] = field(default_factory=lambda: BASE_STYLE)
    random_looks: float = 0.1  # share of the diagrams with random looks, so that all colours and sizes occur
    large: float = 0.0  # share of the rows that must have MANY_SHAPES or more
    heading: str = "Shapes:"  # of shuffled lists


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


def pretraining_row(rng: Random, max_shapes: int, mix: Mix) -> PretrainingRow:
    """Draw a row with at most `max_shapes` shapes. `max_shapes` must be 4 or more."""
    makers = [neurons, layers, *[flow] * mix.flows]
    if mix.more_wordings:
        makers = [neurons, layers, layer_list, *[partial(flow, more=True)] * mix.flows]
    if mix.more_networks:
        makers += [neurons, neurons, layer_list, blocks, sizes, totals]
    if mix.more_runs:
        makers += [neurons, stacks, stacks]
    least = min(MANY_SHAPES, max_shapes) if mix.large and rng.random() < mix.large else 0
    while True:
        request, graph = rng.choice(makers)(rng)
        if least <= len(graph) <= max_shapes:
            break
    request, mentions = unmark(request)
    is_diagram = rng.random() >= mix.lists
    answer = format(_place_at_random(rng, graph, mix)) if is_diagram else _listed(rng, graph, mix)
    groups = [mention for mention in mentions if mention.group is not None]
    mentions = [mention for mention in mentions if mention.group is None]
    members = tuple(group for _, group in graph.nodes(data="group") if group is not None)
    kinds = tuple(KINDS.index(kind) for _, kind in graph.nodes(data="kind"))
    return PretrainingRow(
        f"{request}\n\n{INSTRUCTION}", answer, is_diagram, tuple(mentions), kinds, tuple(groups), members
    )


def _listed(rng: Random, graph: nx.DiGraph, mix: Mix) -> str:
    between = " " if mix.shuffled else ": "  # after a space, a name mostly has the same tokens as in the request
    lines = [f"{number}{between}{node.get('name', node['kind'])}" for number, node in graph.nodes(data=True)]
    if not mix.shuffled:
        return "\n".join(lines)
    rng.shuffle(lines)
    return "\n".join([mix.heading, *lines])


def _place_at_random(rng: Random, graph: nx.DiGraph, mix: Mix) -> Diagram:
    """Place the graph in the mix's style with BASE_PITCH; at random, vary looks, distances, direction or position."""
    looks, pitch = mix.style, BASE_PITCH
    if rng.random() < mix.random_looks:
        looks = {kind: _random_look(rng) for kind in sorted({kind for _, kind in graph.nodes(data="kind")})}
    down = rng.random() < TOP_DOWN
    if rng.random() < RANDOM_PITCH:
        columns = 1 + max(column for _, column in graph.nodes(data="column"))
        room = CANVAS_HEIGHT if down else CANVAS_WIDTH
        pitch = Pitch(column=10 * rng.randint(3, max(4, min(20, room // (10 * columns)))), row=10 * rng.randint(4, 14))
    diagram = place(graph, looks, pitch)
    shift_x, shift_y = (5 * rng.randint(-12, 12), 5 * rng.randint(-12, 12)) if rng.random() < SHIFTED else (0, 0)
    nodes = []
    for node in diagram.nodes:
        x, y = node.x - CANVAS_WIDTH // 2, node.y - CANVAS_HEIGHT // 2
        if down:
            x, y = y, x
        nodes.append(replace(node, x=x + CANVAS_WIDTH // 2 + shift_x, y=y + CANVAS_HEIGHT // 2 + shift_y))
    return replace(diagram, nodes=tuple(nodes))
