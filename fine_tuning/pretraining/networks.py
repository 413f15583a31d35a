"""The network requests that the embedded model is pre-trained on. No prompt is the same as one of the CSVs.

They share the graphs, the kinds of layers and many words with the requests of the CSVs. They differ in the requests as
a whole and in how layers and sizes are combined.

The name of a layer, or of a run of equal layers, is marked as a group of shapes (mentions.py). Each node of a graph has
the number of its `group`. Each public function returns a marked request and its graph.
"""

from collections.abc import Sequence
from itertools import groupby
from random import Random

import networkx as nx

from create_dataset.graphs import Layer, counted_layers, layer_name, layer_network, neuron_network, sized_layers
from create_dataset.wording import enumerate_words
from fine_tuning.pretraining.mentions import mark_group
from fine_tuning.pretraining.wording import in_words

_NEURONS = (
    "neuron by neuron", "single neurons", "every neuron a circle", "each node visible",
    "all neurons, fully connected",
)  # fmt: skip
_LAYERS = (
    "layer by layer", "one box per layer", "only layers, no neurons", "a single shape for each layer",
    "layers as boxes",
)  # fmt: skip
_INNER = ("convolution layer", "pooling layer", "dense layer", "recurrent layer", "attention layer", "norm layer",
          "embedding layer")  # fmt: skip
_UNITS = (2, 3, 5, 8, 10, 12, 16, 20, 24, 32, 48, 50, 64, 96, 100, 128, 200, 256, 300, 400, 512, 784, 1000)
MAX_LAYERS = 13


def neurons(rng: Random) -> tuple[str, nx.DiGraph]:
    """A dense network drawn neuron by neuron."""
    sizes = [rng.randint(1, 6) for _ in range(rng.randint(2, 5))]
    if len(sizes) > 3 and rng.random() < 0.2:
        sizes[1:-1] = [sizes[1]] * (len(sizes) - 2)
    spoken = [in_words(rng, size) for size in sizes]
    form = rng.randrange(5)
    repeats = len(sizes) > 3 and len(set(sizes[1:-1])) == 1 and rng.random() < 0.7
    groups = [0, *[1] * (len(sizes) - 2), 2] if repeats else list(range(len(sizes)))
    spoken = [
        mark_group(word, sum(sizes[:k]), group) for k, (word, group) in enumerate(zip(spoken, groups, strict=True))
    ]
    if repeats:
        times = in_words(rng, len(sizes) - 2)
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
    return f"{body} {rng.choice(_NEURONS)}", _grouped(neuron_network(sizes), groups)


def layers(rng: Random) -> tuple[str, nx.DiGraph]:
    """A network drawn layer by layer. The request names every layer, or every run of equal layers."""
    if rng.random() < 0.3:
        specs = [_layer(rng, "hidden layer") for _ in range(rng.randint(1, 6))]
    else:
        kinds = rng.choice((_INNER, _INNER[:3], _INNER[:3], _INNER[2:]))
        specs = [_layer(rng, rng.choice(kinds)) for _ in range(rng.randint(1, 9))]
    repeated = [spec for spec in specs for _ in range(rng.choice((1, 1, 1, 2, 3)))][: MAX_LAYERS - 2]
    whole = [_layer(rng, "input layer"), *repeated, _layer(rng, "output layer")]
    groups: list[int] = []
    joint = rng.choice((", ", " -> ", " then ", "\n", " - ", ", then ", "; ", " / ", " + ", "\n* ", '", "'))
    body = joint.join(_run(rng, layer, len(list(run)), groups) for layer, run in groupby(whole))
    return _by_layer(rng, body, whole, groups)


def stacks(rng: Random) -> tuple[str, nx.DiGraph]:
    """A network drawn layer by layer, with runs of convolutions of different lengths. The request names each run."""
    body = []
    for _ in range(rng.randint(2, 4)):
        body += [_layer(rng, "convolution layer")] * rng.randint(1, 3) + [_layer(rng, "pooling layer")]
    dense = [_layer(rng, "dense layer") for _ in range(rng.randint(0, 3))]
    whole = [_layer(rng, "input layer"), *body[: MAX_LAYERS - 2 - len(dense)], *dense, _layer(rng, "output layer")]
    groups: list[int] = []
    joint = rng.choice((", ", " -> ", " then ", "\n", ", then ", " + "))
    return _by_layer(
        rng, joint.join(_run(rng, layer, len(list(run)), groups) for layer, run in groupby(whole)), whole, groups
    )


def blocks(rng: Random) -> tuple[str, nx.DiGraph]:
    """A network drawn layer by layer. The request gives the number of blocks and of the layers in a block."""
    while True:
        repeats, dense = rng.randint(2, 4), rng.randint(0, 3)
        first, second = _layer(rng, rng.choice(_INNER)), _layer(rng, rng.choice(_INNER))
        times = rng.randint(1, 4)
        if first.label != second.label and 2 + repeats * (times + 1) + dense <= MAX_LAYERS:
            break
    ends = _layer(rng, "input layer"), _layer(rng, "output layer")
    number = in_words(rng, times)
    counted = f"{number} {first.label}", f"{number} {first.label} layers", f"{first.label} x {number}"
    alone = times == 1 and rng.random() < 0.5
    inside = mark_group(first.label if alone else rng.choice(counted), 1, 1)
    inside += rng.choice((", ", " + ", ", one ", " with ", " plus a ")) + mark_group(second.label, times + 1, 2)
    count = in_words(rng, repeats)
    form = rng.choice((
        f"{count} stacks of {inside}", f"{count} x ({inside})", f"{count} stages, {inside} in each",
        f"repeat {count} times: {inside}", f"({inside}) repeated {count} times", f"{count} [{inside}]",
    ))  # fmt: skip
    whole = [ends[0], *([first] * times + [second]) * repeats]
    groups = [0, *([1] * times + [2]) * repeats]
    parts = [mark_group(ends[0].label, 0, 0), form]
    if dense:
        tail = _layer(rng, "dense layer")
        parts.append(mark_group(f"{in_words(rng, dense)} {tail.label}", len(whole), 3))
        whole += [tail] * dense
        groups += [3] * dense
    groups.append(1 + max(groups))
    parts.append(mark_group(ends[1].label, len(whole), groups[-1]))
    body = rng.choice((", then ", ", ", "; ", " / ", "\n")).join(parts)
    return _by_layer(rng, body, [*whole, ends[1]], groups)


