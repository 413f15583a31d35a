"""The texts that can become a diagram are exactly the beginnings of those in which `parse` finds no problem."""

from functools import lru_cache
from random import Random

import pytest
from helpers import ROOT, rows_of
from hypothesis import given
from hypothesis import strategies as st

from diagram import format, parse
from diagram.nodes import MAX_LINES
from diagram.unfinished import ALPHABET, DiagramText, shortest_line

TEXT = DiagramText()
line_of = lru_cache(shortest_line)
LINE = "[0, 440, 300, 'circle', 80, 80, 'dashed line', (222, 235, 247), (49, 130, 189), [{}]]"

LABELLED = LINE.format("").replace("[0, ", "[0, {}, ")
IN_LABELS = '"\\é' + "".join(chr(0xDC00 + byte) for byte in "é내".encode())


def is_taken(text, grammar=TEXT):
    state = grammar.after(grammar.start, text)
    return state is not None and grammar.is_whole(state)


def begins(text):
    return TEXT.after(TEXT.start, text) is not None


def completed(state, grammar):
    """The characters of the short ending."""
    text, lines, closing = grammar.ending(state)
    return text + "".join(map(line_of, lines)) + closing


def in_parts(text):
    """Each byte of a text as the character that stands for a part of a character."""
    return "".join(chr(0xDC00 + byte) for byte in text.encode())


def whole(text):
    """A text whose characters came in parts."""
    return text.encode(errors="surrogateescape").decode()


def random_text(seed, grammar=TEXT, length=400, before=""):
    """Random characters that may follow `before`, and the state after them."""
    rng, text, state = Random(seed), before, grammar.after(grammar.start, before)
    letters = sorted(ALPHABET.union(grammar.lead, grammar.closing, IN_LABELS))
    for _ in range(length):
        steps = [(letter, new) for letter in letters if (new := grammar.after(state, letter)) is not None]
        if not steps:
            break
        letter, state = rng.choice(steps)
        text += letter
    return text, state


@pytest.mark.parametrize("seed", range(25))
def test_whatever_is_taken_parses_without_a_problem(seed):
    text, state = random_text(seed)
    text = whole(text + completed(state, TEXT))
    diagram = parse(text)
    assert diagram.problems == () and diagram.complete and diagram.nodes
    assert format(diagram) == text and is_taken(text)


@pytest.mark.parametrize("seed", range(25))
def test_a_label_that_is_taken_parses_without_a_problem(seed):
    text, state = random_text(seed, TEXT, 30, "[0, " + "'\""[seed % 2])
    text = whole(text + completed(state, TEXT))
    diagram = parse(text)
    assert diagram.problems == () and diagram.nodes[0].label is not None
    assert format(diagram) == text and is_taken(text)


@pytest.mark.parametrize(
    "label",
    ["", "Sales data", "it's", 'say "x"', "both ' and \"", "C:\\dir", "내 \U0001f600", "x" * 48, "x" * 46 + "'\""],
)
def test_every_label_is_taken_as_format_writes_it(label):
    assert is_taken(LABELLED.format(repr(label)))


def test_a_character_may_come_in_parts():
    assert is_taken(LABELLED.format("'" + in_parts("é내\U0001f600") + "'"))
    assert not begins("[0, '" + in_parts("é")[1]) and not begins("[0, '\udcc0") and not begins("[0, '\udcf4")


@pytest.mark.parametrize(
    "label",
    [
        "'" + "x" * 49,
        "'" + "x" * 48 + "\\",
        '"' + "x" * 48,
        '"abc"',
        '"it\'s \\"',
        "'it\\'s'",
        "'\\n",
        "'\x1b",
        "'\u200d",
    ],
)
def test_no_label_begins_with_another_way_to_write_it(label):
    assert not begins(f"[0, {label}")


