"""Make preference pairs from scored answers: same prompt, the higher score chosen."""

from collections.abc import Sequence
from dataclasses import dataclass

from fine_tuning.data.csv_rows import Row

ROUNDING = 1e-9  # 0.3 - 0.25 is a little less than 0.05


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one prompt, and how much higher the chosen one scores."""

    prompt: str
    chosen: str
    rejected: str
    margin: float


def make_pairs(rows: Sequence[Row], min_margin: float) -> list[Pair]:
    """Pair each prompt's best answer with every answer that scores at least `min_margin` less, in the rows' order.

    If several answers score best, the first is chosen. Identical answers count once, with their first score.
    """
    answers: dict[str, dict[str, float]] = {}
    for row in rows:
        scores = answers.setdefault(row.prompt, {})
        scores.setdefault(row.answer, row.score)
    pairs = []
    for prompt, scores in answers.items():
        chosen = max(scores, key=scores.__getitem__)
        for rejected, score in scores.items():
            margin = scores[chosen] - score
            if margin > 0 and margin >= min_margin - ROUNDING:
                pairs.append(Pair(prompt, chosen, rejected, margin))
    return pairs
