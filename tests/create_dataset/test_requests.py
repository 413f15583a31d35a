"""Requests of the committed CSVs are worded in many ways, and the labels of their diagrams come from them."""

import re
from collections import Counter, defaultdict

import networkx as nx
import pytest
from committed_rows import (
    FLOWCHARTS,
    NETWORKS,
    ORPO,
    ROWS,
    SFT,
    edges_of,
    family,
    is_by_neuron,
    labels_of,
    request_of,
    shapes_of,
)

from create_dataset.wording import NUMBER_WORDS


def test_flowcharts_are_labelled_with_the_names_that_the_request_uses_in_the_order_of_their_first_mention():
    for row in FLOWCHARTS:
        request, labels = request_of(row), labels_of(row)
        assert len(set(labels)) == len(labels)
        places = [re.search(rf"(?<!\w){label}(?!\w)", request).start() for label in labels]
        assert places == sorted(places) and len(set(places)) == len(places), request


def test_layers_say_what_they_are_and_sizes_come_from_the_request():
    sized = 0
    for row in NETWORKS:
        request, labels = request_of(row), labels_of(row)
        if not is_by_neuron(row):
            assert labels[0].startswith("input") and labels[-1].startswith("output")
            numbers = [number for label in labels for number in re.findall(r"\d+", label)]
            if not any(label.startswith("hidden ") and int(label.split()[1]) <= 7 for label in labels):
                assert all(re.search(rf"(?<!\d){number}(?!\d)", request) for number in numbers), request
                sized += bool(numbers)
    assert sized > 150


def test_neurons_are_called_x_h_and_y():
    networks = 0
    for row in NETWORKS:
        if is_by_neuron(row):
            labels = labels_of(row)
            letters = "".join(label[0] for label in labels)
            assert re.fullmatch("x+h+y+", letters)
            counted = [f"{letter}{k + 1}" for letter in "xhy" for k in range(letters.count(letter))]
            assert labels == counted
            networks += 1
    assert networks == 116


def test_every_diagram_is_in_one_piece():
    for row in ROWS:
        assert nx.is_weakly_connected(nx.DiGraph(edges_of(row))), row["input_data"]
        assert {number for edge in edges_of(row) for number in edge} == {shape[0] for shape in shapes_of(row)}


def test_flowcharts_have_four_to_seventeen_shapes():
    assert {len(shapes_of(row)) for row in FLOWCHARTS} == set(range(4, 18))


@pytest.mark.parametrize("rows", [SFT, ORPO], ids=["sft", "orpo"])
def test_flowcharts_include_chains_branches_joins_and_several_sources_and_results(rows):
    found = Counter()
    for row in rows:
        if family(row) != "flowchart":
            continue
        edges = edges_of(row)
        starts, ends = Counter(start for start, _ in edges), Counter(end for _, end in edges)
        found["chain"] += max(starts.values()) == 1 == max(ends.values())
        found["branch"] += max(starts.values()) > 1
        found["join"] += max(ends.values()) > 1
        found["several sources"] += len(starts.keys() - ends.keys()) > 1
        found["several results"] += len(ends.keys() - starts.keys()) > 1
    assert min(found.values()) >= 10 and len(found) == 5, found


def test_numbers_are_written_as_digits_and_as_words():
    styles = defaultdict(int)
    words = re.compile(rf"\b({'|'.join(NUMBER_WORDS)})\b")
    requests = [request_of(row) for row in SFT if family(row) == "dl_model"]
    for request in (request.replace("one box per layer", "") for request in requests):  # nothing is counted here
        styles["digits"] += bool(re.search(r"\b\d+\b", request))
        styles["words"] += bool(words.search(request))
    assert min(styles.values()) >= 60 and len(styles) == 2, styles


def test_requests_are_worded_in_many_ways():
    def opening(row):
        return " ".join(request_of(row).split()[:3])

    assert len(set(map(opening, SFT))) >= 60
    assert max(Counter(map(opening, SFT)).values()) <= len(SFT) // 5
