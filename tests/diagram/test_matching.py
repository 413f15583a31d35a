"""Shapes are matched by number or by alignment."""

from dataclasses import replace
from random import Random

import pytest
from damages import changed, diagrams, text_of
from hypothesis import given, settings
from hypothesis import strategies as st

from diagram import parse
from diagram.language import Diagram, Node
from diagram.matching import align, by_number


def renumber(nodes: list[Node], numbers: dict[int, int]) -> list[Node]:
    return [
        replace(node, number=numbers[node.number], targets=tuple(numbers.get(t, t) for t in node.targets))
        for node in nodes
    ]


def moved(nodes: list[Node], rng: Random) -> list[Node]:
    """All shapes at random positions."""
    return [replace(node, x=rng.randrange(1000), y=rng.randrange(600)) for node in nodes]


def diagram(nodes: list[Node]) -> Diagram:
    return parse(text_of(nodes))


@given(diagrams(), st.randoms(use_true_random=False), st.booleans())
@settings(max_examples=40, deadline=None, derandomize=True)
def test_an_alignment_finds_every_shape_by_its_look(nodes, rng, keep_places):
    order = rng.sample(range(200), len(nodes))
    answer = renumber(nodes, {node.number: number for node, number in zip(nodes, order, strict=True)})
    answer = answer if keep_places else moved(answer, rng)
    rng.shuffle(answer)
    found = align(diagram(answer), diagram(nodes), style_fixed=True)
    assert found == {number: node.number for node, number in zip(nodes, order, strict=True)}


@given(diagrams(), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_an_alignment_by_the_graph_alone_keeps_every_connection(nodes, rng):
    order = rng.sample(range(200), len(nodes))
    answer = moved(renumber(nodes, {node.number: number for node, number in zip(nodes, order, strict=True)}), rng)
    rng.shuffle(answer)
    found = align(diagram(answer), diagram(nodes), style_fixed=False)
    assert {(found[start], found[end]) for start, end in diagram(answer).edges} == diagram(nodes).edges


@given(diagrams(), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_a_shape_that_is_left_out_does_not_shift_the_others(nodes, rng):
    missing = rng.choice(nodes)
    rest = [node for node in nodes if node is not missing]
    answer = moved(renumber(rest, {node.number: k for k, node in enumerate(rest)} | {missing.number: 90}), rng)
    found = align(diagram(answer), diagram(nodes), style_fixed=True)
    assert {k: node.number for k, node in enumerate(rest)}.items() <= found.items()


@given(diagrams())
@settings(max_examples=40, derandomize=True)
def test_equal_numbers_match_even_if_they_are_only_pointed_to(nodes):
    answer = changed(nodes[:-1], 0, targets=(*nodes[0].targets, 77))
    pointed_to = {end for node in answer for end in node.targets}
    found = by_number(diagram(answer), diagram(nodes))
    assert found == {number: number for number in range(len(nodes)) if number < len(nodes) - 1 or number in pointed_to}


@pytest.mark.parametrize("style_fixed", [True, False])
@given(diagrams(), diagrams())
@settings(deadline=None, max_examples=25, derandomize=True)
def test_an_alignment_uses_each_number_once_and_is_reproducible(style_fixed, nodes, others):
    found = align(diagram(nodes), diagram(others), style_fixed)
    assert len(set(found.values())) == len(found) == min(len(nodes), len(others))
    assert align(diagram(nodes), diagram(others), style_fixed) == found
