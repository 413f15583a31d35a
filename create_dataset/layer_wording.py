"""Requests for networks that are drawn layer by layer: dense, convolutional, recurrent ones and transformers.

Each function returns a request and the layers that it asks for. A label says what the request says about its layer:
"dense 256" if it gives the number of units, else "dense". Hidden layers that a request only counts are called hidden 1,
hidden 2 and so on.
"""

from collections.abc import Sequence
from itertools import groupby
from random import Random

from create_dataset.graphs import Layer, counted_layers, layer_name, sized_layers
from create_dataset.wording import ASK, count, enumerate_words, join_sentences, number

_BY_LAYER = (
    "Draw one box per layer.",
    "Show it layer by layer.",
    "One shape for each layer, not the neurons.",
    "Each layer is a single box.",
    "Only the layers, please, no neurons.",
)
_DOWN = (
    "Stack the layers from top to bottom.",
    "Draw it from top to bottom.",
    "Vertically, please.",
    "It should run from top to bottom, with one box per layer.",
)
_UNITS = (8, 10, 12, 16, 20, 24, 32, 48, 64, 96, 100, 128, 200, 256, 300, 400, 512, 784)

LayerRequest = tuple[str, list[Layer]]


def dense_request(rng: Random, hidden: int, down: bool) -> LayerRequest:
    """Ask for a dense network with `hidden` hidden layers."""
    sizes = sorted((rng.choice(_UNITS) for _ in range(hidden + 2)), reverse=True)
    sized, plain = sized_layers(sizes), counted_layers(hidden)
    form = rng.randrange(7)
    if form == 0:
        body = f"a dense network with an input layer, {count(rng, hidden, 'hidden layer')} and an output layer"
        text, layers = rng.choice(ASK).format(body), plain
    elif form == 1:
        units = enumerate_words([str(size) for size in sizes[1:-1]])
        plural = "s" if hidden > 1 else ""
        body = f"a network with {sizes[0]} inputs, hidden layer{plural} of {units} units and {sizes[-1]} outputs"
        text, layers = rng.choice(ASK).format(body), sized
    elif form == 2:
        lines = [f"- {layer.kind}, {size} units" for layer, size in zip(sized, sizes, strict=True)]
        opening = rng.choice(("A dense network:", "Layers of the network:", "Draw these layers:"))
        text, layers = "\n".join([opening, *lines, ""]), sized
    elif form == 3:
        steps = [f"First the input layer of {sizes[0]}", *(f"then a hidden layer of {size}" for size in sizes[1:-1])]
        text, layers = f"{', '.join(steps)} and last the output layer of {sizes[-1]}.", sized
    elif form == 4:
        inside = f"input, {number(rng, hidden)} hidden, output"
        body = f"a multilayer perceptron of {count(rng, hidden + 2, 'layer')}: {inside}"
        text, layers = rng.choice(ASK).format(body), plain
    elif form == 5:
        text, layers = f"{_opening(rng, 'Dense network')}: {_in_a_row(rng, sized)}.", sized
    else:
        body = f"an MLP with layer sizes {', '.join(map(str, sizes))}"
        text, layers = rng.choice(ASK).format(body), sized
    return join_sentences(rng, text, _how_to_draw(rng, down)), layers


def cnn_request(rng: Random, convolutions: Sequence[int], dense: int, down: bool) -> LayerRequest:
    """Ask for a convolutional network: blocks of convolutions, each with a pooling layer, then dense layers."""
    body = [kind for times in convolutions for kind in ["convolution layer"] * times + ["pooling layer"]]
    kinds = ["input layer", *body, *["dense layer"] * dense, "output layer"]
    even = len(convolutions) > 1 and len(set(convolutions)) == 1
    if even and rng.random() < 0.2:
        inside = f"{count(rng, convolutions[0], 'convolution layer')} and a pooling layer"
        tail = f"{count(rng, dense, 'dense layer')} and the output layer" if dense else "the output layer"
        text = f"a CNN with an input layer, {count(rng, len(convolutions), 'block')} of {inside}, then {tail}"
        layers = [Layer(kind, layer_name(kind)) for kind in kinds]
        return join_sentences(rng, rng.choice(ASK).format(text), _how_to_draw(rng, down)), layers
    details = rng.choice(("none", "some", "all", "all"))
    layers, filters, units = [], rng.choice((8, 16, 32)), rng.choice((512, 256, 128))
    kernel, side = rng.choice(("3x3", "3x3", "5x5", "7x7")), rng.choice(("28x28", "32x32", "64x64", "224x224"))
    for kind in kinds:
        label = layer_name(kind)
        if kind == "convolution layer" and details != "none":
            label = f"conv {filters}" if details == "some" else f"conv {kernel}, {filters}"
        elif kind == "pooling layer":
            label = "max pool 2x2" if details == "all" else "pool"
            filters *= 2
        elif kind == "dense layer" and details != "none":
            label, units = f"dense {units}", units // 2
        elif details != "none" and kind in ("input layer", "output layer"):
            label = f"input {side}" if kind == "input layer" else f"output {rng.choice((2, 5, 10, 20, 100))}"
        layers.append(Layer(kind, label))
    return _listing(rng, layers, rng.choice(("CNN", "convolutional network", "image classifier")), down), layers


