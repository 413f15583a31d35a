"""The log of a run: a markdown file to read, and a JSON file of the same name with every figure and the whole history.

The markdown opens with the verdict, the plot and the contact sheet; tables follow. During the run, its first line shows
the progress. Both files are replaced atomically, so a reader always sees a complete log. Of several processes, the main
one alone writes.
"""

import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fine_tuning.run.files import make_folder, write_atomically
from fine_tuning.run.markdown import bullets, escape, paragraph, table
from fine_tuning.run.processes import processes
from fine_tuning.run.verdict import Verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

SECONDS_BETWEEN_WRITES = 10
SHARE_FOR_WRITING = 0.05  # of the time, at most: the log of many steps takes seconds to write
WIDEST_TABLE = 8  # columns; a wider table that has fewer rows than columns is transposed

Section = Mapping[str, Any] | Sequence[Mapping[str, Any]] | str


class TrainingLog:
    """Sections of figures in the order they were first set, a plot, a contact sheet, and the history of the steps.

    The section "Result" is text during the run, and a mapping of figures once the run has finished.
    """

    def __init__(self, folder: Path, name: str, title: str) -> None:
        self.folder, self.name, self.title = folder, name, title
        self.sections: dict[str, Section] = {"Result": "The run has begun."}
        self.history: list[dict[str, Any]] = []
        self._hidden: dict[str, Collection[str]] = {}
        self._verdict: Sequence[str] = ()
        self._pictures: dict[str, str] = {}  # file names
        self._last_write = 0.0
        self._seconds_to_write = 0.0

    def set(self, section: str, content: Section, hide: Collection[str] = ()) -> None:
        """Set or replace a section: a mapping of figures, a sequence of table rows, or text.

        The markdown leaves out the figures named in `hide`, because another table shows them. The JSON file has all.
        """
        self.sections[section] = content
        self._hidden[section] = hide

    def plot(self, figure: "Figure", suffix: str) -> None:
        """Save a figure as a PNG file beside the log and show it below the verdict."""
        self._save("Plot", suffix, lambda file: figure.savefig(file, format="png"))

    def sheet(self, image: "Image", suffix: str) -> None:
        """Save a contact sheet as a PNG file beside the log and show it below the plot."""
        self._save("Contact sheet", suffix, lambda file: image.save(file, format="png"))

    def is_due(self, interval: float = SECONDS_BETWEEN_WRITES) -> bool:
        """True when the log was last written at least `interval` seconds ago, longer if writing it took long."""
        return processes().is_main and time.monotonic() - self._last_write >= max(
            interval, self._seconds_to_write / SHARE_FOR_WRITING
        )

    def progress(self, line: str) -> None:
        """Show the progress of the run in the first line, and write both files."""
        self.set("Result", line)
        self.write()

    def finish(self, figures: Mapping[str, Any], verdict: Verdict | None = None) -> None:
        """Set the result and the verdict, and write both files."""
        self._verdict = verdict.lines if verdict else ()
        self.set("Result", figures, hide=verdict.in_other_tables if verdict else ())
        self.write()

    def write(self) -> None:
        """Write both files."""
        if not processes().is_main:
            return
        start = time.monotonic()
        make_folder(self.folder)
        stored = {"title": self.title, **self.sections, "history": self.history}
        write_atomically(
            self.folder / f"{self.name}.json", json.dumps(stored, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        )
        write_atomically(self.folder / f"{self.name}.md", self._markdown())
        self._last_write = time.monotonic()
        self._seconds_to_write = self._last_write - start

    def announce(self) -> None:
        """Print the log's path and then, as the run's last line, its result as one JSON object."""
        print(f"log: {self.folder / self.name}.md")
        print(json.dumps(self.sections["Result"]))

    def _save(self, kind: str, suffix: str, save: Callable[[BytesIO], object]) -> None:
        if not processes().is_main:
            return
        file_name = f"{self.name}_{suffix}.png"
        content = BytesIO()
        save(content)
        write_atomically(self.folder / file_name, content.getvalue())
        self._pictures[kind] = file_name

    def _markdown(self) -> str:
        parts = [f"# {escape(self.title)}"]
        sections = dict(self.sections)
        if isinstance(line := sections["Result"], str):
            parts.append(paragraph(line))
            del sections["Result"]
        elif self._verdict:
            parts.append(bullets(self._verdict))
        parts += [f"![{kind}]({self._pictures[kind]})" for kind in ("Plot", "Contact sheet") if kind in self._pictures]
        for section, content in sections.items():
            if shown := _shown(content, self._hidden.get(section, ())):
                parts += [f"## {section}", shown]
        return "\n\n".join(parts) + "\n"


def stored_result(folder: Path, name: str) -> dict[str, Any] | None:
    """The figures of a finished run, read from its log. None if it has not finished or the log cannot be read."""
    try:
        result = json.loads((folder / f"{name}.json").read_text("utf-8"))["Result"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return result if isinstance(result, dict) else None


def _shown(content: Section, hidden: Collection[str]) -> str:
    """A section's content in markdown; empty if nothing is left to show."""
    if isinstance(content, str):
        return paragraph(content)
    if isinstance(content, Mapping):
        rows = [(name, value) for name, value in content.items() if name not in hidden]
        return table(["", "value"], rows) if rows else ""
    columns = [name for name in dict.fromkeys(name for row in content for name in row) if name not in hidden]
    lines: list[Sequence[Any]] = [columns, *([row.get(name, "") for name in columns] for row in content)]
    if len(columns) > max(WIDEST_TABLE, len(content)):
        lines = [list(line) for line in zip(*lines, strict=True)]
    return table(lines[0], lines[1:]) if columns else ""
