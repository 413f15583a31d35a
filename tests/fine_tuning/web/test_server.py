"""The page's server over plain HTTP: answers, one request at a time, and mistakes in words."""

import json
import socket
import time
from contextlib import closing

import pytest
from helpers import problems_of
from page_helpers import CHAIN, FakeModel, line, page, request

from diagram import parse
from diagram.drawio import drawio
from diagram.svg import svg
from fine_tuning.web.answering import SECONDS_BETWEEN_DRAWINGS
from fine_tuning.web.asked import MAX_CHARACTERS, read_asked
from fine_tuning.web.server import MAX_BODY, PageServer
from fine_tuning.web.worker import ANSWERS_KEPT, Worker

SLOW = SECONDS_BETWEEN_DRAWINGS / 4  # between tokens


def until(happened) -> None:
    deadline = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_request_is_drawn_shape_by_shape_and_then_answered(model, address):
    model.pause = SLOW
    *events, done = request(f"{address}ask", {"request": "a chain"}).events()
    assert events[0] == {"event": "loading"}
    drawings = [event for event in events if event["event"] == "drawing"]
    assert all(CHAIN.startswith(event["text"]) for event in drawings)
    shapes = [event["shapes"] for event in drawings if "svg" in event]
    assert shapes == sorted(set(shapes)) and len(shapes) >= 2 and shapes[-1] < 4  # the last line has no newline
    (answer,) = done["answers"]
    assert (done["event"], answer["text"], answer["svg"]) == ("done", CHAIN, svg(parse(CHAIN)).decode())
    assert (answer["checks"], answer["flawed"], answer["shapes"], answer["notes"]) == ("no flaws found", False, 4, [])


def test_the_place_of_a_picture_is_its_part_of_the_canvas(model, address):
    model.texts = [line(0, 500, 300)]
    (answer,) = request(f"{address}ask", {"request": "a circle"}).events()[-1]["answers"]
    left, top, width, height = answer["place"]
    assert (left + width / 2, top + height / 2) == pytest.approx((0.5, 0.5), abs=1e-4) and width < 0.2


def test_several_answers_come_with_their_votes_and_flaws(model, address):
    model.texts = [line(0, 100, 100) + "\n" + line(1, 110, 100), CHAIN, CHAIN.replace("100, 300", "100, 200")]
    done = request(f"{address}ask", {"request": "a chain", "top": 3}).events()[-1]
    assert [answer["checks"] for answer in done["answers"]] == [
        "2 of 3 answers have this graph; no flaws found",
        "1 of 3 answers have this graph; overlapping shapes",
        "2 of 3 answers have this graph; no flaws found",
    ]
    assert [answer["flawed"] for answer in done["answers"]] == [False, True, False]


def test_an_answer_can_be_downloaded_as_each_kind_of_file(model, address):
    model.texts = [CHAIN, CHAIN.replace("100, 300", "100, 200")]
    done = request(f"{address}ask", {"request": "a chain", "top": 2}).events()[-1]
    files = {kind: request(f"{address}answers/{done['key']}/0.{kind}") for kind in ("svg", "drawio", "png", "txt")}
    diagram = parse(CHAIN)
    assert files["svg"].body == svg(diagram) and files["drawio"].body == drawio(diagram)
    assert files["png"].body.startswith(b"\x89PNG") and files["txt"].body.decode() == f"{CHAIN}\n"
    for kind, file in files.items():
        assert file.headers["Content-Disposition"] == f'attachment; filename="diagram-1.{kind}"'
    assert request(f"{address}answers/{done['key']}/2.svg").status == 404
    assert request(f"{address}answers/{done['key']}/0.html").status == 404


def test_the_oldest_answers_are_forgotten(model, address):
    keys = [request(f"{address}ask", {"request": "a"}).events()[-1]["key"] for _ in range(ANSWERS_KEPT + 1)]
    found = [request(f"{address}answers/{key}/0.txt").status for key in (keys[0], keys[1], keys[-1])]
    assert found == [404, 200, 200]


def test_the_flags_of_ask_reach_the_model(model, address):
    asked = {"request": "a", "samples": 16, "top": 6, "seed": 7, "grammar": True}
    request(f"{address}ask", asked)
    request(f"{address}ask", {"request": "a"})
    first, second = model.asked
    assert (first.samples, first.top, first.seed, first.grammar, first.always) == (16, 6, 7, True, True)
    assert (second.samples, second.sample_count, second.top, second.seed, second.always) == (None, 8, 1, 2025, False)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"request": " \n"}, 400, "the request is empty"),
        ({"request": None}, 400, "there is no request"),
        ({}, 400, "there is no request"),
        ([1], 400, "there is no request"),
        (b"request=a", 400, "this is not JSON"),
        (b"\xff", 400, "this is not JSON"),
        (b"[" * 100_000, 400, "this is not JSON"),
        ({"request": "a" * (MAX_CHARACTERS + 1)}, 400, "10,001 characters, and at most 10,000"),
        ({"request": "a" * MAX_BODY}, 413, "the request is too long"),
        ({"request": "a", "seed": -1}, 400, "seed is not a whole number"),
        ({"request": "a", "seed": None}, 400, "seed is not a whole number"),
        ({"request": "a", "top": True}, 400, "top is not a whole number"),
        ({"request": "a", "top": 3, "samples": 0}, 400, "to show 3 answers, choose from more than 1"),
        ({"request": "too long for it"}, 200, "the prompt has 9999 tokens"),
    ],
)
def test_a_mistake_is_answered_in_words(address, body, status, words):
    response = request(f"{address}ask", body)
    assert response.status == status
    event = response.events()[-1]
    assert event["event"] == "error" and any(words in problem for problem in event["problems"])


