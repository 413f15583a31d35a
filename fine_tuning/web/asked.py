"""What the page asks for, read from its JSON. A mistake in it is a UserError."""

import json
from dataclasses import dataclass
from typing import Any

from fine_tuning.run.errors import UserError
from fine_tuning.run.options import MAX_SEED, SEED
from fine_tuning.sampling.vote import SAMPLES

MAX_CHARACTERS = 10_000  # of a request: far more than a diagram takes to describe, and read by a CPU in seconds
MAX_SAMPLES = 64  # on the page: what fits on it


@dataclass(frozen=True, slots=True)
class Asked:
    """A request and how to answer it, as the flags of ask.py say it.

    samples    answers besides the greedy one; None for SAMPLES if the greedy one has a flaw
    top        how many of the best answers to show
    seed       of the samples
    grammar    hold the answers to the diagram language
    """

    request: str
    samples: int | None = None
    top: int = 1
    seed: int = SEED
    grammar: bool = False

    @property
    def always(self) -> bool:
        """True if the model samples whatever the greedy answer is like."""
        return self.samples is not None or self.top > 1

    @property
    def sample_count(self) -> int:
        """How many answers it samples, if it does."""
        return SAMPLES if self.samples is None else self.samples


def read_asked(body: bytes) -> Asked:
    """Read what the page sends. Raises UserError if it is something else, or if the request is empty or too long."""
    try:
        fields = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        raise UserError("this is not JSON") from None
    if not isinstance(fields, dict) or not isinstance(fields.get("request"), str):
        raise UserError("there is no request. Say what to draw")
    request = fields["request"].encode("utf-8", "replace").decode("utf-8")  # JSON can hold half of a character
    if not request.strip():
        raise UserError("the request is empty. Say what to draw")
    if len(request) > MAX_CHARACTERS:
        raise UserError(
            f"the request has {len(request):,} characters, and at most {MAX_CHARACTERS:,} are read. Shorten it"
        )
    samples = None if fields.get("samples") is None else _whole(fields, "samples", 0, MAX_SAMPLES, 0)
    asked = Asked(
        request,
        samples,
        _whole(fields, "top", 1, 1 + MAX_SAMPLES, 1),
        _whole(fields, "seed", 0, MAX_SEED, SEED),
        fields.get("grammar") is True,
    )
    if asked.top > 1 + asked.sample_count:
        raise UserError(f"to show {asked.top} answers, choose from more than {1 + asked.sample_count}")
    return asked


def _whole(fields: dict[str, Any], name: str, low: int, high: int, default: int) -> int:
    value = fields.get(name, default)
    if type(value) is not int or not low <= value <= high:
        raise UserError(f"{name} is not a whole number from {low} to {high}")
    return value
