"""Requests for networks, in many wordings. Numbers are written as digits or as words."""

from collections.abc import Sequence
from itertools import groupby
from random import Random

NUMBER_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen".split()  # noqa: SIM905
)

_ASK = (
    "Draw {}.",
    "Please draw {}.",
    "I need a picture of {}.",
    "Show me {}.",
    "Can you draw {}?",
    "Make a diagram of {}.",
    "Sketch {}.",
    "A diagram of {}, please.",
    "For my slides: {}.",
    "I would like to see {}.",
)
_BY_NEURON = (
    "Draw every neuron.",
    "One circle per neuron.",
    "Show it neuron by neuron.",
    "Each neuron is a circle of its own and points to all neurons of the next layer.",
    "Every neuron should be visible.",
    "It is fully connected; show the single neurons.",
)
_BY_LAYER = (
    "Draw one box per layer.",
    "Show it layer by layer.",
    "One shape for each layer, not the neurons.",
    "Each layer is a single box.",
    "Only the layers, please, no neurons.",
)
_UNITS = (8, 10, 12, 16, 20, 24, 32, 48, 64, 96, 100, 128, 200, 256, 300, 400, 512, 784)
_SHORT_LAYERS = {"convolution layer": "conv", "pooling layer": "pool", "dense layer": "dense"}


def number(rng: Random, value: int) -> str:
    """A number as digits or, up to fifteen, as a word."""
    return NUMBER_WORDS[value] if value < len(NUMBER_WORDS) and rng.random() < 0.5 else str(value)


def count(rng: Random, value: int, noun: str) -> str:
    """A counted noun: "3 inputs", "one input"."""
    return f"{number(rng, value)} {noun}{'' if value == 1 else 's'}"