def test_half_of_a_character_in_a_request_does_no_harm():
    assert read_asked(b'{"request": "a \\ud83d b"}').request == "a ? b"


def test_without_an_adapter_the_page_opens_and_a_request_is_answered_with_the_command_to_run():
    problem = "demo/models/sft: there is no adapter of step 1. Run it first: python fine_tuning/sft_fine_tuning.py"
    model = FakeModel(problem=problem)
    with page(model, {"problem": problem}) as server:
        assert json.loads(request(f"{server.address}state").body)["problem"] == problem
        assert request(f"{server.address}ask", {"request": "a"}).events() == [{"event": "error", "problems": [problem]}]
        model.problem = ""
        assert request(f"{server.address}ask", {"request": "a"}).events()[-1]["event"] == "done"


def test_the_model_is_loaded_again_only_when_its_adapter_has_changed(model, address):
    for number in (0, 0, 1):
        model.number = number
        request(f"{address}ask", {"request": "a"})
    assert model.loads == 2


def test_a_bug_is_said_to_be_one_and_the_next_request_is_answered(model, address, capsys):
    model.bug = True
    (*_, event) = request(f"{address}ask", {"request": "a"}).events()
    assert event["event"] == "error" and "this is a bug" in event["problems"][0]
    assert "KeyError: 'a bug'" in capsys.readouterr().err
    model.bug = False
    assert request(f"{address}ask", {"request": "a"}).events()[-1]["event"] == "done"


class Asking:
    """A browser that has sent a request and reads the response only on request."""

    def __init__(self, address: str, words: str) -> None:
        host, port = address.removeprefix("http://").strip("/").split(":")
        self.connection = socket.create_connection((host, int(port)), timeout=20)
        body = json.dumps({"request": words})
        head = [
            "POST /ask HTTP/1.1",
            "Host: localhost",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
        ]
        self.connection.sendall("\r\n".join([*head, "", body]).encode())

    def events(self) -> list[dict]:
        with closing(self.connection):
            content = b"".join(iter(lambda: self.connection.recv(2**16), b""))
        return [json.loads(found) for found in content.partition(b"\r\n\r\n")[2].splitlines()]


def test_one_request_is_answered_at_a_time_and_the_next_one_says_that_it_waits(model, address):
    model.pause = SLOW
    asking = [Asking(address, f"request {number}") for number in range(3)]
    until(lambda: json.loads(request(f"{address}state").body)["queue"] == 3)  # the page itself answers at once
    found = [each.events() for each in asking]
    assert [events[-1]["event"] for events in found] == ["done"] * 3 and model.most_at_once == 1
    waits = sorted([event["before"] for event in events if event["event"] == "waiting"] for events in found)
    assert waits == [[], [1, 0], [2, 1, 0]]


def test_a_browser_that_goes_ends_its_request_and_one_that_waits_leaves_the_queue(model, address):
    model.pause = 60.0 / (len(CHAIN) // 8)
    first = Asking(address, "first")
    until(lambda: model.at_once)
    second = Asking(address, "second")
    until(lambda: json.loads(request(f"{address}state").body)["queue"] == 2)
    second.connection.close()
    until(lambda: json.loads(request(f"{address}state").body)["queue"] == 1)
    first.connection.close()
    until(lambda: json.loads(request(f"{address}state").body)["queue"] == 0)
    model.pause = 0
    assert request(f"{address}ask", {"request": "third"}).events()[-1]["event"] == "done"
    assert [asked.request for asked in model.asked] == ["first", "third"]


HOSTILE = {
    "a script": "<script>document.title = 'broken'</script>",
    "the end of a picture": "</svg><script>document.title = 'broken'</script>",
    "an address": "javascript:document.title='broken'",
    "quotes": "\"'><img src=x onerror=\"document.title='broken'\">",
    "a line of 100 kB": "[" * 100_000,
    "control characters": "\x00\x1b[31m\u202e\u2028",
    "a shape with a script": f"{line(0, 100, 100)[:-1]}<script>]",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_answer_is_text_in_json_and_no_part_of_a_picture(text):
    with page(FakeModel(texts=[f"{line(0, 500, 300)}\n{text}"])) as server:
        response = request(f"{server.address}ask", {"request": text[:1000]})
        assert response.headers["Content-Type"] == "application/x-ndjson"
        done = response.events()[-1]
        (answer,) = done["answers"]
        assert answer["text"].endswith(text) and answer["flawed"] and "script" not in answer["svg"]
        file = request(f"{server.address}answers/{done['key']}/0.txt")
        assert (
            file.headers["Content-Type"].startswith("text/plain")
            and "attachment" in file.headers["Content-Disposition"]
        )


def test_a_port_that_is_taken_is_named_with_the_next_one(model):
    with page(model) as server:
        port = server.server_address[1]
        (problem,) = problems_of(PageServer, port, Worker(model), dict, dict, lambda number, kind: None)
        assert problem.startswith(f"--port {port}: ") and problem.endswith(f"--port {port + 1}")
