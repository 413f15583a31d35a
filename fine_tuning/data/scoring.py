"""Step 1 decides from its CSV whether answers must follow the references' style and order; later steps use the same."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from diagram import Score, conventions_of, score_diagram
from fine_tuning.data.csv_rows import Row
from fine_tuning.data.sft_csv import read_sft_rows
from fine_tuning.run.errors import UserError
from fine_tuning.run.options import Options
from fine_tuning.run.run_state import RunState


@dataclass(frozen=True, slots=True)
class Scoring:
    """A function that scores an answer against a reference, with fixed or free style and order.

    style_fixed     whether the look of shapes counts
    order_fixed     whether the numbers of shapes and the order of the lines count
    facts           the decisions and the counts behind them, for the log; None if they were read from run.json
    """

    style_fixed: bool = True
    order_fixed: bool = True
    facts: Mapping[str, str] | None = None

    def __call__(self, answer: str, reference: str) -> Score:
        """Score an answer against a reference. Raises ValueError if the reference is not a diagram."""
        return score_diagram(answer, reference, self.style_fixed, self.order_fixed)

    def settings(self) -> dict[str, bool]:
        """The settings to store in run.json."""
        return {"style fixed": self.style_fixed, "order fixed": self.order_fixed}


def scoring_of(rows: Iterable[Row]) -> Scoring:
    """Decide from the answers of `rows`, which must all be references."""
    conventions = conventions_of(row.answer for row in rows)
    return Scoring(conventions.style_fixed, conventions.order_fixed, conventions.facts())


def stored_scoring(options: Options) -> Scoring:
    """What step 1 decided and stored in run.json.

    Runs of an earlier version did not store it. Then decide from the SFT CSV, which cannot have changed since.
    Raises DamagedFile for run.json and UserError for the CSV.
    """
    run: dict[str, Any] = RunState(options.workspace.sft_model).read() or {"settings": {}}
    settings = run["settings"]
    if "style fixed" in settings and "order fixed" in settings:
        return Scoring(settings["style fixed"], settings["order fixed"])
    return scoring_of(read_sft_rows(options).rows)


def scoring_of_answers(options: Options) -> Scoring:
    """`stored_scoring`. Both look and numbers count if step 1 did not store that and its CSV cannot be read."""
    try:
        return stored_scoring(options)
    except UserError:
        return Scoring()
