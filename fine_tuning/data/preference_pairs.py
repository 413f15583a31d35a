"""Make preference pairs from scored answers: same prompt, the higher score chosen.

An answer that never ended is never chosen. As the rejected one it is worth training on: the model must learn to stop.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fine_tuning.data.csv_rows import Row
from fine_tuning.data.ended import has_ended

ROUNDING = 1e-9  # 0.3 - 0.25 is a little less than 0.05


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one prompt, and how much higher the chosen one scores.

    rejected_ended  False if the rejected answer was cut off when it was sampled
    rejected_fits   False if its end was cut off to fit the pair into memory, or to leave out a special token
    """

    prompt: str
    chosen: str
    rejected: str
    margin: float
    rejected_ended: bool = True
    rejected_fits: bool = True


def rejected_figures(pairs: Iterable[Pair]) -> dict[str, int]:
    """How many rejected answers never ended, and of how many the end was cut off. Some count in both."""
    pairs = list(pairs)
    return {
        "rejected answers that never ended": sum(not pair.rejected_ended for pair in pairs),
        "rejected answers cut to fit": sum(not pair.rejected_fits for pair in pairs),
    }


def make_pairs(rows: Sequence[Row], min_margin: float) -> list[Pair]:
    """Pair each prompt's best answer with every answer that scores at least `min_margin` less, in the rows' order.

    Only an answer that ended can be the best. If several are, the first is chosen. Identical answers count once, with
    their first score; they ended if one of them did, because the model can end there.
    """
    answers: dict[str, dict[str, float]] = {}
    ended: set[tuple[str, str]] = set()
    for row in rows:
        scores = answers.setdefault(row.prompt, {})
        scores.setdefault(row.answer, row.score)
        if (row.prompt, row.answer) not in ended and has_ended(row):
            ended.add((row.prompt, row.answer))
    pairs = []
    for prompt, scores in answers.items():
        chosen = max((answer for answer in scores if (prompt, answer) in ended), key=scores.__getitem__, default=None)
        if chosen is None:
            continue
        for rejected, score in scores.items():
            margin = scores[chosen] - score
            if margin > 0 and margin >= min_margin - ROUNDING:
                pairs.append(Pair(prompt, chosen, rejected, margin, (prompt, rejected) in ended))
    return pairs
