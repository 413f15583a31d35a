"""The network requests that the embedded model is pre-trained on. Their wordings differ from those of the CSVs.

The name of a layer, or of a run of equal layers, is marked as a group of shapes (wording.py). Each node of a graph has
the number of its `group`. Each public function returns a marked request and its graph.
"""

from collections.abc import Sequence
from itertools import groupby
from random import Random

import networkx as nx

from create_dataset.graphs import layer_network, neuron_network
from create_dataset.network_wording import enumerate_words
from fine_tuning.pretraining.wording import OPENERS, in_words, mark_group

_NEURONS = (
    "neuron by neuron", "single neurons", "every neuron a circle", "each node visible",
    "all neurons, fully connected",
)  # fmt: skip
_LAYERS = (
    "layer by layer", "one box per layer", "only layers, no neurons", "a single shape for each layer",
    "layers as boxes",
)  # fmt: skip


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
    return _around(rng, body, rng.choice(_NEURONS)), _grouped(neuron_network(sizes), groups)


def layers(rng: Random) -> tuple[str, nx.DiGraph]:
    """A network drawn layer by layer."""
    form = rng.randrange(5)
    groups: list[int] = []
    if form <= 1:
        hidden = rng.randint(0, 8)
        kinds = _dense(hidden)
        if hidden and form == 0:
            groups = [0, *[1] * hidden, 2]
            count = mark_group(in_words(rng, hidden), 1, 1)
            ends = f"{mark_group('input', 0, 0)} and {mark_group('output', hidden + 1, 2)}"
            body = f"{count} hidden {rng.choice(('layers', 'boxes'))} between {ends}"
        else:
            body = _runs(rng, kinds, groups)
    elif form == 2:
        repeats = rng.randint(2, 4)
        block = ["convolution layer"] * rng.randint(1, 2) + ["pooling layer"]
        dense = ["dense layer"] * rng.randint(0, 2)
        kinds = ["input layer", *block * repeats, *dense, "output layer"]
        groups = [0, *list(range(1, len(block) + 1)) * repeats]
        inside = rng.choice((" and ", ", ", " + ")).join(
            mark_group(_short(kind), k, k) for k, kind in enumerate(block, start=1)
        )
        times = in_words(rng, repeats)
        blocks = rng.choice((f"({inside}) x {times}", f"{times} times ({inside})", f"{times} repeats of {inside}"))
        parts = [mark_group("input", 0, 0), blocks, *([_runs(rng, dense, groups)] if dense else [])]
        groups.append(1 + max(groups))
        body = ", then ".join([*parts, mark_group("output", len(groups) - 1, groups[-1])])
    else:
        inner = [rng.choice(("convolution layer", "pooling layer", "dense layer")) for _ in range(rng.randint(1, 6))]
        repeated = [kind for kind in inner for _ in range(rng.choice((1, 1, 1, 2, 2, 3)))]
        kinds = ["input layer", *repeated, "output layer"]
        body = _runs(rng, kinds, groups)
    return _by_layer(rng, body, kinds, groups)


def layer_list(rng: Random) -> tuple[str, nx.DiGraph]:
    """A network drawn layer by layer. The request lists every layer by name, by number of units, or by both."""
    if rng.random() < 0.6:
        inner = ["hidden layer"] * rng.randint(1, 9)
    else:
        inner = [rng.choice(("convolution layer", "pooling layer", "dense layer")) for _ in range(rng.randint(2, 9))]
    kinds = ["input layer", *inner, "output layer"]
    units = [str(rng.randint(2, 900)) for _ in kinds]
    joint = rng.choice(("; ", "\n", ", ", " / ", " then ", ", next ", ". Next: ", " & "))
    if inner[0] == "hidden layer" and rng.random() < 0.25:
        body = f"{rng.choice(('widths', 'units by layer:', 'sizes of the layers:'))} " + joint.join(
            mark_group(size, k, k) for k, size in enumerate(units)
        )
    else:
        short, word = rng.random() < 0.5, rng.choice(("with", "=", "of", "at", ":", ""))
        names = [mark_group(_short(kind) if short else kind, k, k) for k, kind in enumerate(kinds)]
        body = joint.join(f"{name} {word} {size}" if word else name for name, size in zip(names, units, strict=True))
    return _by_layer(rng, body, kinds, list(range(len(kinds))))


def blocks(rng: Random) -> tuple[str, nx.DiGraph]:
    """A network drawn layer by layer. The request gives the number of blocks and of the layers in a block."""
    repeats, convolutions, dense = rng.randint(2, 4), rng.randint(1, 4), rng.randint(0, 3)
    kinds = ["input layer", *(["convolution layer"] * convolutions + ["pooling layer"]) * repeats]
    groups = [0, *([1] * convolutions + [2]) * repeats]
    number, short = in_words(rng, convolutions), rng.random() < 0.5
    name = "conv" if short else "convolution"
    counted = f"{number} {name}s", f"{number} {name} layers", f"{name} x {number}", f"{number} times {name}"
    inside = rng.choice(counted)
    inside = mark_group(name if convolutions == 1 and rng.random() < 0.5 else inside, 1, 1)
    inside += rng.choice((", ", " + ", ", one ", " with ", " plus a ")) + mark_group("pool", convolutions + 1, 2)
    times = in_words(rng, repeats)
    head = mark_group(rng.choice(("input", "input layer")), 0, 0)
    if rng.random() < 0.5:
        forms = f"{times} stacks of {inside}", f"{times} x ({inside})", f"{times} stages, {inside} in each"
    else:
        forms = f"repeat {times} times: {inside}", f"({inside}) repeated {times} times", f"{times} [{inside}]"
    parts = [head, rng.choice(forms)]
    if dense:
        groups += [3] * dense
        parts.append(mark_group(f"{in_words(rng, dense)} dense", len(kinds), 3))
        kinds += ["dense layer"] * dense
    groups.append(1 + max(groups))
    parts.append(mark_group(rng.choice(("output", "output layer")), len(kinds), groups[-1]))
    body = rng.choice((", then ", ", ", "; ", " / ", "\n")).join(parts)
    return _by_layer(rng, body, [*kinds, "output layer"], groups)


