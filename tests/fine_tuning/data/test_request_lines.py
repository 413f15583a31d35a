"""Requests are read from a file or from stdin, one on each line, and only as far as they are needed."""

import io
import os
import threading
from types import SimpleNamespace

import pytest
from helpers import problems_of

from fine_tuning.data import request_lines
from fine_tuning.data.request_lines import Request, batches, check_requests, read_requests


def test_blank_lines_are_skipped_and_each_request_knows_its_line_and_its_number(tmp_path):
    path = tmp_path / "r.txt"
    path.write_bytes(b"\n  draw a \n\t\ndraw b\r\n\ndraw c")
    assert list(read_requests(str(path))) == [
        Request("draw a", 2, 1),
        Request("draw b", 4, 2),
        Request("draw c", 6, 3),
    ]
    assert check_requests(str(path)) == 3


def test_a_byte_order_mark_is_no_part_of_the_first_request(tmp_path):
    path = tmp_path / "r.txt"
    path.write_text("그려 줘\n", encoding="utf-8-sig")
    assert [request.text for request in read_requests(str(path))] == ["그려 줘"]


def test_only_line_breaks_part_requests(tmp_path):
    path = tmp_path / "r.txt"
    path.write_text("a\u2028b\x0cc\n", encoding="utf-8")
    assert [request.text for request in read_requests(str(path))] == ["a\u2028b\x0cc"]


def test_stdin_is_read_no_further_than_the_batch_at_hand(monkeypatch):
    stdin = io.BytesIO(b"a\nb\nc\nd\n")
    monkeypatch.setattr(request_lines.sys, "stdin", SimpleNamespace(buffer=stdin))
    assert check_requests("-") is None
    first = next(batches(read_requests("-"), 2))
    assert [request.text for request in first] == ["a", "b"]
    assert stdin.read() == b"c\nd\n"


def test_the_last_batch_holds_what_is_left():
    requests = (Request(text) for text in "abc")
    assert [[request.text for request in batch] for batch in batches(requests, 2)] == [["a", "b"], ["c"]]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_read_once(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    assert check_requests(str(path)) is None
    writer = threading.Thread(target=lambda: path.write_text("a request\n"))
    writer.start()
    assert [request.text for request in read_requests(str(path))] == ["a request"]
    writer.join()


def test_a_line_that_is_not_utf_8_is_named_after_the_requests_before_it(tmp_path):
    path = tmp_path / "r.txt"
    path.write_bytes(b"fine\n\xff\n")
    requests = read_requests(str(path))
    assert next(requests).text == "fine"
    assert problems_of(next, requests) == (f"--requests {path}: line 2 is not UTF-8. Save the file as UTF-8",)