def sequence_request(rng: Random, down: bool) -> LayerRequest:
    """Ask for a recurrent network or a transformer."""
    width = rng.choice((64, 128, 256, 512))
    ends = Layer("input layer", "input"), Layer("output layer", f"output {rng.choice((2, 3, 5, 10, 50, 1000))}")
    embedding = Layer("embedding layer", f"embedding {width}")
    if rng.random() < 0.5:
        cell = rng.choice(("LSTM", "LSTM", "GRU", "RNN"))
        inner = [Layer("recurrent layer", f"{cell} {width // 2**k}") for k in range(rng.randint(1, 3))]
        if rng.random() < 0.3:
            inner.append(Layer("attention layer", "attention"))
        inner += [Layer("dense layer", f"dense {2 ** rng.randint(4, 6)}") for _ in range(rng.randint(0, 2))]
        layers = [ends[0], embedding, *inner, ends[1]]
        return _listing(rng, layers, f"{cell} network", down), layers
    block = [
        Layer("attention layer", "attention"),
        Layer("norm layer", "norm"),
        Layer("dense layer", f"MLP {4 * width}"),
    ]
    blocks = rng.randint(1, 2)
    layers = [ends[0], embedding, *block * blocks, *([Layer("norm layer", "final norm")] * (blocks == 2)), ends[1]]
    return _listing(rng, layers, "transformer", down), layers


def _listing(rng: Random, layers: Sequence[Layer], what: str, down: bool) -> str:
    """Name every layer, in a sentence, a list or a program."""
    runs = [(layer, len(list(group))) for layer, group in groupby(layers)]
    named = [
        _with_article(layer) if times == 1 else f"{number(rng, times)} {layer.label} layers" for layer, times in runs
    ]
    form = rng.randrange(6)
    if form == 0:
        text = rng.choice(ASK).format(f"a {what} with {enumerate_words(named)}")
    elif form == 1:
        text = f"{_opening(rng, what)}: {_in_a_row(rng, layers)}."
    elif form == 2:
        lines = [
            f"- {layer.label}" if times == 1 else f"- {number(rng, times)} x {layer.label}" for layer, times in runs
        ]
        text = "\n".join([f"{_opening(rng, what)}:", *lines, ""])
    elif form == 3:
        middle = ", ".join(f"then {name}" for name in named[1:-1])
        text = f"First {named[0]}, {middle} and finally {named[-1]}. Draw this {what}."
    elif form == 4:
        text = "\n".join(["model = Sequential(", *(f'    layer("{layer.label}"),' for layer in layers), ")", ""])
    else:
        lines = [f"{k}. {layer.label}" for k, layer in enumerate(layers, start=1)]
        text = "\n".join([f"{_opening(rng, what)}, from input to output:", *lines, ""])
    return join_sentences(rng, text, _how_to_draw(rng, down))


def _opening(rng: Random, what: str) -> str:
    what = what[0].upper() + what[1:]
    return rng.choice(
        (what, f"Layers of the {what[0].lower() + what[1:] if what[1:2].islower() else what}", f"Draw this {what}")
    )


def _in_a_row(rng: Random, layers: Sequence[Layer]) -> str:
    return rng.choice((" -> ", " | ", " > ", "; ")).join(layer.label for layer in layers)


def _with_article(layer: Layer) -> str:
    article = "an" if layer.label[0] in "aeioLMR" else "a"  # an LSTM, an MLP, an RNN
    return f"{article} {layer.label}" + (" layer" if layer.label in ("conv", "pool", "dense", "norm") else "")


def _how_to_draw(rng: Random, down: bool) -> str:
    """The sentence that asks for one shape per layer, from left to right or from top to bottom."""
    return rng.choice(_DOWN if down else _BY_LAYER)
