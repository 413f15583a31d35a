"""The words of a shape: what a label may hold, and how much of it may be shown.

A label is one line of at most MAX_LABEL characters. It comes from a model: control characters, escape sequences of
terminals, and characters that are invisible or turn the direction of writing are no text. `read_label` reports and
removes them. Joiners, which some scripts need between letters, are allowed in a label but never shown.
"""

import math
import re
import unicodedata

MAX_LABEL = 48  # characters
TOO_LONG = f"label has more than {MAX_LABEL} characters"

_JOINERS = "\u200c\u200d"
_NO_TEXT = ("Cc", "Cf", "Cs", "Zl", "Zp")
_BREAKS = re.compile(r"[\n\v\f\r\x85\u2028\u2029]")
_ESCAPE_SEQUENCE = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b[@-_]")
_MAX_MARKS = 3  # accents on top of one another; further ones would leave the line


def is_label(text: str) -> bool:
    """True if a text may be a label as it is."""
    return len(text) <= MAX_LABEL and (text.isprintable() or all(map(_is_text, text)))


def read_label(field: object) -> tuple[str, list[str]]:
    """The label in a field, without what is no text, and what is wrong with it. A number is read as its digits."""
    if not isinstance(field, str):
        is_number = type(field) is int or (isinstance(field, float) and math.isfinite(field))
        return str(field)[:MAX_LABEL] if is_number else "", [f"label is {shortened(field)}, not a text"]
    if is_label(field):
        return field, []
    wrong = []
    if _BREAKS.search(field):
        wrong.append("label holds a line break")
    strange = next((c for c in field if not _is_text(c) and not _BREAKS.match(c)), None)
    if strange:
        wrong.append(f"label holds the control character U+{ord(strange):04X}")
    if wrong:
        spaced = re.sub(r"\t", " ", _BREAKS.sub(" ", _ESCAPE_SEQUENCE.sub("", field)))
        field = " ".join("".join(filter(_is_text, spaced)).split())
    if len(field) > MAX_LABEL:
        wrong.append(TOO_LONG)
    return field[:MAX_LABEL], wrong


def shown(label: str | None) -> str:
    """A label as pictures show it: one line without invisible characters, never more than a few accents on a letter."""
    kept: list[str] = []
    marks = 0
    for character in unicodedata.normalize("NFC", label or ""):
        category = unicodedata.category(character)
        if category in ("Cc", "Zl", "Zp", "Zs"):
            character = " "
        marks = marks + 1 if category in ("Mn", "Me") else 0
        if marks <= _MAX_MARKS and (character == " " or _is_text(character)) and character not in _JOINERS:
            kept.append(character)
    return " ".join("".join(kept).split())


def is_right_to_left(text: str) -> bool:
    """True if the first letter is of a script that is written from right to left."""
    kinds = (unicodedata.bidirectional(character) for character in text)
    return next((kind for kind in kinds if kind in ("L", "R", "AL")), "L") != "L"


def shortened(value: object) -> str:
    """The repr of a value, cut if it is long."""
    try:
        text = repr(value)
    except ValueError:  # an int of thousands of digits has no repr
        return "a number too long to show"
    return text if len(text) <= 40 else text[:37] + "..."


def _is_text(character: str) -> bool:
    if character in _JOINERS:
        return True
    code = ord(character)
    is_never_used = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF  # XML forbids some of these
    return unicodedata.category(character) not in _NO_TEXT and not is_never_used
