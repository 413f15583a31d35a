"""The one thread that asks the model. Requests wait in a queue, and a request that nobody waits for is dropped."""

import queue
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any, Protocol

from fine_tuning.run.errors import UserError, explain
from fine_tuning.sampling.vote import Candidate
from fine_tuning.web.answering import Stopped, answer, done
from fine_tuning.web.asked import Asked
from fine_tuning.web.tuned import Loaded

MOST_WAITING = 20
ANSWERS_KEPT = 50  # for downloads


class Model(Protocol):
    """What loads the model, such as `TunedModel`."""

    def version(self) -> Any: ...
    def load(self) -> Loaded: ...


@dataclass(eq=False, slots=True)
class Job:
    """A request in the queue. Its events end with None."""

    asked: Asked
    events: "queue.Queue[dict[str, Any] | None]" = field(default_factory=queue.Queue)
    stopped: threading.Event = field(default_factory=threading.Event)


class Worker(threading.Thread):
    """Answers one request after the other."""

    def __init__(self, model: Model) -> None:
        super().__init__(daemon=True, name="worker")
        self._model = model
        self._jobs: list[Job] = []  # the first is at work
        self._changed = threading.Condition()
        self._loaded: Loaded | None = None
        self._version: Any = None
        self._answers: OrderedDict[str, tuple[Candidate, ...]] = OrderedDict()

    def submit(self, asked: Asked) -> Job:
        """Put a request at the end of the queue. Raises UserError if too many wait."""
        with self._changed:
            if len(self._jobs) > MOST_WAITING:
                raise UserError(f"{MOST_WAITING} requests are waiting already. Try again later")
            job = Job(asked)
            self._jobs.append(job)
            self._changed.notify_all()
        return job

    def stop(self, job: Job) -> None:
        """Drop a request that waits, or end its generation at the next token."""
        job.stopped.set()
        with self._changed:
            if job in self._jobs[1:]:
                self._jobs.remove(job)

    def stop_all(self) -> None:
        with self._changed:
            for job in self._jobs:
                job.stopped.set()

    def wait(self, seconds: float) -> bool:
        """Wait until nothing is at work. False if something still is after so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._jobs, seconds)

    def before(self, job: Job) -> int:
        """How many requests come before this one."""
        with self._changed:
            return self._jobs.index(job) if job in self._jobs else 0

    @property
    def length(self) -> int:
        """How many requests are at work or waiting."""
        return len(self._jobs)

    def kept(self, key: str) -> tuple[Candidate, ...]:
        """The answers shown to an earlier request; none if they are forgotten."""
        with self._changed:
            return self._answers.get(key, ())

    def run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs)
                job = self._jobs[0]
            if not job.stopped.is_set():
                self._answer(job)
            job.events.put(None)
            with self._changed:
                self._jobs.remove(job)
                self._changed.notify_all()

    def _answer(self, job: Job) -> None:
        send: Callable[[dict[str, Any]], None] = job.events.put
        try:
            loaded = self._latest(send)
            start = time.perf_counter()
            shown = answer(loaded, job.asked, send, job.stopped.is_set)
            event = done(shown, job.asked, loaded, time.perf_counter() - start)
            send(event | {"key": self._keep(tuple(shown.best))})
        except Stopped:
            pass
        except UserError as error:
            send({"event": "error", "problems": list(error.problems)})
        except Exception as error:
            explanation = explain(error)
            if explanation is None:
                traceback.print_exc()
                explanation = "this is a bug; the terminal in which the page was started shows where"
            send({"event": "error", "problems": [explanation]})

    def _latest(self, send: Callable[[dict[str, Any]], None]) -> Loaded:
        """The model, loaded again if its adapter has changed."""
        version = self._model.version()
        if self._loaded is None or version != self._version:
            send({"event": "loading"})
            self._loaded = None  # frees its memory first
            self._loaded, self._version = self._model.load(), version
        return self._loaded

    def _keep(self, answers: tuple[Candidate, ...]) -> str:
        key = token_hex(8)
        with self._changed:
            self._answers[key] = answers
            while len(self._answers) > ANSWERS_KEPT:
                self._answers.popitem(last=False)
        return key
