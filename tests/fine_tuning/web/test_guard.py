"""Whom the page's server answers: programs on this machine, and no web site that is open in the same browser."""

import re
import socket
from contextlib import closing

import pytest
from page_helpers import page, request


def raw(address: str, *lines: str) -> bytes:
    """The response to a request as it is written here."""
    host, port = address.removeprefix("http://").strip("/").split(":")
    with closing(socket.create_connection((host, int(port)), timeout=20)) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        return b"".join(iter(lambda: connection.recv(2**16), b""))


@pytest.mark.parametrize(
    "path", ["", "page.css", "page.js", "ask.js", "runs.js", "icon.svg", "state", "runs", "nothing"]
)
def test_every_response_forbids_foreign_content_frames_and_sniffing(address, path):
    headers = request(address + path).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff" and headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_a_malformed_request_gets_the_same_headers(address):
    assert b"Content-Security-Policy: default-src 'none'" in raw(address, "PUT / HTTP/1.1", "Host: localhost")


def test_the_page_loads_nothing_from_elsewhere(address):
    for path in ("", "page.css", "page.js", "ask.js", "runs.js"):
        text = request(address + path).body.decode()
        assert not re.search(r"https?:|[\"'`(]//|@import", text)
        assert "innerHTML" not in text and "eval(" not in text and " style=" not in text and "onclick" not in text


def test_the_page_is_on_the_loopback_address_only(model):
    with page(model) as server:
        assert server.server_address[0] == "127.0.0.1" and server.address.startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    "host", ["example.com", "127.0.0.1.example.com", "example.com:8421", "localhost.", "0.0.0.0", ""]
)
@pytest.mark.parametrize("path", ["", "state", "answers/0123456789abcdef/0.svg"])
def test_another_name_for_this_machine_is_refused(address, host, path):
    assert request(address + path, headers={"Host": host}).status == 403


@pytest.mark.parametrize("lines", [[], ["Host: localhost", "Host: example.com"]])
def test_no_host_and_two_hosts_are_refused(address, lines):
    assert b" 403 " in raw(address, "GET /state HTTP/1.0", *lines).split(b"\r\n")[0]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:9000", "LOCALHOST", "[::1]:8421"])
def test_the_names_of_the_loopback_address_are_answered_at_any_port(address, host):
    assert request(f"{address}state", headers={"Host": host}).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://example.com"},
        {"Origin": "null"},
        {"Origin": "https://127.0.0.1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_site_can_neither_ask_nor_read(address, model, headers):
    assert request(f"{address}ask", {"request": "a chain"}, headers).status == 403
    assert request(f"{address}runs/1/plot.png", headers=headers).status == 403
    assert model.asked == []


def test_another_site_may_link_to_the_page(address):
    assert request(address, headers={"Sec-Fetch-Site": "cross-site"}).status == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_a_form_of_another_site_asks_nothing(address, model, kind):
    assert request(f"{address}ask", {"request": "a chain"}, {"Content-Type": kind}).status == 415
    assert model.asked == []


@pytest.mark.parametrize(
    "path", ["../server.py", "page.css/..", "%2e%2e/server.py", "runs/4/plot.png", "runs/1/secret.png"]
)
def test_only_the_files_of_the_page_are_served(address, path):
    assert b" 404 " in raw(address, f"GET /{path} HTTP/1.1", "Host: localhost").split(b"\r\n")[0]
