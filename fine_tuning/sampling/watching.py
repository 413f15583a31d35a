"""Watch the tokens of a generation as they come, or stop it. Imports no torch.

    with watching(watcher):
        asker.candidates(prompts)

The code that generates asks for `current_watcher` and tells it how far the answers are. A watcher that raises ends the
generation.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol


class Watcher(Protocol):
    """Follows a generation. One call of `candidates` may generate several times, one after the other."""

    def begin(self, answers: int) -> None:
        """So many answers begin to be generated together. They are numbered from 0; the greedy one comes first."""

    def progress(self, answers: Mapping[int, Sequence[int]]) -> None:
        """The token ids so far of some of the answers, by number. Called again after a token or a few."""


_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@contextmanager
def watching(watcher: Watcher | None) -> Iterator[None]:
    """Let a watcher see what this thread generates inside the block. None: nobody sees it."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


def current_watcher() -> Watcher | None:
    """The watcher of this thread; None if nobody watches."""
    return _watcher.get()


class WatcherStreamer:
    """A watcher as a streamer for transformers' `generate`, which first gives it the prompts."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._ids: dict[int, list[int]] = {}

    def put(self, value: Any) -> None:
        """`value` is a tensor: the ids of the prompts, then the next token of each row."""
        if self._ids:
            for ids, token in zip(self._ids.values(), value.tolist(), strict=True):
                ids.append(token)
            self._watcher.progress(self._ids)
        else:
            self._ids = {row: [] for row in range(len(value))}
            self._watcher.begin(len(value))

    def end(self) -> None:
        """Do nothing: the answers are returned."""
