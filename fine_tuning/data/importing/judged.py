"""Turn scored answers and preference pairs into rows of the ORPO CSV."""

from collections.abc import Sequence

from diagram import parse
from fine_tuning.data.csv_rows import Row, shape_info
from fine_tuning.data.importing.examples import Example, Report

CHOSEN, REJECTED = 1.0, 0.0


def row_of(example: Example, answer: str, score: float, ended: str = "") -> Row:
    """A row of a CSV; `fields` holds the cells of the optional columns."""
    fields = example.extra | {"ended": ended}
    family = shape_info(fields).get("task_name")
    return Row(example.prompt, answer, score, str(family or "diagram"), fields, split=example.split)


def plain_rows(examples: Sequence[Example], report: Report) -> list[Row]:
    """The rows of examples without a rejected answer. A prompt and answer that occur again are not taken."""
    first: dict[tuple[str, str], str] = {}
    rows = []
    for example in examples:
        before = first.setdefault((example.prompt, example.answer), example.place)
        if before != example.place:
            report.refuse(example.place, "a duplicate: the same prompt and answer as an earlier row", before)
        else:
            rows.append(row_of(example, example.answer, 1.0, example.extra.get("ended", "")))
    return rows


def judged_rows(examples: Sequence[Example], report: Report) -> tuple[list[Row], int]:
    """The rows of scored answers and pairs, and how many pairs are in them.

    A chosen answer gets score 1.0 and a rejected one 0.0. A row that contradicts an earlier one is not taken, nor is a
    prompt without an answer of score 1.0: step 2 scores its samples against it.
    """
    known: dict[str, dict[str, tuple[float, str]]] = {}  # prompt: answer: score and place
    rows: list[tuple[Example, Row]] = []
    pairs = 0
    seen: set[tuple[str, str, str]] = set()
    several = []
    for example in examples:
        answers = known.setdefault(example.prompt, {})
        if example.rejected is None:
            new = [
                (example.answer, example.score if example.score is not None else CHOSEN, example.extra.get("ended", ""))
            ]
        else:
            ended = "" if parse(example.rejected).complete else "false"
            new = [(example.answer, CHOSEN, ""), (example.rejected, REJECTED, ended or "true")]
        if clash := _clash(new, answers):
            report.refuse(example.place, *clash)
            continue
        pair = (example.prompt, example.answer, example.rejected or "")
        if pair in seen or (example.rejected is None and example.answer in answers):
            report.refuse(example.place, "a duplicate of an earlier row", answers[example.answer][1])
            continue
        seen.add(pair)
        pairs += example.rejected is not None
        if example.rejected is not None and answers and next(iter(answers)) != example.answer:
            several.append(example.place)
        for answer, score, ended in new:
            if answer not in answers:
                answers[answer] = (score, example.place)
                rows.append((example, row_of(example, answer, score, ended)))
    if several:
        report.notes.append(
            f"pairs with another chosen answer than an earlier one of their prompt: {len(several)} ({several[0]}, ...)."
            " Step 3 pairs the first chosen answer with every rejected one"
        )
    return _with_reference(rows, report), pairs


def _clash(new: Sequence[tuple[str, float, str]], answers: dict[str, tuple[float, str]]) -> tuple[str, str] | None:
    """The kind and the place of an earlier row that gives one of the answers another score."""
    for answer, score, _ in new:
        before, place = answers.get(answer, (score, ""))
        if before != score:
            return "it contradicts an earlier row: the same answer to the same prompt has another score there", place
    return None


def _with_reference(rows: Sequence[tuple[Example, Row]], report: Report) -> list[Row]:
    prompts = {row.prompt for _, row in rows if row.score == CHOSEN}
    for example, row in rows:
        if row.prompt not in prompts:
            report.refuse(example.place, "no answer to its prompt has score 1.0, to compare with")
    return [row for _, row in rows if row.prompt in prompts]
