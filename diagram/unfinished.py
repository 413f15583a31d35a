"""Beginnings of diagrams: which texts can still become a diagram without a problem, and the shortest way to end one.

`DiagramText` reads a text character by character. It takes exactly the texts in which `parse` finds no problem: every
line as `format` writes it, numbers that count from 0, at most MAX_LINES lines, no connection of a node to itself, none
twice, and in the end a line for every node that is pointed to. A line may have a label or none; of labels, only those
of printable characters are taken. `LINE` is the grammar of one line. It mirrors the pattern in `diagram/reading.py`:
change both together.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from diagram.nodes import LINES, MAX_COORDINATE, MAX_LINES, SHAPES
from diagram.unfinished_label import Letters, begins_label, ends_label, kept_of_label, letters_in, rest_of_label

ALPHABET = frozenset("\n-0123456789[](), '" + "".join((*SHAPES, *LINES)))  # but for labels
_NAMES = {  # the numbers of nodes, by the digits that they begin with
    digits: [str(number) for number in range(MAX_LINES) if str(number).startswith(digits)]
    for digits in ("", *map(str, range(MAX_LINES)))
}
_WHOLE = re.compile(r"0|-?[1-9]\d*", re.ASCII)


class Part(Protocol):
    """A part of a line. `number` is the number of the line's node."""

    def begins(self, text: str, number: int) -> bool:
        """True if `text` is a whole part or can become one."""

    def is_whole(self, text: str, number: int) -> bool:
        """True if the part may end here."""

    def rest(self, text: str, number: int) -> str:
        """The shortest text that makes `text` whole. After a part of it, the rest of it is returned."""

    def kept(self, text: str) -> str:
        """A beginning of the part that may go on just like `text`."""
        return text


class _Word(Part):
    """One of several words."""

    def __init__(self, *words: str) -> None:
        self._words = sorted(words, key=len)

    def begins(self, text: str, number: int) -> bool:
        return any(word.startswith(text) for word in self._words)

    def is_whole(self, text: str, number: int) -> bool:
        return text in self._words

    def rest(self, text: str, number: int) -> str:
        return next(word for word in self._words if word.startswith(text))[len(text) :]


class _Whole(Part):
    """A whole number from `low`, which is at most 1, to `high`."""

    def __init__(self, low: int, high: int) -> None:
        self._low, self._high = low, high

    def begins(self, text: str, number: int) -> bool:
        return not text or (text == "-" and self._low < 0) or self.is_whole(text, number)

    def is_whole(self, text: str, number: int) -> bool:
        return bool(_WHOLE.fullmatch(text)) and self._low <= int(text) <= self._high

    def rest(self, text: str, number: int) -> str:
        if self.is_whole(text, number):
            return ""
        return "1" if text == "-" else str(max(self._low, 0))


class _DueNumber(Part):
    """The number that is due."""

    def begins(self, text: str, number: int) -> bool:
        return str(number).startswith(text)

    def is_whole(self, text: str, number: int) -> bool:
        return text == str(number)

    def rest(self, text: str, number: int) -> str:
        return str(number)[len(text) :]


class _Label(Part):
    """A label with the comma behind it, or nothing."""

    def begins(self, text: str, number: int) -> bool:
        return begins_label(text)

    def is_whole(self, text: str, number: int) -> bool:
        return not text or ends_label(text)

    def rest(self, text: str, number: int) -> str:
        return rest_of_label(text) if text else ""

    def kept(self, text: str) -> str:
        return kept_of_label(text)


class _Targets(Part):
    """Numbers of different nodes, none of them the line's own."""

    def begins(self, text: str, number: int) -> bool:
        if not text:
            return True
        if text[-1] == "," and (text == "," or not self.is_whole(text[:-1], number)):
            return False
        return self._rest(text, number) is not None

    def is_whole(self, text: str, number: int) -> bool:
        return not text or (text[-1].isdecimal() and self._rest(text, number) == "")

    def rest(self, text: str, number: int) -> str:
        return (self._rest(text, number) or "") if text else ""

    def _rest(self, text: str, number: int) -> str | None:
        """What makes the last target whole and is the smallest number; None if nothing does."""
        before, comma, last = text.rpartition(",")
        if comma and last and last[0] != " ":
            return None
        digits = last[1:] if comma else last
        taken = {str(number), *(before.split(", ") if comma else ())}
        name = next((name for name in _NAMES.get(digits, ()) if name not in taken), None)
        return name and (" " if comma and not last else "") + name[len(digits) :]


