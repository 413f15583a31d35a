"""A page to test: the real server and the real queue with a model that needs no torch and writes what a test wants."""

import contextlib
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from helpers import Answer

from fine_tuning.run.errors import UserError
from fine_tuning.sampling.vote import Candidate, ranked
from fine_tuning.sampling.watching import current_watcher
from fine_tuning.web.asked import Asked
from fine_tuning.web.server import PageServer
from fine_tuning.web.tuned import Loaded
from fine_tuning.web.worker import Worker

PIECE = 8  # characters of a token
COLOURS = "(222, 235, 247), (49, 130, 189)"


def line(number: int, x: int, y: int, targets: Sequence[int] = ()) -> str:
    return f"[{number}, {x}, {y}, 'circle', 50, 50, 'solid arrow', {COLOURS}, {list(targets)}]"


CHAIN = "\n".join(line(k, 100 + 200 * k, 300, [k + 1] if k < 3 else []) for k in range(4))


@dataclass
class FakeModel:
    """Answers every request with `texts`, the greedy answer first. `pause` seconds pass between two tokens.

    `versions` counts the loads; `asked` are the requests that it has begun to answer.
    """

    texts: Sequence[str] = (CHAIN,)
    pause: float = 0.0
    problem: str = ""
    ended: bool = True
    bug: bool = False
    number: int = 0
    loads: int = 0
    asked: list[Asked] = field(default_factory=list)
    at_once: int = 0  # requests at work now
    most_at_once: int = 0

    def version(self) -> int:
        if self.problem:
            raise UserError(self.problem)
        return self.number

    def load(self) -> Loaded:
        self.loads += 1
        return Loaded(
            "models/orpo", lambda asked: FakeAsker(self, asked), lambda ids: self.texts[0][: PIECE * len(ids)]
        )


@dataclass(frozen=True, slots=True)
class FakeAsker:
    model: FakeModel
    ask: Asked

    def prompt(self, request: str) -> list[int]:
        if "too long" in request:
            raise UserError("the prompt has 9999 tokens, and this model takes 512 tokens, prompt and answer together")
        return [1]

    def candidates(self, prompts: Sequence[Sequence[int]]) -> list[list[Candidate]]:
        model, watcher = self.model, current_watcher()
        assert watcher is not None
        model.asked.append(self.ask)
        model.at_once += 1
        model.most_at_once = max(model.most_at_once, model.at_once)
        try:
            if model.bug:
                raise KeyError("a bug")
            watcher.begin(len(model.texts))
            ids: list[int] = []
            for k in range(len(model.texts[0]) // PIECE + 1):
                time.sleep(model.pause)
                ids.append(k)
                watcher.progress(dict.fromkeys(range(len(model.texts)), ids))
        finally:
            model.at_once -= 1
        return [ranked([Answer(text, model.ended) for text in model.texts])]


@contextlib.contextmanager
def page(
    model: FakeModel,
    state: dict[str, Any] | None = None,
    runs: Callable[[], dict[str, Any]] = lambda: {"steps": []},
    picture: Callable[[int, str], bytes | None] = lambda number, kind: None,
) -> Iterator[PageServer]:
    """A page at `server.address` on a free port."""
    worker = Worker(model)
    facts = {"model": "fake", "workspace": "demo", "examples": [], "queue": 0} | (state or {"adapter": "models/orpo"})
    server = PageServer(0, worker, lambda: facts | {"queue": worker.length}, runs, picture)
    worker.start()
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        worker.stop_all()
        assert worker.wait(10)


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    headers: Any
    body: bytes

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.body.splitlines()]


def request(address: str, body: Any = None, headers: dict[str, str] | None = None) -> Response:
    """GET an address or, with a body, POST it as JSON unless it is bytes already."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    given = {} if data is None else {"Content-Type": "application/json"}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(address, data, given | (headers or {})), timeout=60
        ) as found:
            return Response(found.status, found.headers, found.read())
    except urllib.error.HTTPError as error:
        return Response(error.code, error.headers, error.read())
