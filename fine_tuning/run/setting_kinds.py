"""The kinds of values that training settings have, and how each is read from text."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
# The linear layers of Llama's blocks, in their order there. Other names follow them in alphabetical order, so that the
# same modules are the same setting, however a user orders them.
LLAMA_MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, slots=True)
class Kind:
    """`must_be` completes the sentence "it must be"; `read` turns text into a value, or raises ValueError."""

    must_be: str
    read: Callable[[str], Any]


def whole(low: int, high: int) -> Kind:
    """A whole number from `low` to `high`."""

    def read(text: str) -> int:
        # Longer numbers are out of range, and int() refuses thousands of digits.
        if not re.fullmatch(r"\d{1,20}", text, re.ASCII) or not low <= int(text) <= high:
            raise ValueError(text)
        return int(text)

    return Kind(f"a whole number from {low} to {high}", read)


def number(must_be: str, accepts: Callable[[float], bool]) -> Kind:
    """A finite number that `accepts` is true for."""

    def read(text: str) -> float:
        value = float(text) if NUMBER.fullmatch(text) else math.nan
        if not math.isfinite(value) or not accepts(value):
            raise ValueError(text)
        return value + 0.0  # turns -0.0 into 0.0

    return Kind(must_be, read)


def _read_truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _read_names(text: str) -> tuple[str, ...]:
    names = [name.strip() for name in text.split(",")]
    if not all(map(NAME.fullmatch, names)) or len(set(names)) < len(names):
        raise ValueError(text)
    known = [name for name in LLAMA_MODULES if name in names]
    return (*known, *sorted(set(names) - set(known)))


TRUTH = Kind("true or false", _read_truth)
NAMES = Kind("different names of modules, separated by commas", _read_names)


def as_text(value: Any) -> str:
    """A setting's value as a user types it: what `read` takes."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value)
