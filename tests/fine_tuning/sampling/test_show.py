"""What is shown about the answers to a request: pictures, a line with votes and checks, notes, and a line of JSON."""

import json
from pathlib import Path

import pytest
from helpers import Answer

from diagram import parse
from diagram.svg import svg
from fine_tuning.data.request_lines import Request
from fine_tuning.sampling.show import best_shown, failure
from fine_tuning.sampling.vote import ranked

LINE = "[{}, {}, 300, 'circle', 40, 40, 'solid arrow', (255, 228, 196), (0, 0, 0), []]"


def shapes(count):
    return "\n".join(LINE.format(k, 60 * k + 50) for k in range(count))


ONE = Request("draw")


def shown(*texts, top=1, request=ONE, output="net.svg", largest=None):
    return best_shown(request, ranked([Answer(text) for text in texts]), Path(output), top, largest)


@pytest.mark.parametrize(
    ("top", "number", "expected"),
    [
        (1, None, ["a/net.svg"]),
        (2, None, ["a/net-1.svg", "a/net-2.svg"]),
        (1, 7, ["a/net-7.svg"]),
        (2, 7, ["a/net-7-1.svg", "a/net-7-2.svg"]),
    ],
)
def test_pictures_are_numbered_by_request_and_by_rank_where_there_are_several(top, number, expected):
    found = shown(shapes(1), shapes(2), top=top, request=Request("draw", 9, number), output="a/net.svg")
    assert [str(path) for path in found.pictures] == expected


def test_each_answer_is_drawn_into_its_picture(tmp_path):
    shown(shapes(1), shapes(2), top=2, output=tmp_path / "net.svg").draw()
    assert (tmp_path / "net-1.svg").read_bytes() == svg(parse(shapes(1)))
    assert (tmp_path / "net-2.svg").read_bytes() == svg(parse(shapes(2)))


def test_a_single_answer_is_listed_as_its_text_alone():
    assert shown(shapes(2), shapes(2)).listing() == shapes(2)


def test_several_answers_are_listed_with_their_pictures_votes_and_checks():
    listing = shown(shapes(1), shapes(1), shapes(30), "hello", top=3).listing()
    assert [line for line in listing.splitlines() if line.startswith("#")] == [
        "# net-1.svg: 2 of 4 answers have this graph; no flaws found",
        "# net-2.svg: 1 of 4 answers have this graph; shapes off the canvas",
        "# net-3.svg: no shapes, lines that cannot be read",
    ]
    assert shapes(30) in listing


def test_only_as_many_answers_are_shown_as_differ():
    assert len(shown(shapes(1), shapes(1), shapes(2), top=3).best) == 2


def test_an_answer_larger_than_any_it_was_trained_on_has_a_note():
    note = "this diagram has 5 shapes, but the model was trained on diagrams of at most 4"
    assert shown(shapes(5), largest=4).remarks()[0].startswith(f"note: {note}")
    assert shown(shapes(4), largest=4).remarks() == []
    assert shown(shapes(5), largest=None).remarks() == []


def test_remarks_name_the_problems_of_the_text_and_then_the_votes():
    remarks = shown(shapes(2) + "\n[", shapes(1) + "\n[").remarks()
    assert remarks[0].startswith("note: line 3: ") and remarks[-1] == "lines that cannot be read"


def test_remarks_on_several_answers_name_the_picture():
    remarks = shown(shapes(1), "hello", top=2).remarks()
    assert [line.split(" line ")[0] for line in remarks] == ["note: net-2.svg:"]


def test_the_line_of_json_has_the_best_answer_and_the_others():
    request = Request("draw\n\u2028 \ud55c", 3, 2)
    found = shown(shapes(1), shapes(1), shapes(2), top=2, request=request, largest=1)
    line = found.record()
    assert line.isascii() and len(line.splitlines()) == 1
    record = json.loads(line)
    assert (record["number"], record["line"], record["request"]) == (2, 3, request.text)
    assert (record["text"], record["picture"], record["votes"], record["answers"]) == (shapes(1), "net-2-1.svg", 2, 3)
    (other,) = record["others"]
    assert other["text"] == shapes(2) and "trained on" in other["notes"][0] and other["flaws"] == []


def test_a_request_that_cannot_be_answered_has_a_line_of_json_too():
    assert json.loads(failure(Request("draw", 3, 2), "too long")) == {
        "number": 2,
        "line": 3,
        "request": "draw",
        "error": "too long",
    }
