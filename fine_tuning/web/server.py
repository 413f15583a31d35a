"""The page's HTTP server, on 127.0.0.1 only.

    GET  /, /page.css ...               the files of the page
    GET  /state, /runs                  JSON: the model, examples and the queue; the three steps
    GET  /runs/1/plot.png               a picture of a step's log: plot or sheet
    GET  /answers/KEY/0.svg             an answer as a file: .svg, .png, .drawio or .txt
    POST /ask                           a request as JSON; the response is a line of JSON for each event

A response to /ask ends when the answer is there. If the browser closes it earlier, the request is dropped.
"""

import json
import os
import queue
import re
import select
import socket
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any

from diagram.pictures import SUFFIXES, picture_bytes
from fine_tuning.run.errors import UserError, reason_of
from fine_tuning.web.asked import read_asked
from fine_tuning.web.guard import HEADERS, refusal
from fine_tuning.web.worker import Job, Worker

HOST = "127.0.0.1"
MAX_BODY = 2**17  # bytes
SECONDS_BETWEEN_LOOKS = 0.1  # at a browser that waits: is it still there?
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".drawio": "application/xml",
    ".txt": "text/plain; charset=utf-8",
    ".json": "application/json",
}
STATIC = {f"/{file.name}": file.read_bytes() for file in files("fine_tuning.web").joinpath("static").iterdir()}

Facts = Callable[[], dict[str, Any]]
Picture = Callable[[int, str], bytes | None]


class PageServer(ThreadingHTTPServer):
    """Serves the page. `state` and `runs` return what /state and /runs show; `picture` a picture of a step's log."""

    daemon_threads = True
    allow_reuse_address = os.name != "nt"  # on Windows it would let two programs have one port

    def __init__(self, port: int, worker: Worker, state: Facts, runs: Facts, picture: Picture) -> None:
        """Raises UserError if the port cannot be had."""
        self.worker, self.state, self.runs, self.picture = worker, state, runs, picture
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise UserError(
                f"--port {port}: {os.strerror(error.errno) if error.errno else reason_of(error)}. Is the page open "
                f"already? Choose another port, or 0 for any free one: --port {port + 1 if port < 65535 else 0}"
            ) from None

    @property
    def address(self) -> str:
        """Where to open the page."""
        return f"http://{HOST}:{self.server_address[1]}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing if a browser has closed its connection; else print the traceback."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    server_version, sys_version = "text-to-diagram", ""
    timeout = 60  # seconds that a browser may take to send or to read something

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        name = "/page.html" if path == "/" else path
        if self._refused(is_page=path == "/"):
            return
        if name in STATIC:
            self._respond(STATIC[name], name[name.rindex(".") :])
        elif path in ("/state", "/runs"):
            facts = self.server.state() if path == "/state" else self.server.runs()
            self._respond(json.dumps(facts).encode(), ".json")
        elif found := re.fullmatch(r"/runs/([123])/(plot|sheet)\.png", path):
            self._respond(self.server.picture(int(found[1]), found[2]), ".png")
        elif found := re.fullmatch(r"/answers/([0-9a-f]{16})/(\d{1,3})(\.[a-z]+)", path):
            self._respond_with_answer(found[1], int(found[2]), found[3])
        else:
            self._respond(None, "")

    def do_POST(self) -> None:
        if self._refused(is_post=True):
            return
        if self.path != "/ask":
            return self._respond(None, "")
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or len(length) > 9:
            return self._fail(411, "Send Content-Length")
        if int(length) > MAX_BODY:
            return self._fail(413, f"the request is too long: at most {MAX_BODY:,} bytes are read. Shorten it")
        try:
            job = self.server.worker.submit(read_asked(self.rfile.read(int(length))))
        except UserError as error:
            return self._fail(400, *error.problems)
        try:
            self._stream(job)
        finally:
            self.server.worker.stop(job)

    def _stream(self, job: Job) -> None:
        """Send the events of a request until it ends or the browser goes."""
        self._begin(200, "application/x-ndjson", None)
        before = 0
        while True:
            try:
                event = job.events.get(timeout=SECONDS_BETWEEN_LOOKS)
                if event is None:
                    return
            except queue.Empty:
                if self._browser_is_gone():
                    return
                now = self.server.worker.before(job)
                if now == before:
                    continue
                before, event = now, {"event": "waiting", "before": now}
            self.wfile.write(json.dumps(event).encode() + b"\n")
            self.wfile.flush()

    def _browser_is_gone(self) -> bool:
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)

    def _respond_with_answer(self, key: str, number: int, suffix: str) -> None:
        answers = self.server.worker.kept(key)
        if number >= len(answers) or suffix not in (*SUFFIXES, ".txt"):
            return self._respond(None, "")
        answer = answers[number]
        is_text = suffix == ".txt"
        content = f"{answer.text}\n".encode("utf-8", "replace") if is_text else picture_bytes(answer.diagram, suffix)
        name = f"diagram-{number + 1}{suffix}" if len(answers) > 1 else f"diagram{suffix}"
        self._respond(content, suffix, {"Content-Disposition": f'attachment; filename="{name}"'})

    def _refused(self, is_page: bool = False, is_post: bool = False) -> bool:
        refused = refusal(self.headers, is_page, is_post)
        if refused:
            self._fail(*refused)
        return refused is not None

    def _fail(self, status: int, *problems: str) -> None:
        content = json.dumps({"event": "error", "problems": problems}).encode() + b"\n"
        self._begin(status, TYPES[".json"], len(content))
        self.wfile.write(content)

    def _respond(self, content: bytes | None, suffix: str, headers: dict[str, str] | None = None) -> None:
        """Send a file. None is a file that does not exist."""
        if content is None:
            return self._fail(404, "There is no such page")
        self._begin(200, TYPES[suffix], len(content), headers)
        self.wfile.write(content)

    def _begin(self, status: int, kind: str, length: int | None, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()

    def end_headers(self) -> None:
        """End the headers of any response, also of those that the library sends about malformed requests."""
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: requests are nobody else's business."""