@pytest.mark.parametrize(
    "lead, closing", [("", "\n"), (" ", ""), ("<think>\n\n</think>\n\n", "\n\n"), ("\n", "\n[/A]"), ("", "\n[0")]
)
def test_what_a_template_writes_around_an_answer_is_required(lead, closing):
    grammar = DiagramText(lead, closing)
    for seed in range(5):
        text, state = random_text(seed, grammar)
        text = whole(text + completed(state, grammar))
        assert text.startswith(lead) and text.endswith(closing)
        assert is_taken(text, grammar)
        assert parse(text[len(lead) : len(text) - len(closing)]).problems == ()
        assert not closing or not is_taken(text.removesuffix(closing), grammar)


@pytest.mark.parametrize("closing", ["\n", "\n\n", ""])
def test_a_beginning_of_the_short_ending_leaves_the_rest_of_it(closing):
    grammar = DiagramText("", closing)
    for length in (0, 1, 3, 60, 85, 95, 105):
        _, state = random_text(length, grammar, length)
        ending = completed(state, grammar)
        for k, character in enumerate(ending[:100], start=1):
            state = grammar.after(state, character)
            assert completed(state, grammar) == ending[k:]


@pytest.mark.parametrize("name", ["sft", "orpo"])
def test_every_committed_reference_is_taken(name):
    answers = [row["output_data"] for row in rows_of(ROOT / "create_dataset" / f"{name}_dataset_llm.csv")][::7]
    assert len(answers) > 20
    assert [answer for answer in answers if not is_taken(answer)] == []


@pytest.mark.parametrize(
    "old, new",
    [
        ("[0,", "[1,"), ("[0,", "[00,"), ("[0,", "[ 0,"), ("440", "0440"), ("440", "-0"), ("440", "4.5"),
        ("440", "'4'"), ("440", "100001"), ("300", "-100001"), ("80, 80", "0, 80"), ("80, 80", "80, -1"),
        ("80, 80", "80, 100001"),
        ("circle", "box"), ("circle", "circle "), ("'circle'", '"circle"'), ("dashed line", "solid"), ("235", "256"),
        ("(222", "[222"), ("[]]", "[0]]"), ("[]]", "[1, 1]]"), ("[]]", "[1,2]]"), ("[]]", "[1,]]"), ("[]]", "[,1]]"),
        ("[]]", "[100]]"), ("[]]", "[]],"), ("[]]", "[]]\n\n"), ("[]]", "[]] "), ("[0,", "\n[0,"), ("[0,", "[[0,"),
        ("[]]", "[01]]"), ("[]]", "[]]\n[0,"), ("[]]", "[]]\n[2,"), ("[]]", "[ ]]"), ("[]]", "[1 ]]"),
    ],
)  # fmt: skip
def test_no_diagram_begins_with_another_way_to_write_it(old, new):
    line = LINE.format("")
    assert begins(line) and old in line
    assert not begins(line.replace(old, new, 1))


@pytest.mark.parametrize("value", [-100_000, -1, 0, 1, 9, 10, 99_999, 100_000])
def test_a_place_may_be_any_that_is_read(value):
    assert is_taken(LINE.format("").replace("440", str(value)))


@given(st.lists(st.integers(0, 120), max_size=6))
def test_targets_are_different_nodes_that_can_still_get_a_line(targets):
    is_right = len(set(targets)) == len(targets) and all(0 < target < MAX_LINES for target in targets)
    assert begins(LINE.format(", ".join(map(str, targets)))) == is_right


def test_a_text_ends_only_when_every_target_has_its_line():
    text = LINE.format("2")
    assert begins(text) and not is_taken(text)
    text += shortest_line(1)
    assert begins(text) and not is_taken(text)
    assert is_taken(text + shortest_line(2))


def test_there_are_no_more_lines_than_are_read():
    text = "".join(map(shortest_line, range(MAX_LINES)))
    assert is_taken(text) and not begins(f"{text}\n")
    assert parse(text).problems == ()


def test_an_empty_text_is_no_diagram():
    assert begins("") and not is_taken("")
