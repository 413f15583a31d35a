"""How the answers of a run are scored: step 1 decides it from its CSV, and every later step scores alike."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from diagram import Score, conventions_of, score_diagram
from fine_tuning.data.csv_rows import Row
from fine_tuning.data.sft_csv import read_sft_rows
from fine_tuning.run.options import Options
from fine_tuning.run.run_state import RunState


@dataclass(frozen=True, slots=True)
class Scoring:
    """What the references fix, so that an answer must follow it: the look of shapes, and the order of their numbers.

    `facts` say for the log what was counted.
    """

    style_fixed: bool = True
    order_fixed: bool = True
    facts: Mapping[str, str] | None = None

    def __call__(self, answer: str, reference: str) -> Score:
        """Score an answer against a reference. Raises ValueError if the reference is not a diagram."""
        return score_diagram(answer, reference, self.style_fixed, self.order_fixed)

    def settings(self) -> dict[str, bool]:
        """What run.json stores."""
        return {"style fixed": self.style_fixed, "order fixed": self.order_fixed}


def scoring_of(rows: Iterable[Row]) -> Scoring:
    """Decide from the references in `rows`."""
    conventions = conventions_of(row.answer for row in rows)
    return Scoring(conventions.style_fixed, conventions.order_fixed, conventions.facts())


def stored_scoring(options: Options) -> Scoring:
    """What step 1 decided. A run of an earlier version did not store it; then its CSV, which is the same, decides."""
    run: dict[str, Any] = RunState(options.workspace.sft_model).read() or {"settings": {}}
    settings = run["settings"]
    if "style fixed" in settings and "order fixed" in settings:
        return Scoring(settings["style fixed"], settings["order fixed"])
    return scoring_of(read_sft_rows(options))
