"""Problems of a CSV and notes about it. Rows with the same kind of problem share one line: one round mends a file."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fine_tuning.run.entry_point import one_line
from fine_tuning.run.errors import UserError
from fine_tuning.run.processes import processes

MAX_RANGES = 1_000  # of row numbers in a message; enough to name every bad row of a file of this project's size
FEW = 3  # row numbers in a note


@dataclass(frozen=True, slots=True)
class Note:
    """Something that a user should know about a CSV that is used: a line for stderr, and an entry for the log."""

    line: str
    name: str
    value: str


class Warnings:
    """The notes of a run: each is printed once, as a warning, and kept for the log."""

    def __init__(self) -> None:
        self.facts: dict[str, str] = {}
        self._lines: list[str] = []

    def add(self, notes: Iterable[Note]) -> None:
        """Add notes, to be printed later."""
        for note in notes:
            self._lines.append(note.line)
            before = self.facts.get(note.name)
            self.facts[note.name] = f"{before}; {note.value}" if before else note.value

    def print(self) -> None:
        """Print what has not been printed, on stderr. Of several processes, which all read the same, one prints."""
        for line in self._lines if processes().is_main else ():
            print(f"warning: {one_line(line)}", file=sys.stderr)
        self._lines = []


@dataclass(slots=True)
class _Kind:
    """The rows with one kind of problem, and what is wrong with the first of them."""

    example: str
    can_skip: bool
    numbers: list[int] = field(default_factory=list)


class Problems:
    """All problems of a CSV, by kind. With `skip`, rows with a problem may be left out, and the others are raised.

    Messages begin with `path` if there is one.
    """

    def __init__(self, path: Path | None = None, skip: bool = False) -> None:
        self.path, self.skip = path, skip
        self._file: list[str] = []
        self._kinds: dict[str, _Kind] = {}
        self._notes: list[Note] = []

    def add(self, message: str, row: int | None = None) -> None:
        """Add a problem of the whole file, found in `row`."""
        self._file.append(self._at(message, "" if row is None else f"row {row}"))

    def add_row(self, number: int, kind: str, message: str, can_skip: bool = True) -> None:
        """Add a problem of a row. `kind` is true of all such rows, `message` describes this one."""
        self._kinds.setdefault(kind, _Kind(message, can_skip)).numbers.append(number)

    def raise_if_any(self) -> None:
        """Raise UserError with one line for each kind of problem."""
        lines = [self._line(kind, of) for kind, of in self._kinds.items() if not (self.skip and of.can_skip)]
        if self._file or lines:
            raise UserError(*lines, *self._file)

    def add_left_out(self, numbers: Sequence[int], what: str) -> None:
        """Note that rows with `what` are left out. That is no problem."""
        rows = rows_text(numbers)
        text = f"{count_text(len(numbers), 'row has', 'rows have')} {what} ({rows}); left out"
        self._notes.append(
            Note(self._at(text), self._in_file(f"rows with {what}, left out"), f"{len(numbers)} ({rows})")
        )

    def notes(self) -> list[Note]:
        """How many rows are left out, which, and why."""
        kinds = {kind: of.numbers for kind, of in self._kinds.items() if of.can_skip}
        numbers = sorted({number for of in kinds.values() for number in of})
        if not numbers:
            return self._notes
        rows, reasons = rows_text(numbers), "; ".join(f"{kind} ({len(of)})" for kind, of in kinds.items())
        text = f"{count_text(len(numbers), 'row is', 'rows are')} left out ({rows}): {reasons}"
        name = self._in_file("rows left out (--skip-bad-rows)")
        return [Note(self._at(text), name, f"{len(numbers)} ({rows}): {reasons}"), *self._notes]

    def _line(self, kind: str, of: _Kind) -> str:
        if len(of.numbers) == 1:
            return self._at(of.example, f"row {of.numbers[0]}")
        example = "" if of.example == kind else f". For example, row {of.numbers[0]}: {of.example}"
        hint = ". To leave these rows out, add --skip-bad-rows" if of.can_skip else ""
        return self._at(f"{kind}{example}{hint}", f"{rows_text(of.numbers)} ({len(of.numbers)} rows)")

    def _in_file(self, what: str) -> str:
        return f"{self.path.name}: {what}" if self.path else what

    def _at(self, message: str, rows: str = "") -> str:
        place = ", ".join(str(part) for part in (self.path, rows) if part)
        return f"{place}: {message}" if place else message


def used_as_they_are(path: Path, what: str, numbers: Sequence[int]) -> Note:
    """A note about references that have `what` and are used all the same."""
    are_used = "they are used as they are" if len(numbers) > 1 else "it is used as it is"
    count = count_text(len(numbers), "reference has", "references have")
    few = few_rows_text(numbers)
    name = f"{path.name}: references with {what}"
    return Note(f"{path}: {count} {what} ({few}); {are_used}", name, f"{len(numbers)} ({few})")


def rows_text(numbers: Iterable[int]) -> str:
    """All row numbers, which must ascend, as in "row 4" or "rows 2, 5-7"."""
    ranges: list[tuple[int, int]] = []
    for number in numbers:
        if ranges and number <= ranges[-1][1] + 1:
            ranges[-1] = ranges[-1][0], number
        else:
            ranges.append((number, number))
    shown = [str(first) if first == last else f"{first}-{last}" for first, last in ranges[:MAX_RANGES]]
    more = sum(last - first + 1 for first, last in ranges[MAX_RANGES:])
    is_one = len(shown) == 1 and "-" not in shown[0]
    return f"{'row' if is_one else 'rows'} {', '.join(shown)}" + (f" and {more} more" if more else "")


def few_rows_text(numbers: Sequence[int]) -> str:
    """The first row numbers, as in "rows 3, 8, 12, ..."."""
    shown = ", ".join(map(str, numbers[:FEW]))
    return f"{'row' if len(numbers) == 1 else 'rows'} {shown}{', ...' if len(numbers) > FEW else ''}"


def count_text(count: int, one: str, many: str) -> str:
    """A number and its noun, with a verb if need be."""
    return f"{count} {one if count == 1 else many}"