def sizes(rng: Random) -> tuple[str, nx.DiGraph]:
    """A dense network drawn layer by layer. The request gives the units of each layer, but names few layers."""
    hidden = rng.randint(1, 8)
    units = sorted((rng.choice(_UNITS) for _ in range(hidden + 2)), reverse=rng.random() < 0.7)
    first, *inner, last = (mark_group(str(size), k, k) for k, size in enumerate(units))
    listed = rng.choice((enumerate_words(inner), ", ".join(inner), " then ".join(inner)))
    body = rng.choice((
        f"{first} in, {listed} hidden, {last} out",
        f"from {first} over {listed} to {last}",
        f"{first} units at first, {listed} inside, {last} at last",
        f"hidden sizes {listed} between {first} inputs and {last} outputs",
        f"net of {first}, {listed}, {last} units",
        f"input of {first}, after it hidden {', hidden '.join(inner)}, output of {last}",
        f"widths {first}-{'-'.join(inner)}-{last}",
    ))  # fmt: skip
    return _by_layer(rng, body, sized_layers(units), list(range(hidden + 2)))


def totals(rng: Random) -> tuple[str, nx.DiGraph]:
    """A dense network drawn layer by layer. The request gives the number of hidden layers, and mostly of all layers."""
    hidden = rng.randint(1, 8)
    count = mark_group(in_words(rng, hidden), 1, 1)
    ends = mark_group("input", 0, 0), mark_group("output", hidden + 1, 2)
    total = f"{in_words(rng, hidden + 2)} {rng.choice(('layers in all', 'layers', 'boxes', 'in a row'))}"
    body = rng.choice((
        f"{total}: {ends[0]}, {count} inner, {ends[1]}",
        f"{ends[0]}, {count} hidden layers, {ends[1]}; {total}",
        f"{total}, {count} of them hidden, from {ends[0]} to {ends[1]}",
        f"{ends[0]} then {count} inner then {ends[1]}",
        f"{count} hidden {rng.choice(('layers', 'boxes'))} between {ends[0]} and {ends[1]}",
    ))  # fmt: skip
    return _by_layer(rng, body, counted_layers(hidden), [0, *[1] * hidden, 2])


def _layer(rng: Random, kind: str) -> Layer:
    """A layer, with a label that says its size or does not."""
    units = rng.choice(_UNITS)
    name = layer_name(kind)
    if kind == "recurrent layer":
        name = rng.choice(("LSTM", "GRU", "RNN"))
    elif kind == "dense layer" and rng.random() < 0.2:
        name = "MLP"
    elif kind == "norm layer" and rng.random() < 0.3:
        name = rng.choice(("final norm", "layer norm", "batch norm"))
    elif kind == "pooling layer" and rng.random() < 0.5:
        name = rng.choice(("max pool", "max pool 2x2", "pool 2x2", "average pool"))
    if kind == "convolution layer" and rng.random() < 0.5:
        name += rng.choice((" 3x3", " 5x5", " 7x7", " 1x1")) + rng.choice(("", f", {units}"))
    elif kind == "input layer" and rng.random() < 0.3:
        name += rng.choice((" 28x28", " 32x32", " 64x64", " 224x224", " 128x128"))
    elif kind not in ("attention layer", "norm layer", "pooling layer") and rng.random() < 0.6:
        name += f" {units}"
    return Layer(kind, name)


def _run(rng: Random, layer: Layer, times: int, groups: list[int]) -> str:
    """Name a run of equal layers, and append the group of each to `groups`."""
    shape, group = len(groups), 1 + max(groups, default=-1)
    name = layer.label
    if times == 1:
        groups.append(group)
        return f"{'' if rng.random() < 0.7 else 'a '}{mark_group(name, shape, group)}"
    if rng.random() < 0.5:
        groups += range(group, group + times)
        return ", ".join(mark_group(name, shape + k, group + k) for k in range(times))
    groups += [group] * times
    forms = (f"{in_words(rng, times)} {name}", f"{in_words(rng, times)} x {name}", f"{name} x {times}",
             f"{in_words(rng, times)} {name} layers", f"{name} ({times} times)")  # fmt: skip
    return mark_group(rng.choice(forms), shape, group)


def _by_layer(rng: Random, body: str, whole: Sequence[Layer], groups: Sequence[int]) -> tuple[str, nx.DiGraph]:
    return f"{body} {rng.choice(_LAYERS)}", _grouped(layer_network(whole), groups)


def _grouped(graph: nx.DiGraph, groups: Sequence[int]) -> nx.DiGraph:
    for node in graph.nodes.values():
        node["group"] = groups[node["column"]]
    return graph