_PLACE, _SIZE, _CHANNEL = _Whole(-MAX_COORDINATE, MAX_COORDINATE), _Whole(1, MAX_COORDINATE), _Whole(0, 255)
_NUMBER, _LABEL, _COMMA, _TARGETS, _END = _DueNumber(), _Label(), _Word(", "), _Targets(), "]]"
_COLOUR: tuple[Part, ...] = (_CHANNEL, _COMMA, _CHANNEL, _COMMA, _CHANNEL)
LINE: tuple[Part, ...] = (
    _Word("["), _NUMBER, _COMMA, _LABEL, _PLACE, _COMMA, _PLACE, _Word(", '"), _Word(*SHAPES), _Word("', "),
    _SIZE, _COMMA, _SIZE, _Word(", '"), _Word(*LINES), _Word("', ("), *_COLOUR, _Word("), ("), *_COLOUR, _Word("), ["),
    _TARGETS, _Word(_END),
)  # fmt: skip
_LEAD, _AFTER_LINE = -1, len(LINE)
_NUMBER_PART, _LABEL_PART, _TARGETS_PART = LINE.index(_NUMBER), LINE.index(_LABEL), LINE.index(_TARGETS)


class Unfinished(NamedTuple):
    """What must be known of a text's beginning to go on with it.

    number  of the line that is being written or, after a line, of the next one
    part    the index in LINE of the part that is being written
    text    what is written of this part; of a label, another beginning that may go on in the same way
    last    the highest node that the lines point to so far; -1 if there is none
    """

    number: int
    part: int
    text: str
    last: int


class Ending(NamedTuple):
    """A short way to end a text: `text`, then the shortest lines of the nodes in `lines`, then `closing`."""

    text: str
    lines: range
    closing: str


class DiagramText:
    """Texts of diagrams, with `lead` before the first line and `closing` after the last one."""

    def __init__(self, lead: str = "", closing: str = "") -> None:
        self.lead, self.closing = lead, closing
        self.start = Unfinished(0, _LEAD if lead else 0, "", -1)

    def after(self, state: Unfinished, characters: str) -> Unfinished | None:
        """The state after more characters, or None if no diagram begins like this."""
        for character in characters:
            new = self._after_one(state, character)
            if new is None:
                return None
            state = new
        return state

    def is_whole(self, state: Unfinished) -> bool:
        """True if the text may end here."""
        return state.part == _AFTER_LINE and state.text == self.closing and state.last < state.number

    def is_plain(self, state: Unfinished) -> bool:
        """True behind a node's number and before its targets: what may follow does not depend on other lines."""
        return _NUMBER_PART < state.part < _TARGETS_PART

    def letters(self, state: Unfinished) -> Letters | None:
        """What letters may follow in the label that is being written; None outside of a label's quotes."""
        return letters_in(state.text) if state.part == _LABEL_PART else None

    def ending(self, state: Unfinished) -> Ending:
        """A short way to end the text. A beginning of it leaves the rest of it as the way to end."""
        number, part, text, last = state
        if part == _LEAD:
            return Ending(self.lead[len(text) :], range(0, 1), self.closing)
        if part == _AFTER_LINE:
            if last < number:
                return Ending(self.closing[len(text) :], range(0), "")
            return Ending("", range(number, last + 1), self.closing)
        rest = LINE[part].rest(text, number)
        if part == _TARGETS_PART:
            last = max(last, _highest(text + rest))
        return Ending(rest + _shortest(part + 1, number), range(number + 1, last + 1), self.closing)

    def _after_one(self, state: Unfinished, character: str) -> Unfinished | None:
        number, part, text, last = state
        longer = text + character
        if part == _LEAD:
            if longer == self.lead:
                return Unfinished(0, 0, "", last)
            return Unfinished(number, part, longer, last) if self.lead.startswith(longer) else None
        if part == _AFTER_LINE:
            if last < number and self.closing.startswith(longer):  # it may still be a newline and another line
                return Unfinished(number, part, longer, last)
            goes_on = longer[0] == "\n" and number < MAX_LINES
            return self.after(Unfinished(number, 0, "", last), longer[1:]) if goes_on else None
        if LINE[part].begins(longer, number):
            if longer == _END:
                return Unfinished(number + 1, _AFTER_LINE, "", last)
            return Unfinished(number, part, LINE[part].kept(longer), last)
        while LINE[part].is_whole(text, number) and part + 1 < len(LINE):  # a label and targets may be empty
            if part == _TARGETS_PART:
                last = max(last, _highest(text))
            part, text = part + 1, ""
            if LINE[part].begins(character, number):
                return Unfinished(number, part, character, last)
        return None


def shortest_line(number: int) -> str:
    """The shortest line of a node, with the newline in front of it unless it is the first."""
    return ("\n" if number else "") + _shortest(0, number)


def _shortest(part: int, number: int) -> str:
    return "".join(other.rest("", number) for other in LINE[part:])


def _highest(targets: str) -> int:
    names: Sequence[str] = targets.split(", ") if targets else ()
    return max(map(int, names), default=-1)
