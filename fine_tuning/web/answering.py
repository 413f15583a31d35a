"""Answer one request: tell the page of the diagram shape by shape while it is generated, then of the best answers.

The page gets events, JSON objects with the key "event":

    drawing   the text of the greedy answer so far, and the shapes that are whole: a picture and its place on the canvas
    more      how many tokens the further answers have
    done      the best answers, each with its picture, text, checks and notes

Pictures are SVG files of `diagram.svg`, which hold numbers and escaped text only.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from diagram import Diagram, parse
from diagram.picture_geometry import CANVAS, drawn_box
from diagram.svg import svg
from fine_tuning.data.request_lines import Request
from fine_tuning.sampling.show import Shown, best_shown
from fine_tuning.sampling.vote import Candidate
from fine_tuning.sampling.watching import watching
from fine_tuning.web.asked import Asked
from fine_tuning.web.tuned import Loaded

Send = Callable[[dict[str, Any]], None]
SECONDS_BETWEEN_DRAWINGS = 0.1


class Stopped(Exception):
    """Nobody waits for the answer any longer."""


def answer(loaded: Loaded, asked: Asked, send: Send, is_stopped: Callable[[], bool]) -> Shown:
    """Answer a request as ask.py does. Sends the events "drawing" and "more".

    Raises UserError if the model cannot answer it, and Stopped as soon as `is_stopped` returns True.
    """
    asker = loaded.asker(asked)
    prompt = asker.prompt(asked.request)
    with watching(_Live(loaded.text, send, is_stopped)):
        (candidates,) = asker.candidates([prompt])
    return best_shown(Request(asked.request), candidates, Path("diagram.svg"), asked.top, loaded.largest)


def done(shown: Shown, asked: Asked, loaded: Loaded, seconds: float) -> dict[str, Any]:
    """The event "done"."""
    return {
        "event": "done",
        "request": asked.request,
        "answers": [_answer(shown, candidate) for candidate in shown.best],
        "generated": shown.answers,
        "asked_for": asked.top,
        "adapter": loaded.name,
        "notes": list(loaded.notes),
        "seconds": round(seconds, 1),
    }


def _answer(shown: Shown, candidate: Candidate) -> dict[str, Any]:
    return {
        **_picture(candidate.diagram),
        "text": candidate.text,
        "shapes": len(candidate.diagram.nodes),
        "checks": shown.checks(candidate),
        "flawed": bool(candidate.remarks),
        "notes": shown.notes(candidate),
    }


def _picture(diagram: Diagram) -> dict[str, Any]:
    """The picture of a diagram, and the part of the canvas that it shows, in shares of the canvas."""
    view = drawn_box(diagram) or CANVAS
    place = (view.left / CANVAS.width, view.top / CANVAS.height, view.width / CANVAS.width, view.height / CANVAS.height)
    return {"svg": svg(diagram).decode("utf-8"), "place": [round(share, 5) for share in place]}


class _Live:
    """A watcher that draws the greedy answer while it is generated, and counts the tokens of further answers."""

    def __init__(self, text: Callable[[list[int]], str], send: Send, is_stopped: Callable[[], bool]) -> None:
        self._text, self._send, self._is_stopped = text, send, is_stopped
        self._generations = self._answers = self._lines = 0
        self._last = 0.0

    def begin(self, answers: int) -> None:
        self._stop_if_told()
        self._generations += 1
        self._answers = answers

    def progress(self, answers: Mapping[int, Sequence[int]]) -> None:
        self._stop_if_told()
        if time.monotonic() - self._last < SECONDS_BETWEEN_DRAWINGS:
            return
        if self._generations == 1 and 0 in answers:
            self._send_drawing(list(answers[0]))
        else:  # the greedy answer is drawn already
            self._send({"event": "more", "answers": self._answers - 1, "tokens": max(map(len, answers.values()))})
        self._last = time.monotonic()

    def _send_drawing(self, ids: list[int]) -> None:
        text = self._text(ids)
        event = {"event": "drawing", "text": text, "tokens": len(ids)}
        whole, _, _ = text.rpartition("\n")
        lines = whole.count("\n") + bool(whole)
        if lines > self._lines:  # the text grows with every token, the picture with every line
            self._lines = lines
            diagram = parse(whole)
            event |= {**_picture(diagram), "shapes": len(diagram.nodes)}
        self._send(event)

    def _stop_if_told(self) -> None:
        if self._is_stopped():
            raise Stopped
