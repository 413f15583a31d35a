"""The references alone decide whether style and order are fixed."""

import pytest
from helpers import ROOT, rows_of

from diagram import conventions_of

FLOW = [[1, 2], [3], [3], []]


def reference(k: int, targets: list[list[int]], numbers: list[int] | None = None, looks: int = 1) -> str:
    """Shapes in a row. References whose `k` is equal modulo `looks` have the same looks."""
    numbers = numbers or list(range(len(targets)))
    return "\n".join(
        repr([n, 100 + 150 * i, 300, "circle", 80, 80, "solid arrow", (k % looks, i, 0), (0, 0, 0), to])
        for i, (n, to) in enumerate(zip(numbers, targets, strict=True))
    )


@pytest.mark.parametrize("name", ["sft_dataset_llm.csv", "orpo_dataset_llm.csv"])
def test_the_committed_references_fix_style_and_order(name):
    found = conventions_of(row["output_data"] for row in rows_of(ROOT / "create_dataset" / name))
    assert (found.style_fixed, found.order_fixed) == (True, True)
    assert found.labelled == found.shapes
    assert found.common > 0.99 * found.shapes


def test_the_style_is_free_if_looks_do_not_repeat():
    found = conventions_of(reference(k, FLOW, looks=100) for k in range(100))
    assert (found.style_fixed, found.shapes, found.looks, found.common) == (False, 400, 400, 0)


@pytest.mark.parametrize(("rare", "fixed"), [(5, True), (6, False)])
def test_the_style_is_fixed_if_95_percent_of_the_shapes_have_a_look_that_occurs_five_times(rare, fixed):
    common = [reference(0, [[]]) for _ in range(100 - rare)]
    found = conventions_of(common + [reference(k, [[]], looks=1000) for k in range(1, 1 + rare)])
    assert (found.style_fixed, found.shapes, found.common) == (fixed, 100, 100 - rare)


@pytest.mark.parametrize(
    ("references", "fixed"),
    [
        ([reference(k, FLOW) for k in range(5)], True),
        ([reference(k, FLOW) for k in range(4)], False),  # too few to decide
        ([reference(k, [[0, 1], [1]]) for k in range(5)], True),  # shapes that point to themselves
        ([reference(k, [[], []]) for k in range(50)], False),  # no connection
        ([reference(k, [[1], [2], [0]]) for k in range(50)], False),  # nothing but a loop
        ([reference(k, [[1], [2], [3], [0]]) for k in range(50)], True),  # a flow that starts again
        ([reference(k, [[2], [2], [4], [4], [1]]) for k in range(50)], True),  # joined from a later branch
        ([reference(k, [[], [0], [1]]) for k in range(50)], False),  # against the flow
        ([reference(k, FLOW, [0, 2, 1, 3]) for k in range(50)], False),  # not line by line
        ([reference(k, FLOW if k else [[1], [0]]) for k in range(20)], True),
        ([reference(k, FLOW if k > 1 else [[1], [0]]) for k in range(20)], False),
    ],
)
def test_the_order_is_fixed_if_the_numbers_follow_lines_and_flow(references, fixed):
    assert conventions_of(references).order_fixed is fixed


def test_no_references_fix_nothing():
    found = conventions_of(["", "hello"])
    assert (found.style_fixed, found.order_fixed, found.shapes) == (False, False, 0)


def test_the_facts_give_the_decisions_and_the_counts():
    facts = conventions_of(reference(k, FLOW, looks=2) for k in range(20)).facts()
    assert facts == {
        "style": "fixed: 8 looks, 80 of 80 shapes have one that occurs 5 times or more",
        "order": "fixed: 20 of 20 references with connections number their shapes along the flow",
    }


def test_labels_are_counted_where_there_are_any():
    line = "[0, {}100, 300, 'circle', 40, 40, 'solid line', (255, 255, 255), (0, 0, 0), []]"
    assert "labels" not in conventions_of([line.format(""), line.format("'', ")]).facts()
    assert conventions_of([line.format(""), line.format("'a', ")]).facts()["labels"] == "1 of 2 shapes have one"
