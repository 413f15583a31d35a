"""The markdown log of a run, with a JSON file of the same name that holds the same figures and the whole history."""

import json
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

from fine_tuning.run.files import make_folder, write_atomically

PACKAGES = ("torch", "transformers", "peft", "trl", "datasets", "pandas", "accelerate")
TABLE_ROWS = 40  # of a long history; the JSON file holds every step
SECONDS_BETWEEN_WRITES = 10


class TrainingLog:
    """Sections of figures, in the order they were first set, written together.

    A section is a mapping (written as two columns), a sequence of mappings (one row each), or text. Pictures stand
    below their section.
    """

    def __init__(self, folder: Path, name: str, title: str) -> None:
        self.folder, self.name, self.title = folder, name, title
        self.sections: dict[str, Any] = {}
        self.history: list[dict[str, float]] = []
        self._pictures: dict[str, str] = {}
        self._last_write = 0.0

    def set(self, section: str, content: Mapping | Sequence[Mapping] | str) -> None:
        """Set a section's content, replacing what it had."""
        self.sections[section] = content

    def picture(self, section: str, image: Any, suffix: str) -> None:
        """Save a PIL image or a matplotlib figure beside the log and show it below a section."""
        file_name = f"{self.name}_{suffix}.png"
        content = BytesIO()
        (image.save if hasattr(image, "save") else image.savefig)(content, format="png")
        write_atomically(self.folder / file_name, content.getvalue())
        self._pictures[section] = file_name

    def is_due(self, interval: float) -> bool:
        """True when the log was last written at least `interval` seconds ago."""
        return time.monotonic() - self._last_write >= interval

    def write(self) -> None:
        """Write both files."""
        make_folder(self.folder)
        stored = {"title": self.title, **self.sections, "history": self.history}
        write_atomically(
            self.folder / f"{self.name}.json", json.dumps(stored, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        )
        write_atomically(self.folder / f"{self.name}.md", self._markdown())
        self._last_write = time.monotonic()

    def finish(self, figures: Mapping[str, Any]) -> None:
        """Set the result and write both files."""
        self.set("Result", figures)
        self.write()

    def announce(self) -> None:
        """Print where the log is and, as the run's last line, its result as one JSON object."""
        print(f"log: {self.folder / self.name}.md")
        print(json.dumps(self.sections["Result"]))

    def _markdown(self) -> str:
        parts = [f"# {escape(self.title)}"]
        for section, content in self.sections.items():
            parts.append(f"## {section}")
            if isinstance(content, str):
                parts.append(escape(content))
            elif isinstance(content, Mapping):
                parts.append(_table(["", "value"], content.items()))
            elif content:
                columns = list(dict.fromkeys(name for row in content for name in row))
                parts.append(_table(columns, [[row.get(name, "") for name in columns] for row in content]))
            if section in self._pictures:
                parts.append(f"![{section}]({self._pictures[section]})")
        return "\n\n".join(parts) + "\n"


def stored_result(folder: Path, name: str) -> dict[str, Any] | None:
    """The figures of a finished run in its log; None where it has not finished, or the log cannot be read."""
    try:
        result = json.loads((folder / f"{name}.json").read_text("utf-8"))["Result"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return result if isinstance(result, dict) else None


def escape(value: Any) -> str:
    """Text as markdown shows it literally, on one line: no table, link, HTML or code can come out of it."""
    if isinstance(value, float):
        value = f"{value:.6g}"
    text = " ".join(str(value).split())  # also: no indentation, which would make a block of code
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = "".join(f"\\{character}" if character in "\\`*_[]|#~!" else character for character in text)
    # Bare addresses become links on GitHub, and those of mail do so with a backslash too.
    return text.replace("://", "\\://").replace("www.", "www\\.").replace("@", "&#64;")


def _table(columns: Sequence[str], rows: Any) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(
        f"| {' | '.join(cell if number == 1 else escape(cell) for cell in line)} |" for number, line in enumerate(lines)
    )


def thin_out(history: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    """A history of many steps as at most TABLE_ROWS rows, each the mean of the steps since the row before."""
    size = max(1, -(-len(history) // TABLE_ROWS))
    rows = []
    for start in range(0, len(history), size):
        chunk = history[start : start + size]
        row = {"step": chunk[-1]["step"], "epoch": round(chunk[-1]["epoch"], 3)}
        for name in chunk[0]:
            if name not in row:
                values = [entry[name] for entry in chunk if entry[name] is not None]
                row[name] = sum(values) / len(values) if values else None
        rows.append(row)
    return rows


def machine() -> dict[str, str]:
    """This machine and the versions of what training stands on. Imports torch."""
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    facts = {
        "system": f"{platform.system()} {platform.machine()}",
        "processor threads": str(torch.get_num_threads()),
        "GPU": device,
        "python": platform.python_version(),
    }
    return facts | {package: version(package) for package in PACKAGES}


def peak_memory_mib() -> int:
    """Peak memory of this process in MiB: allocated on the GPU where there is one, else resident."""
    import torch

    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 2**20)
    if sys.platform == "win32":
        import psutil  # comes with accelerate

        return round(psutil.Process().memory_info().peak_wset / 2**20)
    import resource

    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB, on macOS bytes
    return round(resident / (2**20 if sys.platform == "darwin" else 2**10))


def wall_time(start: float, goes_on: bool) -> dict[str, float]:
    """The seconds since `start`, of `time.perf_counter`; named so where an earlier start has done a part of the run."""
    name = "wall seconds since the last start" if goes_on else "wall seconds"
    return {name: round(time.perf_counter() - start, 1)}


def loss_plot(history: Sequence[Mapping[str, float]], evaluations: Sequence[Mapping[str, float]], title: str) -> Any:
    """A figure of the training loss, as single steps and smoothed, and of the validation loss after each epoch."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained", dpi=110)
    axes = figure.add_subplot()
    known = [entry for entry in history if entry["loss"] is not None]
    steps, losses = [entry["step"] for entry in known], [entry["loss"] for entry in known]
    width = max(1, len(losses) // 50)
    smooth = [sum(losses[max(0, k - width + 1) : k + 1]) / min(width, k + 1) for k in range(len(losses))]
    axes.plot(steps, losses, color="#bdd7e7", linewidth=0.6, label="each step")
    axes.plot(
        steps, smooth, color="#2171b5", linewidth=1.6, label=f"mean of {width} steps" if width > 1 else "training"
    )
    if evaluations:
        axes.plot(
            [entry["step"] for entry in evaluations],
            [entry["validation loss"] for entry in evaluations],
            "o-", color="#d94801", linewidth=1.6, label="validation",
        )  # fmt: skip
    axes.set(xlabel="step", ylabel="loss", title=title)
    if losses and min(losses) > 0:
        axes.set_yscale("log")
    axes.grid(alpha=0.3, which="both")
    axes.legend(frameon=False)
    return figure


def score_plot(scores: Sequence[float], title: str) -> Any:
    """A figure of how scores in [0, 1] are distributed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained", dpi=110)
    axes = figure.add_subplot()
    axes.hist(scores, bins=[k / 20 for k in range(21)], color="#6baed6", edgecolor="white")
    axes.set(xlabel="score", ylabel="samples", title=title, xlim=(0, 1))
    axes.grid(alpha=0.3, axis="y")
    return figure
