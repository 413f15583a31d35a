"""Tell the user what became of the rows."""

from fine_tuning.data.csv_rows import Row
from fine_tuning.data.importing.examples import Report

MAX_PLACES = 10  # rows shown of each kind
PREVIEW_LINES, PREVIEW_WIDTH = 6, 110


def refusals(report: Report) -> list[str]:
    """A line for each kind of row that was not taken, with the count and the rows."""
    lines = []
    for kind, places in sorted(report.refused.items(), key=lambda item: -len(item[1])):
        shown = [f"{place} ({detail})" if detail else place for place, detail in places[:MAX_PLACES]]
        more = f" and {len(places) - MAX_PLACES} more" if len(places) > MAX_PLACES else ""
        lines.append(f"not taken, {len(places)}: {kind}: {', '.join(shown)}{more}")
    return lines


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
