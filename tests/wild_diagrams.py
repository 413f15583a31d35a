"""Random diagrams with huge, tiny, far away and coinciding shapes, for tests of pictures."""

from dataclasses import replace

from hypothesis import strategies as st

from diagram.language import LINES, MAX_COORDINATE, SHAPES, Diagram, Node, format, parse

_ANYWHERE = st.integers(-MAX_COORDINATE, MAX_COORDINATE) | st.integers(-50, 1050)
_ANY_SIZE = st.integers(1, MAX_COORDINATE) | st.integers(1, 6)
_COLOURS = st.tuples(*[st.integers(0, 255)] * 3)
_TARGETS = st.lists(st.integers(0, 5), max_size=6).map(tuple)
_ANY_NODE = st.builds(
    Node,
    st.just(0),
    _ANYWHERE,
    _ANYWHERE,
    st.sampled_from(SHAPES),
    _ANY_SIZE,
    _ANY_SIZE,
    st.sampled_from(LINES),
    _COLOURS,
    _COLOURS,
    _TARGETS,
)

ANY_DIAGRAM = st.lists(_ANY_NODE, max_size=5).map(
    lambda nodes: Diagram(tuple(replace(one, number=number) for number, one in enumerate(nodes)))
)


def _line(node: Node, number: int) -> str:
    return format(Diagram((replace(node, number=number),)))


# Numbers are repeated and out of order, and some lines are not read.
_LINES = st.builds(_line, _ANY_NODE, st.integers(0, 7)) | st.text(max_size=20)
ANY_PARSED = st.lists(_LINES, max_size=8).map(lambda lines: parse("\n".join(lines)))
