"""Requests for networks that are drawn neuron by neuron, in many wordings."""

from collections.abc import Sequence
from random import Random

from create_dataset.wording import ASK, count, enumerate_words, join_sentences, number

_BY_NEURON = (
    "Draw every neuron.",
    "One circle per neuron.",
    "Show it neuron by neuron.",
    "Each neuron is a circle of its own and points to all neurons of the next layer.",
    "Every neuron should be visible.",
    "It is fully connected; show the single neurons.",
)


def neuron_request(rng: Random, sizes: Sequence[int]) -> str:
    """Ask for a dense network that is drawn neuron by neuron."""
    first, *hidden, last = sizes
    form = rng.randrange(6)
    if form == 0:
        inputs = count(rng, first, "input")
        body = f"a neural network with {inputs}, {_hidden(rng, hidden)} and {count(rng, last, 'output')}"
        text = rng.choice(ASK).format(body)
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
        text = rng.choice(ASK).format(
            f"a {'-'.join(map(str, sizes))} {rng.choice(('network', 'perceptron', 'dense network', 'MLP'))}"
        )
    elif form == 4:
        layers = enumerate_words([number(rng, size) for size in sizes])
        body = f"an MLP whose layers have {layers} neurons from input to output"
        text = rng.choice(ASK).format(body)
    else:
        steps = [
            count(rng, first, "input"),
            *(count(rng, size, "hidden neuron") for size in hidden),
            count(rng, last, "output"),
        ]
        text = f"{rng.choice(('A net where', 'Draw how', 'Show how'))} {' feed '.join(steps)}."
        text = text.replace("one input feed ", "one input feeds ").replace("1 input feed ", "1 input feeds ")
    return join_sentences(rng, text, rng.choice(_BY_NEURON))


def _hidden(rng: Random, sizes: Sequence[int]) -> str:
    if len(sizes) == 1:
        return f"one hidden layer of {count(rng, sizes[0], 'node')}"
    if len(set(sizes)) == 1:
        return f"{count(rng, len(sizes), 'hidden layer')} of {count(rng, sizes[0], 'node')} each"
    return f"{count(rng, len(sizes), 'hidden layer')} of {enumerate_words([number(rng, size) for size in sizes])} nodes"
