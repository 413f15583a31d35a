"""Tell the user what became of the rows."""

from collections.abc import Sequence

from fine_tuning.data.csv_rows import Row
from fine_tuning.data.importing.examples import Report
from fine_tuning.data.problems import count_text, rows_text

MAX_PLACES = 10  # rows of each kind that are shown with what is wrong in them; of the others, the numbers
PREVIEW_LINES, PREVIEW_WIDTH = 6, 110
_REMEDIES = {  # by the end of a kind
    "is not a diagram": "Correct them; docs/LANGUAGE.md describes the format",
    "has score 1.0, to compare with": "Give the best answer to each of these prompts the score 1",
    "is not a number from 0 to 1": "Correct them; 1 is a perfect answer",
    "is a conversation of several turns": "Keep one request and one answer",
    "no score": "Write one, from 0 to 1, or put rows without a score into a file of their own",
    "with the same prompt": "Give all rows of a prompt the same split",
    "a separator may be missing": "Put cells with commas or line ends into quotes",
}


def changes(report: Report) -> list[str]:
    """What was changed in the answers, one line for each kind of change."""
    lines = []
    if report.fences:
        around = f", and text around {report.texts_around} of them" if report.texts_around else ""
        lines.append(f"code fences removed from the answers of {count_text(report.fences, 'row', 'rows')}{around}")
    if report.rewritten:
        lines.append(f"answers rewritten in the exact format: {report.rewritten}. They had only one meaning")
    return lines


def refusals(report: Report) -> list[str]:
    """A line for each kind of row that was not taken, with the count and the rows."""
    lines = []
    for kind, places in sorted(report.refused.items(), key=lambda item: -len(item[1])):
        shown = [f"{place} ({detail})" if detail else place for place, detail in places[:MAX_PLACES]]
        others = [place for place, _ in places[MAX_PLACES:]]
        more = f" and {len(others)} more: {_rows(others)}" if others else ""
        remedy = next((f". {remedy}" for end, remedy in _REMEDIES.items() if kind.endswith(end)), "")
        lines.append(f"not taken, {len(places)}: {kind}: {', '.join(shown)}{more}{remedy}")
    return lines


def _rows(places: Sequence[str]) -> str:
    """Places as row numbers, as in "rows 11-30" or "a.csv, row 11; b.csv, rows 2, 5-7"."""
    numbers: dict[str, set[int]] = {}
    for place in places:
        file, _, number = place.rpartition("row ")
        numbers.setdefault(file, set()).add(int(number))
    return "; ".join(file + rows_text(sorted(of_file)) for file, of_file in numbers.items())


def preview(row: Row) -> str:
    """The first lines of a prompt and its answer, shortened."""
    return "\n".join(
        f"{title}\n" + "\n".join(f"    {line}" for line in _first_lines(text))
        for title, text in (("the first row's prompt:", row.prompt), ("its answer:", row.answer))
    )


def _first_lines(text: str) -> list[str]:
    lines = text.split("\n")
    shown = [line if len(line) <= PREVIEW_WIDTH else f"{line[:PREVIEW_WIDTH]} ..." for line in lines[:PREVIEW_LINES]]
    return shown + ([f"... ({len(lines)} lines)"] if len(lines) > PREVIEW_LINES else [])
