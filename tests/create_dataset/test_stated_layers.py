"""The layers that a network request states are those of its diagram. Requests are read without the generator."""

import re
from collections import Counter
from itertools import pairwise, product

from committed_rows import NETWORKS, edges_of, is_by_neuron, labels_of, request_of, shapes_of

from create_dataset.wording import NUMBER_WORDS

BY_NEURON = [row for row in NETWORKS if is_by_neuron(row)]
BY_LAYER = [row for row in NETWORKS if not is_by_neuron(row)]

NUMBER = rf"(?:\d+|{'|'.join(NUMBER_WORDS)})"


def value_of(number: str) -> int:
    return int(number) if number.isdigit() else NUMBER_WORDS.index(number)


def stated_sizes(request: str) -> list[int]:
    """How many neurons each layer has, from the input to the output."""
    request = re.sub(r"hidden layer \d+:", "hidden layer:", request)  # here the number only counts the layers
    if found := re.search(r"\b\d+(?:-\d+)+\b", request):
        return [int(size) for size in found[0].split("-")]
    if found := re.search(
        rf"\b({NUMBER}) inputs?, ({NUMBER}) hidden layers? of (.*?) nodes?( each)? and ({NUMBER}) out", request
    ):
        inner = [value_of(size) for size in re.findall(rf"\b{NUMBER}\b", found[3])]
        if found[4]:
            inner *= value_of(found[2])
        assert len(inner) == value_of(found[2]), request
        return [value_of(found[1]), *inner, value_of(found[5])]
    return [value_of(size) for size in re.findall(rf"\b{NUMBER}\b", request)]


def sizes_in(text: str) -> list[int]:
    return [value_of(size) for size in re.findall(rf"\b{NUMBER}\b", text)]


def dense(sizes: list[int]) -> list[str]:
    first, *hidden, last = sizes
    return [f"input {first}", *(f"hidden {size}" for size in hidden), f"output {last}"]


def counted(hidden: int) -> list[str]:
    return ["input", *(["hidden"] if hidden == 1 else [f"hidden {k + 1}" for k in range(hidden)]), "output"]


def stated_layers(request: str) -> tuple[str, list[str]]:
    """The form of a request, and the labels of the layers that it asks for."""
    if listed := re.findall(r'^    layer\("(.*)"\),$', request, re.MULTILINE):
        return "program", listed
    if listed := re.findall(r"^\d+\. (.*)$", request, re.MULTILINE):
        return "numbered", listed
    if listed := re.findall(r"^- (\w+) layer, (\d+) units$", request, re.MULTILINE):
        return "units", [f"{kind} {size}" for kind, size in listed]
    if listed := re.findall(rf"^- (?:({NUMBER}) x )?(.*)$", request, re.MULTILINE):
        return "bullets", [label for times, label in listed for _ in range(value_of(times or "1"))]
    if found := re.search(r": (input\b[^:]*?( -> | \| | > |; )[^:]*?)\.", request):
        return "in a row", found[1].split(found[2])
    if found := re.search(
        rf"an input layer, ({NUMBER}) blocks? of ({NUMBER}) convolution layers? and a pooling layer, "
        rf"then (?:({NUMBER}) dense layers? and )?the output layer",
        request,
    ):
        block = ["conv"] * value_of(found[2]) + ["pool"]
        return "blocks", ["input", *block * value_of(found[1]), *["dense"] * value_of(found[3] or "0"), "output"]
    if found := re.search(rf"an input layer, ({NUMBER}) hidden layers? and an output layer", request):
        return "counted", counted(value_of(found[1]))
    if found := re.search(rf"of ({NUMBER}) layers: input, ({NUMBER}) hidden, output", request):
        assert value_of(found[1]) == value_of(found[2]) + 2, request
        return "counted", counted(value_of(found[2]))
    if found := re.search(r"with (\d+ inputs, hidden layers? of .* units and \d+ outputs)", request):
        return "inputs and outputs", dense(sizes_in(found[1]))
    if found := re.search(r"First the input layer of (.* and last the output layer of \d+)\.", request):
        return "steps of units", dense(sizes_in(found[1].replace("a hidden layer", "")))
    if found := re.search(r"with layer sizes ([\d, ]+)", request):
        return "layer sizes", dense(sizes_in(found[1]))
    found = re.search(r"\b(?:with|First) (an input\b.* an output\b[^,.?]*)", request)
    assert found, request
    between = rf",(?: then)? (?=(?:an?|{NUMBER}) (?!layers))| and (?:finally )?(?=an output)"
    items = [re.fullmatch(rf"(an?|{NUMBER}) (.*?)(?: layers?)?", item) for item in re.split(between, found[1])]
    return "sentence", [item[2] for item in items if item for _ in range(1 if item[1][0] == "a" else value_of(item[1]))]


def test_the_layers_that_a_request_states_are_those_of_its_diagram():
    forms: Counter[str] = Counter()
    for row in BY_LAYER:
        form, layers = stated_layers(request_of(row))
        assert layers == labels_of(row), request_of(row)
        assert edges_of(row) == list(pairwise(range(len(layers)))), request_of(row)
        forms[form] += 1
    assert len(BY_LAYER) == 244 and len(forms) == 11 and min(forms.values()) >= 3, forms


def columns_of(row: dict[str, str]) -> list[list[int]]:
    """The numbers of the shapes in each column, from left to right."""
    shapes = shapes_of(row)
    return [[shape[0] for shape in shapes if shape[2] == x] for x in sorted({shape[2] for shape in shapes})]


def test_each_layer_has_as_many_neurons_as_the_request_says():
    for row in BY_NEURON:
        assert stated_sizes(request_of(row)) == [len(column) for column in columns_of(row)], request_of(row)


def test_every_neuron_points_to_all_neurons_of_the_next_layer():
    for row in BY_NEURON:
        expected = {edge for left, right in pairwise(columns_of(row)) for edge in product(left, right)}
        assert set(edges_of(row)) == expected, request_of(row)