def stacks(rng: Random) -> tuple[str, nx.DiGraph]:
    """A network drawn layer by layer, with runs of convolutions of different lengths. The request names each run."""
    kinds = ["input layer"]
    for _ in range(rng.randint(2, 4)):
        kinds += ["convolution layer"] * rng.randint(1, 4) + ["pooling layer"]
    kinds += [*["dense layer"] * rng.randint(0, 3), "output layer"]
    groups: list[int] = []
    body = _runs(rng, kinds, groups)
    return _by_layer(rng, body, kinds, groups)


def sizes(rng: Random) -> tuple[str, nx.DiGraph]:
    """A dense network drawn layer by layer. The request gives the units of each layer, but names few layers."""
    hidden = rng.randint(1, 9)
    pool = [rng.randint(2, 900) for _ in range(rng.randint(2, 12))]
    units = sorted((str(rng.choice(pool)) for _ in range(hidden + 2)), key=int, reverse=rng.random() < 0.7)
    first, *inner, last = (mark_group(size, k, k) for k, size in enumerate(units))
    listed = rng.choice((enumerate_words(inner), ", ".join(inner), " then ".join(inner)))
    body = rng.choice((
        f"{first} in, {listed} hidden, {last} out",
        f"from {first} over {listed} to {last}",
        f"{first} units at first, {listed} inside, {last} at last",
        f"hidden sizes {listed} between {first} inputs and {last} outputs",
        f"net of {first}, {listed}, {last} units",
        f"input of {first}, after it hidden {', hidden '.join(inner)}, output of {last}",
    ))  # fmt: skip
    return _by_layer(rng, body, _dense(hidden), list(range(hidden + 2)))


def totals(rng: Random) -> tuple[str, nx.DiGraph]:
    """A dense network drawn layer by layer. The request gives the number of hidden layers, and mostly of all layers."""
    hidden = rng.randint(1, 10)
    count = mark_group(in_words(rng, hidden), 1, 1)
    ends = mark_group("input", 0, 0), mark_group("output", hidden + 1, 2)
    whole = f"{in_words(rng, hidden + 2)} {rng.choice(('layers in all', 'layers', 'boxes', 'in a row'))}"
    body = rng.choice((
        f"{whole}: {ends[0]}, {count} inner, {ends[1]}",
        f"{ends[0]}, {count} hidden layers, {ends[1]}; {whole}",
        f"{whole}, {count} of them hidden, from {ends[0]} to {ends[1]}",
        f"{ends[0]} then {count} inner then {ends[1]}",
    ))  # fmt: skip
    return _by_layer(rng, body, _dense(hidden), [0, *[1] * hidden, 2])


def _runs(rng: Random, kinds: Sequence[str], groups: list[int]) -> str:
    """Name all layers, run by run, and append the group of each layer to `groups`."""
    short = rng.random() < 0.3
    joint = rng.choice((", ", " -> ", " then ", "\n", " - ", ", then "))
    return joint.join(_run(rng, kind, len(list(run)), short, groups) for kind, run in groupby(kinds))


def _run(rng: Random, kind: str, times: int, short: bool, groups: list[int]) -> str:
    shape, group = len(groups), 1 + max(groups, default=-1)
    name = _short(kind) if short else kind
    with_units = rng.random() < 0.2
    if times == 1:
        groups.append(group)
        units = f" of {rng.randint(2, 900)} units" if with_units else ""
        article = "" if rng.random() < 0.6 else "a "
        return f"{article}{mark_group(name, shape, group)}{units}"
    if rng.random() < 0.3:
        groups += range(group, group + times)
        return ", ".join(mark_group(name, shape + k, group + k) for k in range(times))
    groups += [group] * times
    forms = (f"{in_words(rng, times)} {name}s", f"{in_words(rng, times)} x {name}", f"{name} x {times}")
    return mark_group(rng.choice(forms), shape, group)


def _dense(hidden: int) -> list[str]:
    return ["input layer", *["hidden layer"] * hidden, "output layer"]


def _by_layer(rng: Random, body: str, kinds: Sequence[str], groups: Sequence[int]) -> tuple[str, nx.DiGraph]:
    return _around(rng, body, rng.choice(_LAYERS)), _grouped(layer_network(kinds), groups)


def _grouped(graph: nx.DiGraph, groups: Sequence[int]) -> nx.DiGraph:
    for node in graph.nodes.values():
        node["group"] = groups[node["column"]]
    return graph


def _short(kind: str) -> str:
    return {"convolution layer": "conv", "pooling layer": "pool"}.get(kind, kind.removesuffix(" layer"))


def _around(rng: Random, body: str, how: str) -> str:
    parts = [rng.choice(OPENERS), body]
    parts.insert(rng.randrange(3), how)
    return " ".join(parts) + rng.choice((".", "", "?", ", please."))
