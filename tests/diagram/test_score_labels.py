"""Labels are a part of the structure, where the reference has them: graded, and compared as readers do."""

import random
import time
from dataclasses import replace

import pytest
from damages import GRAPH, LAYOUT, LOOK, diagrams, text_of
from damages import LABELS as LABEL_DAMAGES
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from diagram import examine_reference, flaw_of, parse, score_diagram
from diagram.label_similarity import similarity
from diagram.same_graph import same_graph

LABELS = ["sales data", "clean", "join", "price model", "forecast", "report", "archive", "x1"]


def text(labels, numbers=None, width=120, fill=None):
    """A chain of shapes with these labels; None leaves the field out. `numbers` are those of the shapes by line."""
    numbers = numbers or list(range(len(labels)))
    lines = []
    for k, label in enumerate(labels):
        field = [] if label is None else [label]
        place = 100 + 250 * (k % 4), 100 + 120 * (k // 4)
        look = "rectangle", width, 60, "solid arrow", (fill[k] if fill else 250, 250, 250), (0, 0, 0)
        lines.append(repr([numbers[k], *field, *place, *look, [numbers[k + 1]] if k + 1 < len(labels) else []]))
    return "\n".join(lines)


REFERENCE = text(LABELS)


def score(answer, reference=REFERENCE, **fixed):
    return score_diagram(answer, reference, **fixed).total


def with_label(k, label):
    return text([*LABELS[:k], label, *LABELS[k + 1 :]])


def test_a_reference_with_labels_scores_1_against_itself():
    found = score_diagram(REFERENCE, REFERENCE)
    assert found.total == found.labels == found.labels_right == found.fits == found.structure == found.layout == 1
    assert found.tidy and flaw_of(REFERENCE) is None and examine_reference(REFERENCE) == (None, ())


@pytest.mark.parametrize(
    "label",
    ["Sales Data", "SALESDATA", " sales  data", "sales\u00a0data", "Sales data.", "“Sales data”", "ＳＡＬＥＳ data"],
)
def test_case_spaces_and_punctuation_around_cost_nothing(label):
    assert score(with_label(0, label)) == 1


def test_one_label_after_the_other_made_worse_lowers_the_score_a_little_each_time():
    labels = list(LABELS)
    last = 1.0
    for k, label in enumerate(LABELS):
        for worse in (label[:-1], f"{label[0]}zz", None):
            labels[k] = worse
            new = score(text(labels))
            assert last - 0.5 / len(LABELS) < new < last
            last = new
    assert last == pytest.approx(0.5)  # shapes, connections and looks are right


def test_nearer_labels_score_higher():
    near, nearer = score(with_label(3, "price modul")), score(with_label(3, "price models"))
    assert score(with_label(3, None)) == score(with_label(3, "")) <= score(with_label(3, "zzz")) < near < nearer < 1


def test_labels_cost_nothing_where_the_reference_has_none():
    plain = text([None] * 8)
    for labels in (LABELS, ["x" * 48] * 8, [""] * 8):
        answer = score_diagram(text(labels), plain)
        assert answer.total == 1 and answer.labels is answer.fits is answer.labels_right is None
        assert answer.parts() == score_diagram(plain, plain).parts()
    partly = text(["sales data", *[None] * 7])
    assert score(REFERENCE, partly) == 1 and score(plain, partly) == pytest.approx(1 - 0.5 / 8)


def test_an_empty_label_of_a_reference_asks_for_nothing():
    assert score(text([None] * 8), text([""] * 8)) == 1
    assert "labels" not in score_diagram(REFERENCE, text([""] * 8)).parts()


def test_the_parts_say_how_many_labels_are_right():
    found = score_diagram(text(["Sales data", "clean", "joim", None, *LABELS[4:]]), REFERENCE)
    assert found.labels_right == 6 / 8 and found.labels == pytest.approx((6 + 3 / 4) / 8)
    assert found.nodes == found.connections == 1 and found.has_graph and found.structure < 1
    assert found.parts()["labels"] == found.labels and found.parts()["fits"] == 7 / 8
    nothing = score_diagram("no diagram", REFERENCE)
    assert nothing.labels == nothing.fits == nothing.labels_right == nothing.total == 0


def test_two_labels_exchanged_cost_less_than_two_shapes():
    exchanged = score(text([LABELS[1], LABELS[0], *LABELS[2:]]))
    assert 1 - 2 / 8 < exchanged < 1 - 0.5 / 8


@pytest.mark.parametrize("style_fixed", [True, False])
@pytest.mark.parametrize("order_fixed", [True, False])
def test_labels_find_the_partners_of_shapes_with_other_numbers(style_fixed, order_fixed):
    numbers = [3, 0, 6, 1, 7, 2, 5, 4]
    lines = text(LABELS, numbers).split("\n")
    random.Random(1).shuffle(lines)
    found = score_diagram("\n".join(lines), REFERENCE, style_fixed, order_fixed)
    assert found.labels == 1 and found.total == pytest.approx(0.97 if order_fixed else 1)


def test_labels_tell_shapes_apart_that_nothing_else_does():
    def alone(labels):
        return "\n".join(line[: line.rindex("[")] + "[]]" for line in text(labels).split("\n"))

    found = score_diagram(alone(LABELS[::-1]), alone(LABELS), order_fixed=False)
    assert found.labels == 1 and found.total == 1


def test_a_label_that_does_not_fit_costs_layout():
    long = "a label with many words that needs a large shape"
    reference, answer = text([long] * 2, width=180), text([long] * 2, width=60)
    found = score_diagram(answer, reference)
    assert found.fits < 0.8 and found.layout < 1 and not found.tidy
    assert found.total < 0.8 * score(text([long] * 2, width=179), reference)
    assert flaw_of(answer) == "a label does not fit its shape"
    assert examine_reference(answer) == (None, ("labels that do not fit their shapes",))
    assert score(text([None] * 2, width=60), reference) < found.total


def test_a_bad_label_costs_a_blemish():
    answer = REFERENCE.replace("'clean'", "'clean\\n'")
    assert parse(answer).problems and 0.99 < score(answer) < 1


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [("abcd", "abcd", 1), ("abcd", "abxd", 0.75), ("abcd", "abcde", 0.8), ("ab", "xy", 0), ("", "xy", 0), (None, "", 1)]
    + [
        ("Straße", "STRASSE", 1),
        ("3×3", "3x3", 1),
        ("a–b", "a-b", 1),
        ("...", "...", 1),
        ("C++", "c", pytest.approx(1 / 3)),
    ],
)
def test_similarity_counts_edits(a, b, expected):
    assert similarity(a, b) == similarity(b, a) == expected


