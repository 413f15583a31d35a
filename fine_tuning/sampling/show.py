"""Show the best answers to a request: draw them, and say in words what is known about them. Imports no torch."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diagram.pictures import picture_bytes
from fine_tuning.data.request_lines import Request
from fine_tuning.run.files import write_atomically
from fine_tuning.sampling.vote import Candidate, best_different


@dataclass(frozen=True, slots=True)
class Shown:
    """The answers to a request that are shown.

    best        the best answers, different ones, the very best first
    pictures    where each of them is drawn
    answers     how many answers the best are chosen from
    largest     the most shapes of a diagram that the model was trained on; None if that is not known
    """

    request: Request
    best: Sequence[Candidate]
    pictures: Sequence[Path]
    answers: int
    largest: int | None

    def draw(self) -> None:
        """Draw each answer. The ending of its path decides the kind of picture."""
        for candidate, path in zip(self.best, self.pictures, strict=True):
            write_atomically(path, picture_bytes(candidate.diagram, path.suffix))

    def listing(self) -> str:
        """The text of the answer; of several, each below a line with its picture and `checks`."""
        if len(self.best) == 1:
            return self.best[0].text
        return "\n\n".join(
            f"# {path.name}: {self.checks(candidate)}\n{candidate.text}"
            for candidate, path in zip(self.best, self.pictures, strict=True)
        )

    def checks(self, candidate: Candidate) -> str:
        """How many answers have the graph of this one, and what the checks have found."""
        found = ", ".join(candidate.remarks) or "no flaws found"
        if self.answers == 1 or candidate.broken:
            return found
        return f"{candidate.votes} of {self.answers} answers have this graph; {found}"

    def notes(self, candidate: Candidate) -> list[str]:
        """The problems of the text, and whether it draws more shapes than the model was trained on."""
        found = [str(problem) for problem in candidate.diagram.problems]
        count = len(candidate.diagram.nodes)
        if self.largest is not None and count > self.largest:
            found.append(
                f"this diagram has {count} shapes, but the model was trained on diagrams of at most {self.largest}. "
                "Beyond that it guesses, so check the diagram"
            )
        return found

    def remarks(self) -> list[str]:
        """Lines for stderr: the notes on each answer; for a single one also its checks, which `listing` leaves out."""
        lines = []
        is_single = len(self.best) == 1
        for candidate, path in zip(self.best, self.pictures, strict=True):
            lines += [f"note: {'' if is_single else f'{path.name}: '}{note}" for note in self.notes(candidate)]
        if is_single and self.answers > 1:
            lines.append(self.checks(self.best[0]))
        return lines

    def record(self) -> str:
        """A line of JSON about the request: its best answer and, under "others", the other best ones."""
        first, *others = (
            {
                "picture": str(path),
                "text": candidate.text,
                "votes": candidate.votes,
                "answers": self.answers,
                "flaws": list(candidate.remarks),
                "notes": self.notes(candidate),
            }
            for candidate, path in zip(self.best, self.pictures, strict=True)
        )
        return _json_line(self.request, first | {"others": others})


def best_shown(request: Request, candidates: Sequence[Candidate], output: Path, top: int, largest: int | None) -> Shown:
    """The `top` best of all candidates, drawn as net.svg or, for several, as net-1.svg, net-2.svg and so on.

    If there are several requests, the number of the request comes first: net-7.svg, or net-7-1.svg and so on.
    """
    best = best_different(candidates, top)
    stem = output.stem if request.number is None else f"{output.stem}-{request.number}"
    stems = [stem] if top == 1 else [f"{stem}-{k}" for k in range(1, len(best) + 1)]
    pictures = [output.with_name(f"{name}{output.suffix}") for name in stems]
    return Shown(request, best, pictures, len(candidates), largest)


def failure(request: Request, error: str) -> str:
    """A line of JSON about a request that cannot be answered."""
    return _json_line(request, {"error": error})


def _json_line(request: Request, facts: dict[str, object]) -> str:
    return json.dumps({"number": request.number, "line": request.line, "request": request.text} | facts)
