"""What `format` writes, `parse` reads back, and no text makes `parse` raise."""

import re
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diagram.labels import is_label
from diagram.language import (
    LINES,
    MAX_COORDINATE,
    MAX_LABEL,
    MAX_LINE_LENGTH,
    MAX_LINES,
    SHAPES,
    Diagram,
    Node,
    format,
    parse,
)

pytestmark = pytest.mark.filterwarnings("error")

LINE = "[0, 100, 300, 'rectangle', 100, 60, 'solid arrow', (255, 228, 196), (0, 0, 0), []]"
COORDINATES = st.integers(-MAX_COORDINATE, MAX_COORDINATE)
SIZES = st.integers(1, MAX_COORDINATE)
LABELS = st.none() | st.text(max_size=MAX_LABEL).filter(is_label) | st.text("'\"\\\\ax", max_size=MAX_LABEL)
COLOURS = st.tuples(*[st.integers(0, 255)] * 3)


@st.composite
def flawless_diagrams(draw: st.DrawFn) -> Diagram:
    count = draw(st.integers(0, 8))
    nodes = []
    for number in range(count):
        others = [other for other in range(count) if other != number]
        targets = draw(st.lists(st.sampled_from(others), unique=True)) if others else []
        nodes.append(
            Node(
                number,
                draw(COORDINATES),
                draw(COORDINATES),
                draw(st.sampled_from(SHAPES)),
                draw(SIZES),
                draw(SIZES),
                draw(st.sampled_from(LINES)),
                draw(COLOURS),
                draw(COLOURS),
                tuple(targets),
                draw(LABELS),
            )
        )
    return Diagram(tuple(nodes))


def message(text: str) -> str:
    """The one problem of a text."""
    (problem,) = parse(text).problems
    return str(problem)


@given(flawless_diagrams())
def test_what_is_formatted_is_read_back_without_a_problem(diagram):
    text = format(diagram)
    found = parse(text)
    assert found.nodes == diagram.nodes
    assert found.problems == ()
    assert format(found) == text


@given(flawless_diagrams())
@settings(max_examples=30)
def test_every_line_of_a_flawless_diagram_counts_as_well_formed(diagram):
    found = parse(format(diagram))
    assert found.line_count == found.well_formed_count == len(diagram.nodes)
    assert found.complete == bool(diagram.nodes)


@given(st.text())
def test_arbitrary_text_never_raises(text):
    found = parse(text)
    assert 0 <= found.well_formed_count <= found.line_count


@given(
    flawless_diagrams().map(format),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 5), st.text(max_size=5)), max_size=4),
)
def test_a_mutated_diagram_never_raises(text, edits):
    for place, cut, inserted in edits:
        at = int(place * len(text))
        text = text[:at] + inserted + text[at + cut :]
    found = parse(text)
    assert 0 <= found.well_formed_count <= found.line_count
    assert len({node.number for node in found.nodes}) == len(found.nodes)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("100, 300", "1.5, 300", "line 1: x is 1.5"),
        ("100, 300", "100, True", "line 1: y is True"),
        ("100, 300", "100, 100001", "line 1: y is 100001"),
        ("'rectangle'", "'square'", "line 1: shape is 'square'"),
        ("'rectangle'", "[]", "line 1: shape is []"),
        ("100, 60", "0, 60", "line 1: width is 0"),
        ("100, 60", "100, -60", "line 1: height is -60"),
        ("'solid arrow'", "'arrow'", "line 1: line is 'arrow'"),
        ("(255, 228, 196)", "(256, 228, 196)", "line 1: background colour is (256, 228, 196)"),
        ("(255, 228, 196)", "[255, 228, 196]", "line 1: background colour is [255, 228, 196]"),
        ("(0, 0, 0)", "(0, 0)", "line 1: line colour is (0, 0)"),
        ("[]]", "()]", "line 1: targets is ()"),
        ("[]]", "[-1]]", "line 1: targets is [-1]"),
        ("[]]", "[7]]", "line 1: points to node 7, which does not exist"),
        ("[]]", "[0]]", "line 1: points to itself"),
        ("[0, ", "[-1, ", "line 1: node number is -1"),
        ("[0, ", "[2, ", "line 1: node 2 stands where node 0 is due"),
        ("[0, ", "[0, 0, ", "line 1: label is 0, not a text"),
        ("[0, ", "[0, 0, 0, ", "line 1: 12 fields instead of 10"),
        ("100, 300", "100", "line 1: 9 fields instead of 10"),
        ("[0, ", "[0, 'a', 'b', ", "line 1: 12 fields instead of 11"),
        ("100, 300, 'rectangle', 100", "'a', 100, 300, 'rectangle'", "line 1: 10 fields instead of 11"),
        ("100, 300", "'a', 300", "line 1: x is 'a'"),
        ("100, 300", "'a', 1.5, True", "line 1: x is 1.5; y is True"),
        ("100, 300", "['a'], 'b', 300", "line 1: label is ['a'], not a text; x is 'b'"),
        ("[]]", "[", "line 1: not closed with ]"),
        ("100, 300", "a, b", "line 1: not a list of numbers, texts and colours"),
        (LINE, "(1, 2)", "line 1: not a list"),
        ("100, 300", "1.5, True", "line 1: x is 1.5; y is True"),
        ("'rectangle'", "'" + "r" * 90 + "'", "line 1: shape is '" + "r" * 36 + "..."),
    ],
)
def test_a_problem_says_what_is_wrong(old, new, expected):
    assert message(LINE.replace(old, new, 1)) == expected


