"""A line that deviates from the format is read if it has only one possible meaning."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diagram.language import LINES, SHAPES, Node, format, parse
from diagram.nodes import Diagram
from diagram.reading import MAX_STRAY

LINE = "[0, 100, 300, 'rectangle', 100, 60, 'solid line', (255, 228, 196), (0, 0, 0), [1, 2]]"
NODE = Node(0, 100, 300, "rectangle", 100, 60, "solid line", (255, 228, 196), (0, 0, 0), (1, 2))

BLEMISHES = {
    "a comma after it": (LINE, LINE + ",", "a comma after its closing ]"),
    "a brace after it": (LINE, LINE + "}", "} after its closing ]"),
    "a bracket after it": (LINE, LINE + "]", "] after its closing ]"),
    "a few characters after it": (LINE, LINE + " };", "}; after its closing ]"),
    "a bracket before it": (LINE, "[" + LINE + ",", "one [ too many at its start"),
    "a quoted x": ("100, 300", "'100', 300", "x is '100'"),
    "a quoted number": ("[0,", '["0",', "node number is '0'"),
    "a quoted width": ("100, 60", "'100', 60", "width is '100'"),
    "quoted targets": ("[1, 2]", "['1', '2']", "targets is ['1', '2']"),
    "a quoted channel": ("(0, 0, 0)", "(0, '0', 0)", "line colour is (0, '0', 0)"),
    "a fraction of a pixel": ("100, 300", "99.7, 300", "x is 99.7"),
    "solid": ("'solid line'", "'solid'", "line is 'solid'"),
    "a colour as a list": ("(0, 0, 0)", "[0, 0, 0]", "line colour is [0, 0, 0]"),
    "targets as a tuple": ("[1, 2]", "(1, 2)", "targets is (1, 2)"),
}


def blemishes(text: str) -> list[str]:
    return [problem.message for problem in parse(text).problems if problem.kind == "blemish"]


@pytest.mark.parametrize(("old", "new", "message"), BLEMISHES.values(), ids=BLEMISHES)
def test_a_line_with_a_blemish_is_read_and_reported(old, new, message):
    text = LINE.replace(old, new, 1)
    assert parse(text).nodes == (NODE,)
    assert blemishes(text)[0] == message


def test_every_blemish_of_a_line_is_reported():
    text = LINE.replace("100, 300", "'100', 300").replace("'solid line'", "'solid'") + ","
    assert parse(text).nodes == (NODE,)
    assert blemishes(text) == ["a comma after its closing ]", "x is '100'", "line is 'solid'"]


def test_dashed_is_a_dashed_line():
    assert parse(LINE.replace("solid line", "dashed")).nodes[0].line == "dashed line"


def test_a_blank_line_is_a_blemish_and_hides_no_shape():
    found = parse(f"\n{LINE}\n\n{LINE.replace('[0', '[1')}\n\n")
    assert [node.number for node in found.nodes] == [0, 1]
    assert [(problem.line, problem.kind) for problem in found.problems if problem.message == "blank"] == [
        (1, "blemish"),
        (3, "blemish"),
        (5, "blemish"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        LINE + " " + LINE.replace("[0", "[1"),  # two shapes in one line
        LINE + ", [3]",
        LINE + "x" * (MAX_STRAY + 1),
        LINE + "\x00",
        "[[" + LINE,
        LINE.replace("'solid line'", "'arrow'"),  # solid or dashed
        LINE.replace("'rectangle'", "'square'"),
        LINE.replace("100, 300", "'a hundred', 300"),
        LINE.replace("100, 300", "'1e3', 300"),
        LINE.replace("100, 300", "1e999, 300"),
        LINE.replace("100, 300", "100 + 1, 300"),
        LINE.replace("100, 300", "True, 300"),
        LINE.replace("100, 60", "0.4, 60"),
        LINE.replace("[0,", "[0.0,"),
        LINE.replace("[1, 2]", "[1.5]"),
        LINE.replace("[1, 2]", "1"),
        LINE.replace("(0, 0, 0)", "(0, 0, 256)"),
        LINE.replace("(0, 0, 0)", "'black'"),
        LINE.replace("[0,", "[07,"),
    ],
)
def test_an_ambiguous_or_wrong_line_is_not_read(text):
    found = parse(text)
    assert found.nodes == ()
    assert [problem.kind for problem in found.problems] == ["unread"]


@pytest.mark.parametrize("quoted", ['"]"', "'['", "'it\\'s ['"])
def test_brackets_in_quotes_do_not_count(quoted):
    assert "shape is" in str(parse(LINE.replace("'rectangle'", quoted)).problems[0])


@given(
    st.builds(
        Node,
        st.integers(0, 99),
        st.integers(-100_000, 100_000),
        st.integers(-2_000, 2_000),
        st.sampled_from(SHAPES),
        st.integers(1, 100_000),
        st.integers(1, 2_000),
        st.sampled_from(LINES),
        st.tuples(*[st.integers(0, 255)] * 3),
        st.tuples(*[st.integers(0, 255)] * 3),
        st.lists(st.integers(100, 9_999), unique=True, max_size=5).map(tuple),
    )
)
def test_the_fast_pattern_and_literal_eval_read_the_same(node):
    line = format(Diagram((node,)))
    slowly = line.replace(", ", " , ", 1)  # the pattern does not match this
    assert parse(line).nodes == parse(slowly).nodes == (node,)


@pytest.mark.parametrize(
    "line", ["[" * 1_999, "[" + "'" * 1_998, "[" + "[]" * 999, "[" + "[1, " * 400, "['" + "\\" * 1_990]
)
def test_hostile_brackets_and_quotes_take_less_than_half_a_second(line):
    start = time.process_time()
    assert parse("\n".join([line] * 100)).nodes == ()
    assert time.process_time() - start < 0.5