def enumerate_words(items: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def neuron_request(rng: Random, sizes: Sequence[int]) -> str:
    """Ask for a dense network that is drawn neuron by neuron."""
    first, *hidden, last = sizes
    form = rng.randrange(6)
    if form == 0:
        inputs = count(rng, first, "input")
        body = f"a neural network with {inputs}, {_hidden(rng, hidden)} and {count(rng, last, 'output')}"
        text = rng.choice(_ASK).format(body)
    elif form == 1:
        steps = [f"First {count(rng, first, 'input neuron')}"]
        steps += [f"then a hidden layer of {count(rng, size, 'neuron')}" for size in hidden]
        text = f"{', '.join(steps)} and at the end {count(rng, last, 'output neuron')}."
    elif form == 2:
        names = [
            "input",
            *("hidden layer" if len(hidden) == 1 else f"hidden layer {k}" for k in range(1, len(hidden) + 1)),
            "output",
        ]
        lines = [f"- {name}: {number(rng, size)}" for name, size in zip(names, sizes, strict=True)]
        text = (
            rng.choice(("A dense network:", "Neurons of a network:", "Draw this network:"))
            + "\n"
            + "\n".join(lines)
            + "\n"
        )
    elif form == 3:
        text = rng.choice(_ASK).format(
            f"a {'-'.join(map(str, sizes))} {rng.choice(('network', 'perceptron', 'dense network', 'MLP'))}"
        )
    elif form == 4:
        layers = enumerate_words([number(rng, size) for size in sizes])
        body = f"an MLP whose layers have {layers} neurons from input to output"
        text = rng.choice(_ASK).format(body)
    else:
        steps = [
            count(rng, first, "input"),
            *(count(rng, size, "hidden neuron") for size in hidden),
            count(rng, last, "output"),
        ]
        text = f"{rng.choice(('A net where', 'Draw how', 'Show how'))} {' feed '.join(steps)}."
        text = text.replace("one input feed ", "one input feeds ").replace("1 input feed ", "1 input feeds ")
    return _join(rng, text, rng.choice(_BY_NEURON))


def _hidden(rng: Random, sizes: Sequence[int]) -> str:
    if len(sizes) == 1:
        return f"one hidden layer of {count(rng, sizes[0], 'node')}"
    if len(set(sizes)) == 1:
        return f"{count(rng, len(sizes), 'hidden layer')} of {count(rng, sizes[0], 'node')} each"
    return f"{count(rng, len(sizes), 'hidden layer')} of {enumerate_words([number(rng, size) for size in sizes])} nodes"


def dense_request(rng: Random, kinds: Sequence[str]) -> str:
    """Ask for a dense network (input, hidden and output layers) that is drawn layer by layer."""
    hidden = len(kinds) - 2
    sizes = sorted((rng.choice(_UNITS) for _ in kinds), reverse=True)
    form = rng.randrange(5)
    if form == 0:
        body = f"a dense network with an input layer, {count(rng, hidden, 'hidden layer')} and an output layer"
        text = rng.choice(_ASK).format(body)
    elif form == 1:
        units = enumerate_words([str(size) for size in sizes[1:-1]])
        plural = "s" if hidden > 1 else ""
        body = f"a network with {sizes[0]} inputs, hidden layer{plural} of {units} units and {sizes[-1]} outputs"
        text = rng.choice(_ASK).format(body)
    elif form == 2:
        lines = [f"- {kind}, {size} units" for kind, size in zip(kinds, sizes, strict=True)]
        text = (
            rng.choice(("A dense network:", "Layers of the network:", "Draw these layers:"))
            + "\n"
            + "\n".join(lines)
            + "\n"
        )
    elif form == 3:
        steps = ["First the input layer", *(f"then a hidden layer of {size}" for size in sizes[1:-1])]
        text = f"{', '.join(steps)} and last the output layer."
    else:
        body = (
            f"a multilayer perceptron of {count(rng, len(kinds), 'layer')}: input, {number(rng, hidden)} hidden, output"
        )
        text = rng.choice(_ASK).format(body)
    return _join(rng, text, rng.choice(_BY_LAYER))


def cnn_request(rng: Random, kinds: Sequence[str]) -> str:
    """Ask for a convolutional network, from the input layer to the output layer."""
    runs = [(kind, len(list(group))) for kind, group in groupby(kinds)]
    form = rng.randrange(5)
    block = _blocks(kinds)
    if form == 0 and block:
        repeats, convolutions, dense = block
        inside = f"{count(rng, convolutions, 'convolution layer')} and a pooling layer"
        tail = f"{count(rng, dense, 'dense layer')} and the output layer" if dense else "the output layer"
        body = f"a CNN with an input layer, {count(rng, repeats, 'block')} of {inside}, then {tail}"
        return rng.choice(_ASK).format(body)
    if form <= 1:
        steps = [_with_article(rng, kind, times) for kind, times in runs]
        return rng.choice(_ASK).format(f"a CNN with {enumerate_words(steps)}")
    if form == 2:
        short = [_SHORT_LAYERS.get(kind, kind.removesuffix(" layer")) for kind in kinds]
        arrow = rng.choice((" -> ", ", ", " - "))
        return (
            f"{rng.choice(('CNN', 'Convolutional network', 'Layers of a CNN', 'Draw this CNN'))}: {arrow.join(short)}"
        )
    if form == 3:
        lines = [f"{'- ' if times == 1 else f'- {number(rng, times)} x '}{kind}" for kind, times in runs]
        return (
            rng.choice(("A convolutional network:", "Draw a CNN of", "Layers in this order:")) + "\n" + "\n".join(lines)
        )
    steps = [_with_article(rng, kind, times) for kind, times in runs]
    middle = ", ".join(f"then {step}" for step in steps[1:-1])
    closing = rng.choice(("draw this CNN", "a convolutional network", "show the layers"))
    return f"First {steps[0]}, {middle} and finally {steps[-1]}: {closing}."


def _blocks(kinds: Sequence[str]) -> tuple[int, int, int] | None:
    """Return (blocks, convolutions per block, dense layers) if one block repeats, else None."""
    body = list(kinds[1:-1])
    dense = body.count("dense layer")
    repeats = body.count("pooling layer")
    convolutions = body.count("convolution layer")
    if repeats < 2 or convolutions % repeats:
        return None
    block = ["convolution layer"] * (convolutions // repeats) + ["pooling layer"]
    return (repeats, convolutions // repeats, dense) if body == block * repeats + ["dense layer"] * dense else None


def _with_article(rng: Random, kind: str, times: int) -> str:
    if times > 1:
        return count(rng, times, kind)
    return f"{'the' if kind.startswith(('input', 'output')) else 'a'} {kind}"


def _join(rng: Random, text: str, how: str) -> str:
    """Join the request and the sentence on how to draw it, in either order."""
    if text.endswith("\n"):
        return text + how
    return f"{text} {how}" if rng.random() < 0.7 else f"{how} {text}"
