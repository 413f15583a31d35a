"""What the embedded base model is pre-trained on: requests and diagrams in general, not the task.

Its rows have wordings, distances and a style of their own, and the fixed instruction asks for nothing in them: some
prompts are answered by a diagram, others by a list of the shapes. So the base model learns to read requests and to
write well-formed diagrams, but neither when to write one, nor the house style, nor the layout that fine-tuning teaches.
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
# With every colour of the house style in it, on another kind: the embedding of a colour that hardly occurs stays so
# short that no hidden state gives it more than 0.9 of the probability, and a LoRA adapter leaves embeddings alone.
COMPLETE_STYLE = BASE_STYLE | {
    "text": replace(BASE_STYLE["text"], fill=(222, 235, 247), outline=(203, 24, 29)),
    "picture": replace(BASE_STYLE["picture"], outline=(239, 237, 245)),
    "process": replace(BASE_STYLE["process"], fill=(230, 85, 13), outline=(222, 235, 247)),
    "hidden neuron": replace(BASE_STYLE["hidden neuron"], fill=(239, 237, 245), outline=(230, 85, 13)),
    "pooling layer": replace(BASE_STYLE["pooling layer"], outline=(203, 24, 29)),
}
BASE_PITCH = Pitch(column=90, row=80)
MANY_SHAPES = 10
RANDOM_PITCH, TOP_DOWN, SHIFTED = 0.4, 0.1, 0.1  # shares of rows that keep every distance and place in use


@dataclass(frozen=True, slots=True)
class Mix:
    """Which rows there are: `flows` flowcharts to two networks (with the options below three, and with both nine), and
    which share of them is answered by `lists`.

    Shuffled lists name the shapes in any order, below a `heading`, which takes finding the k-th shape of a request
    without the one before. `more_wordings` adds networks with every layer named, and flowcharts whose shapes are named
    on the way; `more_networks` more of them and of those by neuron, and others whose layers take counting; `more_runs`
    others with many runs of like layers, and as many by neuron as keep their share, which `flows` does for flowcharts.
    Diagrams are in one `style` but for a share of `random_looks`, which keeps every colour and size in use; what cannot
    be foreseen slows learning down. A share of `large` of the rows is drawn again until it has MANY_SHAPES or more.
    """

    flows: int
    lists: float
    shuffled: bool
    more_wordings: bool = False
    more_networks: bool = False
    more_runs: bool = False
    style: Mapping[str, Look] = field(default_factory=lambda: BASE_STYLE)
    random_looks: float = 0.1
    large: float = 0.0
    heading: str = "Shapes:"


@dataclass(frozen=True, slots=True)
class PretrainingRow:
    """A prompt, its answer, where the prompt mentions which shape, and the kinds of the shapes, as places in KINDS.

    A network's `groups` say where the prompt mentions which of them, and `members` in which one each shape is.
    """

    prompt: str
    answer: str
    is_diagram: bool
    mentions: tuple[Mention, ...]
    kinds: tuple[int, ...]
    groups: tuple[Mention, ...]
    members: tuple[int, ...]


def pretraining_row(rng: Random, max_shapes: int, mix: Mix) -> PretrainingRow:
    """A row of at most `max_shapes` shapes (4 or more)."""
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
    between = " " if mix.shuffled else ": "  # after a space, names are the tokens that they mostly are in the request
    lines = [f"{number}{between}{node.get('name', node['kind'])}" for number, node in graph.nodes(data=True)]
    if not mix.shuffled:
        return "\n".join(lines)
    rng.shuffle(lines)
    return "\n".join([mix.heading, *lines])


def _place_at_random(rng: Random, graph: nx.DiGraph, mix: Mix) -> Diagram:
    """In the style of the mix and the base pitch, or random ones; now and then top to bottom or off the centre."""
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
