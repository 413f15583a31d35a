"""Beginnings of a label as `repr` writes it, with the comma behind it: 'Sales data', or "user's data",

Python's own rule: single quotes, unless the text has a single quote and no double one. `\\` stands for a backslash,
and `\'` for a single quote if there is a double one too. No other escapes are taken, because a label has only printable
characters.

A token may hold a part of a character only. A byte of such a part stands in the texts as Python's error handler
"surrogateescape" decodes it.
"""

from functools import lru_cache
from itertools import product
from typing import NamedTuple

from diagram.labels import MAX_LABEL

_BEHIND = ", "
_FIRST_PART, _LAST_PART = "\udc80", "\udcff"
_AFTER = {2: 0xE0, 3: 0xF0, 4: 0xF4}  # what the first byte of a character of so many bytes is below. From 0xF4: private


class Letters(NamedTuple):
    """How many ordinary characters may follow at most. The shortest text behind any of them is what it was before."""

    room: int


class _Written(NamedTuple):
    """What matters of a beginning.

    length       characters of the label
    single      a single quote is in it
    double      a double quote is in it
    escaped     its last character is a backslash that waits for what it escapes
    part        the bytes of a character that is not complete
    behind      what stands behind the closing quote; None before it
    """

    quote: str
    length: int = 0
    single: bool = False
    double: bool = False
    escaped: bool = False
    part: bytes = b""
    behind: str | None = None

    @property
    def owed(self) -> str:
        """The quote that must still come, so that `repr` would write the label like this."""
        if self.quote == '"':
            return "" if self.single else "'"
        return '"' if self.single and not self.double else ""

    @property
    def size(self) -> int:
        """The characters of the shortest label that begins like this."""
        return self.length + (self.escaped or bool(self.part)) + len(self.owed)


def begins_label(text: str) -> bool:
    """True if a text is a whole label or can become one."""
    return not text or _read(text) is not None


def ends_label(text: str) -> bool:
    """True if a text is a whole label with the comma behind it."""
    written = _read(text) if text else None
    return written is not None and written.behind == _BEHIND


def rest_of_label(text: str) -> str:
    """The shortest text that makes the beginning of a label whole."""
    written = _read(text)
    if written is None:
        raise ValueError(f"no label begins with {text!r}")
    if written.behind is not None:
        return _BEHIND[len(written.behind) :]
    middle = "\\" if written.escaped else _as_text(_completed(written.part) or b"")
    return middle + written.owed + written.quote + _BEHIND


def kept_of_label(text: str) -> str:
    """The same beginning for all that may go on in the same way, however they differ so far."""
    written = _read(text) if text else None
    if written is None:
        return text
    if written.behind is not None:
        return f"''{written.behind}"
    quotes = "'" * written.single if written.quote == '"' else '"' * written.double + "\\'" * written.single
    ordinary = "x" * (written.length - written.single - (written.double and written.quote == "'"))
    return written.quote + quotes + ordinary + "\\" * written.escaped + _as_text(written.part)


def letters_in(text: str) -> Letters | None:
    """What ordinary characters, neither quotes nor backslashes, may follow inside the quotes; None outside of them."""
    written = _read(text) if text else None
    if written is None or written.behind is not None or written.escaped or written.part:
        return None
    return Letters(MAX_LABEL - written.size)


def is_ordinary(text: str) -> bool:
    """True if a text has only characters that stand for themselves in every label."""
    return text.isprintable() and not {"'", '"', "\\"} & set(text)


@lru_cache(maxsize=2**12)
def _read(text: str) -> _Written | None:
    """What is written of a label, with the comma behind it; None if no label begins like this."""
    if text[0] not in "'\"":
        return None
    written: _Written | None = _Written(text[0])
    for character in text[1:]:
        written = _one_more(written, character) if written else None
    return written


def _one_more(written: _Written, character: str) -> _Written | None:
    quote, length, single, double, escaped, part, behind = written
    if behind is not None:
        return written._replace(behind=behind + character) if _BEHIND.startswith(behind + character) else None
    if _FIRST_PART <= character <= _LAST_PART and not escaped:
        part += character.encode(errors="surrogateescape")
        completed = _completed(part)
        if completed is None:
            return None
        longer = written._replace(part=part) if completed else written._replace(length=length + 1, part=b"")
    elif part:
        return None
    elif escaped:
        if character != "\\" and (character != "'" or quote != "'"):
            return None
        longer = _Written(quote, length + 1, single or character == "'", double)
    elif character == "\\":
        longer = written._replace(escaped=True)
    elif character == quote:
        return None if written.owed else written._replace(behind="")
    elif character.isprintable():
        longer = _Written(quote, length + 1, single or character == "'", double or character == '"')
    else:
        return None
    return longer if longer.size <= MAX_LABEL else None


@lru_cache(maxsize=2**12)
def _completed(part: bytes) -> bytes | None:
    """The first bytes that complete the part of a printable character; None if none do, and none for no part."""
    if not part:
        return b""
    size = next((n for n, first in ((2, 0xC2), (3, 0xE0), (4, 0xF0)) if first <= part[0] < _AFTER[n]), 0)
    if len(part) > size:
        return None
    for rest in product(range(0x80, 0xC0), repeat=size - len(part)):
        character = (part + bytes(rest)).decode(errors="replace")
        if len(character) == 1 and character != "\ufffd" and character.isprintable():
            return bytes(rest)
    return None


def _as_text(part: bytes) -> str:
    return "".join(chr(0xDC00 + byte) for byte in part)
