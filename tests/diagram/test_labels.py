"""A label is read as tolerantly as the other fields, and nothing in it that is no text gets further."""

import time

import pytest

from diagram.labels import MAX_LABEL, TOO_LONG, is_label, shown
from diagram.language import format, parse
from diagram.quoting import NOT_ESCAPED, NOT_QUOTED

LINE = "[0, {}100, 300, 'rectangle', 100, 60, 'solid line', (255, 228, 196), (0, 0, 0), []]"


def read(field):
    """The label of the one shape, and the messages of all problems."""
    diagram = parse(LINE.format(field))
    (node,) = diagram.nodes
    assert (node.x, node.shape, node.width) == (100, "rectangle", 100)
    return node.label, [problem.message for problem in diagram.problems]


@pytest.mark.parametrize(
    ("field", "label"),
    [
        ("'Sales data', ", "Sales data"),
        ("'', ", ""),
        ('"it\'s", ', "it's"),
        ("'it\\'s', ", "it's"),
        ("'say \"x\"', ", 'say "x"'),
        ("'C:\\\\dir\\\\', ", "C:\\dir\\"),
        ("'C# #1', ", "C# #1"),
        ("'[a], (b)', ", "[a], (b)"),
        ("'데이터 수집', ", "데이터 수집"),
        ("'caf\\u00e9 \U0001f600', ", "café \U0001f600"),
        ("'می\u200cخواهم', ", "می\u200cخواهم"),
        ("'10', ", "10"),
        ("'" + "x" * MAX_LABEL + "', ", "x" * MAX_LABEL),
        ("", None),
    ],
)
def test_a_label_is_read_without_a_problem(field, label):
    assert read(field) == (label, [])


@pytest.mark.parametrize(
    ("field", "label", "message"),
    [
        ("'a\\nb', ", "a b", "label holds a line break"),
        ("'a\rb', ", "a b", "label holds a line break"),
        ("'a\u2028b', ", "a b", "label holds a line break"),
        ("'a\tb', ", "a b", "label holds the control character U+0009"),
        ("'\x1b[31mred\x1b[0m', ", "red", "label holds the control character U+001B"),
        ("'\x00a', ", "a", "label holds the control character U+0000"),
        ("'a\u202eb', ", "ab", "label holds the control character U+202E"),
        ("'a\u200bb', ", "ab", "label holds the control character U+200B"),
        ("'\\ud800', ", "", "label holds the control character U+D800"),
        ("'" + "x" * (MAX_LABEL + 1) + "', ", "x" * MAX_LABEL, TOO_LONG),
        ("10, ", "10", "label is 10, not a text"),
        ("None, ", "", "label is None, not a text"),
        ("null, ", "", "label is None, not a text"),
        ("['a'], ", "", "label is ['a'], not a text"),
        ("'it's', ", "it's", NOT_ESCAPED),
        ("'users' data', ", "users' data", NOT_ESCAPED),
        ('"5" disk", ', '5" disk', NOT_ESCAPED),
        ("'C:\\dir\\', ", "C:\\dir\\", NOT_ESCAPED),
        ("Sales data, ", "Sales data", NOT_QUOTED),
        ("“Sales data”, ", "Sales data", NOT_QUOTED),
        ("3 inputs , ", "3 inputs", NOT_QUOTED),
    ],
)
def test_a_bad_label_is_a_blemish_and_the_rest_of_its_line_is_used(field, label, message):
    assert read(field) == (label, [message])
    assert parse(LINE.format(field)).problems[0].kind == "blemish"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[0,", '["0",', "node number is '0'"),
        ("[0,", "[[0,", "one [ too many at its start"),
        ("[]]", "[]]},", "}, after its closing ]"),
        ("100, 300", "'100', 300", "x is '100'"),
        ("solid line", "solid", "line is 'solid'"),
        ("(0, 0, 0)", "[0, 0, 0]", "line colour is [0, 0, 0]"),
    ],
)
@pytest.mark.parametrize("label", ["it's # 1", "[a"])
def test_other_blemishes_of_a_line_with_a_label_are_read_too(old, new, message, label):
    diagram = parse(LINE.format(f"{label!r}, ").replace(old, new, 1))
    assert [node.label for node in diagram.nodes] == [label]
    assert [problem.message for problem in diagram.problems] == [message]


@pytest.mark.parametrize("field", ["'a', 'b', ", "'a', 'it's', ", "'a' # b, ", "f'a', ", "open('a'), ", "'a, "])
def test_a_line_with_more_than_one_meaning_is_not_read(field):
    diagram = parse(LINE.format(field))
    assert diagram.nodes == () and len(diagram.problems) == 1


def test_lines_with_and_without_labels_may_be_mixed():
    text = "\n".join(LINE.format(field).replace("[0", f"[{k}") for k, field in enumerate(("'a', ", "", "'', ")))
    diagram = parse(text)
    assert [node.label for node in diagram.nodes] == ["a", None, ""]
    assert diagram.problems == () and format(diagram) == text


@pytest.mark.parametrize(
    ("label", "text"),
    [
        (None, ""),
        ("  two \u3000 words ", "two words"),
        ("a\u202eb\u200b\u200dc\x1b\n\ufeff", "abc"),
        ("\ud800\ufffe\x00", ""),
        ("a" + "\u0301" * 40, "á" + "\u0301" * 3),
    ],
)
def test_pictures_show_no_character_that_cannot_be_seen(label, text):
    assert shown(label) == text


@pytest.mark.parametrize("character", ["\0", "\x1b", "\x85", "\xad", "\u200b", "\u202e", "\u2066", "\ufeff", "\ufffe"])
def test_what_cannot_be_seen_is_no_text(character):
    assert not is_label(f"a{character}")


@pytest.mark.parametrize(
    "piece", [" ", "'", '"', "\\", ",", "' ,", "', ", "a ", "1, ", ", 1", "“", "\x1b[", "\0", "\\'"]
)
def test_lines_that_are_hard_to_read_take_no_time(piece):
    texts = [
        "\n".join(f"{start}{piece * (1900 // len(piece))}" for _ in range(100)) for start in ("[0, ", "[0, '", "[")
    ]
    start = time.process_time()
    for text in texts:
        parse(text)
    assert time.process_time() - start < 1