def test_the_same_graph_with_other_labels_is_another_graph():
    a, b, c = (parse(text(labels)) for labels in (LABELS, [label.upper() for label in LABELS], [None] * 8))
    assert same_graph(a, b) and not same_graph(a, c)
    turned = parse(text(LABELS, [3, 0, 6, 1, 7, 2, 5, 4]))
    assert same_graph(a, turned, order_fixed=False) and not same_graph(c, turned, order_fixed=False)


def test_a_hundred_labelled_shapes_are_scored_in_milliseconds():
    rng = random.Random(2)
    labels = ["".join(rng.choice("abcdefgh ijklmno") for _ in range(rng.randrange(5, 49))) for _ in range(100)]
    reference = text(labels)
    answer = text([label[:-2] + "zz" for label in labels[::-1]])
    times = []
    for _ in range(3):
        start = time.process_time()
        score_diagram(answer, reference)
        times.append(time.process_time() - start)
    assert min(times) < 0.1


@pytest.mark.parametrize("first", LABEL_DAMAGES)
@given(diagrams(), st.sampled_from(sorted(GRAPH | LAYOUT | LOOK | LABEL_DAMAGES)), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_each_fault_of_a_label_lowers_the_score_before_and_after_another_fault(first, nodes, second, rng):
    reference = [
        replace(node, label=chr(97 + node.number) * 3 + "data", width=node.width + 60, height=node.height + 20)
        for node in nodes
    ]
    damages = GRAPH | LAYOUT | LOOK | LABEL_DAMAGES
    for one, other in ((first, second), (second, first)):
        damage = damages[one](reference, rng, ())
        assume(damage)
        once, touched = damage
        again = damages[other](once, rng, touched)
        assume(again)
        assert score(text_of(again[0]), text_of(reference)) < score(text_of(once), text_of(reference)) < 1
