"""The samples of step 2: their rows in the CSV, and their figures and pictures in the log."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from statistics import fmean
from typing import Any

from diagram import parse
from diagram.contact_sheet import answered, contact_sheet
from fine_tuning.data.csv_rows import Row, shape_info
from fine_tuning.data.ended import ENDED_COLUMN, recorded_ended
from fine_tuning.run.log import TrainingLog
from fine_tuning.run.plots import score_plot
from fine_tuning.sampling.generation import Answer
from fine_tuning.sampling.validation import Scorer

SHEET_CELLS = 12


def sample_row(reference: Row, answer: Answer, score: Scorer, columns: Collection[str]) -> dict[str, str]:
    """The CSV row of a sample: the reference's fields, with this answer, its score and whether it ended.

    Sampling that an earlier version began has no column `ended`, and goes on as it began: see `sample_info`.
    """
    total = score(answer.text, reference.answer).total
    fields = reference.fields | {"output_data": answer.text, "score": f"{total:.6g}"}
    if ENDED_COLUMN in columns:
        return fields | {ENDED_COLUMN: str(answer.ended).lower()}
    return fields | sample_info(reference.fields, answer.ended)


def sample_info(fields: Mapping[str, str], ended: bool) -> dict[str, str]:
    """The reference's dest_shape_info with `ended` added. Empty if the reference has none."""
    info = shape_info(fields)
    try:
        return {"dest_shape_info": json.dumps(info | {"ended": ended})} if info else {}
    except (TypeError, ValueError, RecursionError):  # the reference has Python literals that JSON cannot hold
        return {}


def sample_figures(rows: Sequence[Row], samples: Sequence[Row]) -> dict[str, Any]:
    """The figures of all `samples`. `rows` are all rows of the CSV."""
    figures = {
        "rows": len(rows),
        "samples": len(samples),
        "mean score": round(fmean(row.score for row in samples), 4),
        "flawless samples": round(sum(row.score == 1 for row in samples) / len(samples), 4),
        "different answers": round(len({(row.prompt, row.answer) for row in samples}) / len(samples), 4),
    }
    ended = [known for row in samples if (known := recorded_ended(row)) is not None]
    if ended:  # older workspaces may not know it
        figures["ended by itself"] = round(sum(ended) / len(ended), 4)
    return figures


def log_samples(
    log: TrainingLog,
    rows: Sequence[Row],
    references: Sequence[Row],
    samples: Sequence[Row],
    caption: Callable[[str], str],
) -> None:
    """Add the scores by family, the plot of scores and a contact sheet to the log.

    `caption` makes a picture's caption from its prompt.
    """
    families = sorted({row.family for row in samples})
    by_family = [{"family": family} | _family_figures(rows, samples, family) for family in families]
    log.set("Rows by family", by_family, hide=by_family[0] if len(families) == 1 else ())
    log.plot(score_plot([row.score for row in samples], log.title), "scores")
    count = min(SHEET_CELLS, len(samples))
    picks = [samples[k * len(samples) // count] for k in range(count)]
    reference_to = {row.prompt: parse(row.answer) for row in references}
    cells = [answered(caption(row.prompt), reference_to[row.prompt], parse(row.answer), row.score) for row in picks]
    log.sheet(contact_sheet(cells), "samples")


def _family_figures(rows: Sequence[Row], samples: Sequence[Row], family: str) -> dict[str, Any]:
    scores = [row.score for row in samples if row.family == family]
    return {
        "rows": sum(row.family == family for row in rows),
        "samples": len(scores),
        "mean score": round(fmean(scores), 4),
        "flawless": round(sum(score == 1 for score in scores) / len(scores), 4),
    }
