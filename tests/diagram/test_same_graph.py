"""Two diagrams are the same but for what is free: positions, and the look or the numbers if so told."""

import random
from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diagram.nodes import Diagram, Node
from diagram.same_graph import same_graph

WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def diagram(targets, fills=()):
    return Diagram(
        tuple(
            Node(k, 50 * k, 300, "circle", 40, 40, "solid arrow", fills[k] if fills else WHITE, BLACK, tuple(to))
            for k, to in enumerate(targets)
        )
    )


def renumbered(original, order):
    """The same diagram with number order[k] for shape k, its lines in the new order."""
    place = dict(zip((node.number for node in original.nodes), order, strict=True))
    nodes = [replace(n, number=place[n.number], targets=tuple(place[t] for t in n.targets)) for n in original.nodes]
    return Diagram(tuple(sorted(nodes, key=lambda node: node.number)))


def layers(*sizes):
    starts = [sum(sizes[:k]) for k in range(len(sizes) + 1)]
    return diagram(
        [
            range(starts[k + 1], starts[k + 2]) if k + 1 < len(sizes) else ()
            for k, n in enumerate(sizes)
            for _ in range(n)
        ]
    )


def test_positions_and_the_order_of_targets_never_count():
    a = diagram([[1, 2], [], []])
    moved = Diagram(tuple(replace(node, x=node.x + 7, targets=node.targets[::-1]) for node in a.nodes))
    assert same_graph(a, moved)


@pytest.mark.parametrize("order_fixed", [True, False])
def test_a_look_counts_only_if_the_style_is_fixed(order_fixed):
    a, b = diagram([[1], []]), diagram([[1], []], [WHITE, BLACK])
    assert not same_graph(a, b, style_fixed=True, order_fixed=order_fixed)
    assert same_graph(a, b, style_fixed=False, order_fixed=order_fixed)


def test_numbers_count_only_if_the_order_is_fixed():
    a = diagram([[1], [2], []])
    b = renumbered(a, [2, 0, 1])
    assert not same_graph(a, b, order_fixed=True)
    assert same_graph(a, b, order_fixed=False)


def test_a_shape_that_is_pointed_to_but_not_drawn_counts():
    assert same_graph(diagram([[5], []]), diagram([[7], []]), order_fixed=False)
    assert not same_graph(diagram([[5], [5]]), diagram([[5], [6]]), order_fixed=False)
    assert not same_graph(diagram([[5], []]), diagram([[1], []]), order_fixed=False)


@given(st.integers(1, 5), st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_with_a_free_order_two_graphs_are_the_same_exactly_if_some_renumbering_makes_them_equal(size, seed):
    draw = random.Random(seed)
    a, b = (
        diagram(
            [[k for k in range(size) if draw.random() < 0.4] for _ in range(size)],
            [draw.choice([WHITE, WHITE, BLACK]) for _ in range(size)],
        )
        for _ in range(2)
    )
    orders = list(permutations(range(size)))
    b = draw.choice([b, renumbered(a, draw.choice(orders))])
    expected = any(same_graph(renumbered(a, order), b) for order in orders)
    assert same_graph(a, b, order_fixed=False) == expected


def test_a_large_network_is_recognised_in_any_order_and_one_connection_less_is_not_overlooked():
    network = layers(8, 20, 20, 20, 5)
    order = list(range(len(network.nodes)))
    random.Random(1).shuffle(order)
    assert network.nodes[order.index(0)].targets
    other = renumbered(network, order)
    assert same_graph(network, other, order_fixed=False)
    first, *others = other.nodes
    one_less = replace(other, nodes=(replace(first, targets=first.targets[1:]), *others))
    assert not same_graph(network, one_less, order_fixed=False)


def test_graphs_that_refinement_cannot_tell_apart_are_told_apart():
    ring = diagram([[(k + 1) % 6] for k in range(6)])
    two_rings = diagram([[1], [2], [0], [4], [5], [3]])
    assert not same_graph(ring, two_rings, order_fixed=False)