def test_a_repeated_number_is_reported_and_the_first_node_kept():
    found = parse(LINE + "\n" + LINE.replace("'rectangle'", "'circle'"))
    assert [str(problem) for problem in found.problems] == ["line 2: node 0 was there before"]
    assert [node.shape for node in found.nodes] == ["rectangle"]


def test_a_target_given_twice_is_reported_and_its_node_kept():
    found = parse(LINE.replace("[]]", "[1, 1]]") + "\n" + LINE.replace("[0,", "[1,"))
    assert [str(problem) for problem in found.problems] == ["line 1: points to a node twice"]
    assert found.edges == {(0, 1)}


def test_a_dangling_target_is_a_claimed_edge_only_and_its_line_is_well_formed():
    found = parse(LINE.replace("[]]", "[5]]"))
    assert (found.edges, found.claimed_edges) == (frozenset(), {(0, 5)})
    assert found.well_formed_count == 1


def test_problems_come_in_the_order_of_lines_and_blank_lines_are_problems():
    found = parse(f"{LINE.replace('[]]', '[5]]')}\n  \nhello\n")
    assert [str(problem) for problem in found.problems] == [
        "line 1: points to node 5, which does not exist",
        "line 2: blank",
        "line 3: not a list",
    ]
    assert (found.line_count, found.well_formed_count) == (3, 1)


@pytest.mark.parametrize(
    ("ending", "complete"),
    [
        ("", True),
        ("\n", True),
        ("\n\n  ", True),
        (",", True),
        ("\nhello", False),
        ("\n[1, 2", False),
        ("\n" + LINE, False),
    ],
)
def test_a_diagram_is_complete_when_its_last_line_is_a_new_node(ending, complete):
    assert parse(LINE + ending).complete is complete


def test_a_colour_with_a_hash_gets_a_message_of_its_own():
    coloured = re.sub(r"\(\d+, \d+, \d+\)", "'#ff0000'", LINE, count=1)
    assert message(coloured) == "line 1: holds a #; colours are written (R, G, B), and comments are not allowed"


def test_a_line_of_maximum_length_is_read_and_a_longer_one_is_not():
    padding = " " * (MAX_LINE_LENGTH - len(LINE))
    assert parse(LINE.replace("[0,", "[0," + padding)).problems == ()
    assert message(LINE.replace("[0,", "[0, " + padding)) == f"line 1: longer than {MAX_LINE_LENGTH} characters"


def test_blank_lines_have_a_limit_of_their_own():
    lines = [LINE.replace("[0,", f"[{k},") for k in range(MAX_LINES)]
    assert len(parse("\n\n".join(lines)).nodes) == MAX_LINES
    endless = parse("\n" * 1_000_000 + LINE)
    assert endless.nodes == ()
    assert endless.problems[-1].message == "more than 900 blank lines; the rest is not read"


def test_each_gap_in_the_numbers_is_one_problem():
    lines = [LINE.replace("[0,", f"[{number},") for number in (1, 2, 3, 5, 6)]
    assert [str(problem) for problem in parse("\n".join(lines)).problems] == [
        "line 1: node 1 stands where node 0 is due",
        "line 4: node 5 stands where node 4 is due",
    ]


def test_lines_beyond_the_maximum_are_not_read():
    lines = [LINE.replace("[0,", f"[{k},") for k in range(MAX_LINES + 50)]
    assert parse("\n".join(lines[:MAX_LINES])).problems == ()
    assert message("\n".join(lines)) == f"line {MAX_LINES + 1}: more than {MAX_LINES} lines; the rest is not read"
    assert len(parse("\n".join(lines)).nodes) == MAX_LINES


@pytest.mark.parametrize(
    "text",
    [
        "[" * 1900,
        "[" * 900 + "]" * 900,
        "[" * 90 + "]" * 90,
        "-" * 1900 + "1",
        "1+" * 900 + "1",
        "9" * 1900,
        "[" + "9" * 400 + "+1j]",  # an int too large for the float that it is added to
        "[0x" + "f" * 1900 + "]",
        LINE.replace("100", "9" * 1800, 1),
        LINE.replace("100", "1e999", 1),
        "\x00",
        LINE + "\x00",
        "\ud800",
        LINE.replace("rectangle", "\ud800"),
        LINE.replace("rectangle", "\\ud800"),
        "{[]: 1}",
        "{**{}}",
        "[*a]",
        "f'{1}'",
        "'\\N{no such name}'",
        "b'\\xff'",
        "\ufeff" + LINE,
        LINE.replace(" ", "\u2028"),
    ],
)
def test_a_hostile_line_is_one_problem(text):
    found = parse(text)
    assert (found.nodes, len(found.problems), found.well_formed_count) == ((), 1, 0)
    assert len(str(found.problems[0])) < 200


def test_nothing_in_a_text_is_executed(tmp_path):
    mark = tmp_path / "mark"
    call = f"open({str(mark)!r}, 'w')"
    parse("\n".join([call, f"[{call}]", LINE.replace("100", call, 1), f"__import__('os').mkdir({str(mark)!r})"]))
    assert not mark.exists()


@pytest.mark.parametrize("text", [LINE.replace("rectangle", "\\d"), "[1if 1else 2]", "[0x1for x in y]", "[1 is 1]"])
def test_no_warning_reaches_the_caller(text):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert parse(text).problems
    assert caught == []
