"""Marks around the names in a request that is being built: which shape each name stands for, and which connection.

Each name is enclosed in a mark. It holds the number of the shape and of the shape it is connected to, if any. `unmark`
removes the marks and returns what they held and where they were.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_OPEN, _CLOSE, _ZERO = "\ue000", "\ue001", 0xE100  # private-use characters: they occur in no request
_TARGETS = 101  # the second number of a mark names the source if it is from 1 to 100, the target if it is at least this
_GROUPS = 500  # and a group if it is at least this
_MARKED = re.compile(f"{_OPEN}(.)(.)([^{_CLOSE}]*){_CLOSE}")


@dataclass(frozen=True, slots=True)
class Mention:
    """The characters from `start` to `end` of a request, which name `shape`.

    If they also state a connection, `source` is the shape that points to `shape`, or `target` is the shape that it
    points to. In a network they name a `group` of shapes, counted from 0, and `shape` is the first of the group.
    """

    start: int
    end: int
    shape: int
    source: int | None = None
    target: int | None = None
    group: int | None = None


def mark(text: str, shape: int, source: int | None = None, target: int | None = None) -> str:
    """Mark the text as the name of a shape, and of a connection from `source` to it or from it to `target`."""
    partner = 0
    if target is not None:
        partner = _TARGETS + target
    elif source is not None:
        partner = 1 + source
    return f"{_OPEN}{chr(_ZERO + shape)}{chr(_ZERO + partner)}{text}{_CLOSE}"


def mark_group(text: str, shape: int, group: int) -> str:
    """Mark the text as the name of a group of shapes whose first is `shape`."""
    return f"{_OPEN}{chr(_ZERO + shape)}{chr(_ZERO + _GROUPS + group)}{text}{_CLOSE}"


def unmark(text: str) -> tuple[str, list[Mention]]:
    """Return the text without its marks, and a mention for each of them."""
    plain, mentions, length, done = [], [], 0, 0
    for match in _MARKED.finditer(text):
        plain.append(text[done : match.start()])
        length += len(plain[-1])
        shape, partner = ord(match[1]) - _ZERO, ord(match[2]) - _ZERO
        source = partner - 1 if 0 < partner < _TARGETS else None
        target = partner - _TARGETS if _TARGETS <= partner < _GROUPS else None
        group = partner - _GROUPS if partner >= _GROUPS else None
        mentions.append(Mention(length, length + len(match[3]), shape, source, target, group))
        plain.append(match[3])
        length += len(match[3])
        done = match.end()
    return "".join([*plain, text[done:]]), mentions


def shapes_in(text: str) -> list[int]:
    """The shapes that the marked text names, in the order of their first mentions."""
    return list(dict.fromkeys(ord(match[1]) - _ZERO for match in _MARKED.finditer(text)))


def renumber(text: str, numbers: Mapping[int, int]) -> str:
    """The marked text with the new number of each shape. It must mark no groups."""

    def renumbered(match: re.Match[str]) -> str:
        partner = ord(match[2]) - _ZERO
        if partner:
            base = _TARGETS if partner >= _TARGETS else 1
            partner = base + numbers[partner - base]
        return f"{_OPEN}{chr(_ZERO + numbers[ord(match[1]) - _ZERO])}{chr(_ZERO + partner)}{match[3]}{_CLOSE}"

    return _MARKED.sub(renumbered, text)
