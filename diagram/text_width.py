"""How wide a text is and where it may break, without a font: the same on every machine.

The widths of ASCII characters are those of Helvetica and Arial. Other letters are estimated, rather too wide than too
narrow.
"""

import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple

# Thousandths of the font size, from U+0020 to U+007E. Source: Adobe's font metrics of Helvetica.
_ASCII = (
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278,
    556, 556, 556, 556, 556, 556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556,
    1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833, 722, 778,
    667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469, 556,
    333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556,
    556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584,
)  # fmt: skip
_LOWER, _UPPER, _EMOJI, _OTHER = 0.65, 0.8, 1.3, 0.85
_SPACE = 0.278

_NO_SPACES = r"\u2e80-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # scripts that break between any letters
_BETWEEN_WORDS = re.compile(
    rf"(?<=[{_NO_SPACES}])(?=[{_NO_SPACES}])(?![、。，．・：；？！）」』】ー々ぁぃぅぇぉっゃゅょァィゥェォッャュョ])"
)
_IN_WORDS = re.compile(r"(?<=\w[-/_.,:;|\\])(?=\w)|(?<=[a-z])(?=[A-Z])")


class Piece(NamedTuple):
    """A text that stays in one line, its width at font size 1, and the space in front of it: 0 within a word."""

    text: str
    width: float
    space: float


def width_of(text: str) -> float:
    """The width of a text at font size 1."""
    return sum(map(_width, text))


def is_known(text: str) -> bool:
    """True if `width_of` is exact in the usual fonts, not an estimate."""
    return all(c < "\x7f" or _width(c) == 1.0 or _base(c) < "\x7f" for c in text)


def pieces_of(text: str, within_words: bool = False, anywhere: bool = False) -> list[Piece]:
    """Split a text where it may break: at spaces, and in Chinese and Japanese between letters. With `within_words`
    also after hyphens, slashes and the like, and in front of a capital; with `anywhere` at every letter."""
    pieces = []
    for word in text.split():
        parts = _letters(word) if anywhere else _BETWEEN_WORDS.split(word)
        if within_words:
            parts = [short for part in parts for short in _IN_WORDS.split(part)]
        for k, part in enumerate(parts):
            pieces.append(Piece(part, width_of(part), 0.0 if k else _SPACE))
    return pieces


def _letters(word: str) -> list[str]:
    """The letters of a word, each with its accents."""
    letters: list[str] = []
    for character in word:
        if letters and unicodedata.category(character).startswith("M"):
            letters[-1] += character
        else:
            letters.append(character)
    return letters


def _base(character: str) -> str:
    """A letter without its accents."""
    return unicodedata.normalize("NFD", character)[0]


@lru_cache(maxsize=2**12)
def _width(character: str) -> float:
    base = _base(character)
    if " " <= base <= "~":
        return _ASCII[ord(base) - ord(" ")] / 1000
    category = unicodedata.category(character)
    if category in ("Mn", "Me"):
        return 0.0
    if ord(character) >= 0x1F000 and category == "So":
        return _EMOJI
    if unicodedata.east_asian_width(character) in "WF":
        return 1.0
    if category in ("Ll", "Lo"):
        return _LOWER
    return _UPPER if category == "Lu" else _OTHER
