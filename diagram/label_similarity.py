"""Compare labels as readers do: without case, spaces, the style of quotes and dashes, and punctuation around them.

    similarity = 1 - edits / length

edits: the fewest characters to insert, delete or replace (Levenshtein, 1966), computed with one machine word per
character as by Myers (1999) and Hyyrö (2003). length: that of the longer label.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from diagram.labels import shown

_DASHES = re.compile(r"[‐‑‒–—―−]")
_SINGLE_QUOTES, _DOUBLE_QUOTES = re.compile("[‘’‚‛′`´]"), re.compile("[“”„‟″«»]")
_AROUND = " .,:;'\""
_ALIKE = 0.5  # labels less similar than that are no evidence that two shapes are the same
_MAX_LENGTH = 200  # one character may stand for 18


@lru_cache(maxsize=2**12)
def plain(label: str | None) -> str:
    """What counts of a label when two are compared; empty if it has no words."""
    text = unicodedata.normalize("NFKC", shown(label)).casefold()
    text = _DASHES.sub("-", text.replace("×", "x"))
    text = _DOUBLE_QUOTES.sub('"', _SINGLE_QUOTES.sub("'", text))
    text = unicodedata.normalize("NFKC", text)
    return "".join((text.strip(_AROUND) or text).split())[:_MAX_LENGTH]


def similarity(a: str | None, b: str | None) -> float:
    """How alike two labels are, from 0 to 1; 1 exactly if they are equal to a reader."""
    return _similarity(plain(a), plain(b))


def similarities(wanted: Sequence[str], found: Sequence[str]) -> list[dict[int, float]]:
    """For each text of `wanted`, as `plain` returns it, the similarity of those texts of `found` that are like it."""
    signs = [sum(1 << sign for sign in {ord(c) % 127 for c in text}) for text in found]
    rows: dict[str, dict[int, float]] = {"": {}}
    for a in wanted:
        if a in rows:
            continue
        own = sum(1 << sign for sign in {ord(c) % 127 for c in a})
        rows[a] = {}
        for p, (b, others) in enumerate(zip(found, signs, strict=True)):
            least = max((own & ~others).bit_count(), (others & ~own).bit_count(), abs(len(a) - len(b)))  # edits
            longer = max(len(a), len(b))
            if least <= (1 - _ALIKE) * longer and (alike := _similarity(a, b)) >= _ALIKE:
                rows[a][p] = alike
    return [rows[a] for a in wanted]


@lru_cache(maxsize=2**14)
def _similarity(a: str, b: str) -> float:
    if a == b:
        return 1.0
    return 1 - _edits(a, b) / max(len(a), len(b))


def _edits(a: str, b: str) -> int:
    """The edit distance. Each bit of the masks stands for a character of `a`: whether the distance grows or falls there
    by 1 from one row of the table to the next."""
    if not a:
        return len(b)
    where: dict[str, int] = {}
    for k, character in enumerate(a):
        where[character] = where.get(character, 0) | 1 << k
    last, every = 1 << (len(a) - 1), (1 << len(a)) - 1
    grows, falls, distance = every, 0, len(a)
    for character in b:
        equal = where.get(character, 0)
        diagonal = ((equal & grows) + grows ^ grows) | equal | falls
        up, down = falls | ~(diagonal | grows) & every, grows & diagonal
        distance += bool(up & last) - bool(down & last)
        up, down = (up << 1 | 1) & every, down << 1 & every
        grows, falls = down | ~(diagonal | up) & every, up & diagonal
    return distance
