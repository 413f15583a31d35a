"""Validate a model: answer held-out prompts and score every answer against its reference."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from tqdm import tqdm

from diagram import Score, parse, score_diagram
from diagram.contact_sheet import Cell, answered, contact_sheet
from fine_tuning.data.csv_rows import Row
from fine_tuning.data.tokens import encode_completion
from fine_tuning.run.log import TrainingLog
from fine_tuning.run.processes import processes
from fine_tuning.sampling.answer_rows import answer_rows
from fine_tuning.sampling.batches import plan_batches
from fine_tuning.sampling.decoder import Decoder
from fine_tuning.sampling.generation import Answer
from fine_tuning.training.collectives import gather

SHEET_CELLS = 12

Scorer = Callable[[str, str], Score]  # of an answer and its reference


@dataclass(frozen=True, slots=True)
class Validation:
    """Rows, their answers and scores in the same order, and the seconds that generation took."""

    rows: Sequence[Row]
    answers: Sequence[Answer]
    scores: Sequence[Score]
    seconds: float

    def figures(self) -> dict[str, float | int]:
        """Means over all answers: the score and its parts, the shares of good answers, and the speed."""
        parts = [score.parts() for score in self.scores]
        names = dict.fromkeys(name for part in parts for name in part)  # labels only where a reference has them
        right = [s.labels_right for s in self.scores if s.labels_right is not None]
        tokens = sum(answer.tokens for answer in self.answers)
        return {
            "prompts": len(self.rows),
            **{name: round(fmean(part[name] for part in parts if name in part), 4) for name in names},
            "graph exactly right": _share(s.has_graph for s in self.scores),
            **({"labels right": round(fmean(right), 4)} if right else {}),
            "layout flawless": _share(s.tidy for s in self.scores),
            "layout flawless and complete": _share(s.tidy and s.layout == 1.0 for s in self.scores),
            "flawless answers": _share(s.total == 1.0 for s in self.scores),
            "well-formed answers": _share(s.well_formed == 1.0 and s.ending == 1.0 for s in self.scores),
            "ended by itself": _share(answer.ended for answer in self.answers),
            "tokens per answer": round(tokens / len(self.answers), 1),
            "tokens per second": round(tokens / self.seconds, 1),
            "seconds": round(self.seconds, 1),
        }

    def scores_by_family(self) -> dict[str, float]:
        """The mean score of each family."""
        families = sorted({row.family for row in self.rows})
        return {
            family: round(
                fmean(s.total for row, s in zip(self.rows, self.scores, strict=True) if row.family == family), 4
            )
            for family in families
        }

    def cells(self, caption: Callable[[str], str]) -> list[Cell]:
        """Up to SHEET_CELLS answers for a contact sheet, spread evenly over the rows, whatever their scores.

        `caption` makes the caption from a prompt.
        """
        count = min(SHEET_CELLS, len(self.rows))
        picks = [k * len(self.rows) // count for k in range(count)]
        return [
            answered(caption(row.prompt), parse(row.answer), parse(self.answers[k].text), self.scores[k].total)
            for k, row in ((k, self.rows[k]) for k in picks)
        ]


def validate(
    decoder: Decoder,
    rows: Sequence[Row],
    seed: int,
    title: str,
    temperature: float = 0,
    score: Scorer = score_diagram,
) -> Validation:
    """Answer every row's prompt and score the answers. `temperature` 0 is greedy decoding.

    The same seed draws the same samples, whatever the decoder's batch size. Several processes share out the batches,
    and each returns the whole. The bar then shows the share of the main one.
    """
    plan = plan_batches([len(encode_completion(decoder.tokenizer, row.answer)) for row in rows], decoder.batch_size)
    here = processes()
    own = here.share(plan)
    if decoder.threads > 1:
        own.reverse()  # longest first, or one thread would still have it when the others have nothing left
    answers: dict[int, Answer] = {}
    start = time.perf_counter()
    with tqdm(total=sum(map(len, own)), desc=here.share_of(title), unit="answer") as progress:
        for batch, generated in answer_rows(decoder, rows, own, temperature, seed):
            answers.update(zip(batch, generated, strict=True))
            progress.update(len(batch))
    for others in gather(answers):
        answers |= others
    seconds = time.perf_counter() - start
    in_order = [answers[k] for k in range(len(rows))]
    scores = [score(answer.text, row.answer) for answer, row in zip(in_order, rows, strict=True)]
    return Validation(rows, in_order, scores, seconds)


def log_validation(
    log: TrainingLog, section: str, validations: Mapping[str, Validation], caption: Callable[[str], str]
) -> None:
    """Add a table with a row for each validation to the log, and the contact sheet of the last one.

    `caption` makes a picture's caption from its prompt.
    """
    rows = [{"model": name} | validation.figures() for name, validation in validations.items()]
    log.set(section, rows, hide=["prompts"])  # the section "Data" shows their number
    by_family = [{"model": name} | validation.scores_by_family() for name, validation in validations.items()]
    is_one_family = len(by_family[0]) == 2  # its score is the total score
    log.set(f"{section} score by family", by_family, hide=by_family[0] if is_one_family else ())
    last = list(validations.values())[-1]
    log.sheet(contact_sheet(last.cells(caption)), "validation")


def _share(flags: Iterable[bool]) -> float:
    flags = list(flags)
    return round(sum(flags) / len(flags), 4)
