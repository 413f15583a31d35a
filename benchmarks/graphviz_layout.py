"""Let Graphviz (https://graphviz.org) place the shapes of a diagram, with its program `dot`.

Graphviz gets numbers and sizes that are written here, and no text of a model, within a limit of time.
"""

import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from statistics import fmean

from benchmarks.graph_text import MAX_EDGES
from diagram import CANVAS_HEIGHT, CANVAS_WIDTH, Diagram, Node, format, parse
from diagram.nodes import MAX_LINES
from diagram.readability import readability_of
from fine_tuning.run.errors import UserError

INSTALL = "To install it: `apt install graphviz` (Debian, Ubuntu), `brew install graphviz` (macOS), or graphviz.org"
SECONDS = 10.0  # for one layout; those of 15 shapes take a hundredth of a second
_INCH = 72  # pixels of Graphviz
# Direction, and the distances between shapes of a rank and between ranks, in inches. The first layout without a flaw is
# taken.
_LAYOUTS = (("LR", 0.5, 0.6), ("TB", 0.5, 0.5), ("LR", 0.15, 0.15), ("TB", 0.15, 0.15))


def graphviz_version() -> str | None:
    """The version of Graphviz, as it says it; None if it is not installed."""
    if shutil.which("dot") is None:
        return None
    said = subprocess.run(["dot", "-V"], capture_output=True, text=True, timeout=SECONDS).stderr
    return said.strip().removeprefix("dot - ")


def place(nodes: Sequence[Node]) -> list[Node] | None:
    """The shapes at places on the canvas that Graphviz has chosen; None if there are none, or too many for it.

    From left to right and from top to bottom, with wide and with narrow gaps: the first layout without a flaw or, if
    there is none, the one with the fewest. A layout that is larger than the canvas is pushed together. Raises UserError
    if Graphviz is not installed.
    """
    numbers = {node.number for node in nodes}
    pairs = {(node.number, end) for node in nodes for end in node.targets if end in numbers}
    edges = sorted((start, end) for start, end in pairs if start != end)
    if not nodes or len(nodes) > MAX_LINES or len(edges) > MAX_EDGES:
        return None
    best: list[Node] | None = None
    most = 0.0
    for direction, apart, ranks in _LAYOUTS:
        places = _places(_source(nodes, edges, direction, apart, ranks))
        if places.keys() != numbers:
            return best
        placed = _on_canvas([replace(node, x=places[node.number][0], y=places[node.number][1]) for node in nodes])
        readable = readability_of(placed, edges)
        if readable.is_flawless:
            return placed
        worth = fmean([*readable.inside.values(), *readable.apart.values(), *readable.clear.values()])
        if worth > most:
            best, most = placed, worth
    return best


def draw_graph(diagram: Diagram) -> str:
    """The text of a diagram whose shapes Graphviz has placed; empty if it cannot."""
    placed = place(diagram.nodes)
    return format(replace(diagram, nodes=tuple(placed))) if placed else ""


def place_again(text: str) -> str:
    """A model's answer with the shapes where Graphviz places them; as it is, if Graphviz cannot.

    Lines that cannot be read stay as they are, so that only the layout differs. Small deviations from the format are
    corrected.
    """
    diagram = parse(text)
    placed = place(diagram.nodes)
    if not placed:
        return text
    unread = {problem.line for problem in diagram.problems if problem.kind == "unread"}
    left = iter(placed)
    lines = []
    for number, line in enumerate(text.split("\n"), start=1):
        node = None if not line.strip() or number in unread else next(left, None)
        lines.append(line if node is None else format(Diagram((node,))))
    return "\n".join(lines)


def place_all_again(texts: Iterable[str]) -> list[str]:
    """`place_again` for many answers. Graphviz runs as often at a time as there are cores."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(place_again, texts))


def draw_all(diagrams: Iterable[Diagram]) -> list[str]:
    """`draw_graph` for many diagrams."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(draw_graph, diagrams))


def _source(nodes: Sequence[Node], edges: Sequence[tuple[int, int]], direction: str, apart: float, ranks: float) -> str:
    """The graph in DOT, without any text. Connections of this language are straight."""
    lines = [f"digraph {{ rankdir={direction}; nodesep={apart}; ranksep={ranks}; splines=false"]
    lines.append('node [shape=box, fixedsize=true, label=""]')
    for node in nodes:
        lines.append(f"{node.number} [width={node.width / _INCH:.4f}, height={node.height / _INCH:.4f}]")
    lines += [f"{start} -> {end}" for start, end in edges]
    return "\n".join([*lines, "}"])


def _places(source: str) -> dict[int, tuple[int, int]]:
    """The centre of each node in pixels, with y downwards; empty if Graphviz takes too long or fails."""
    try:
        done = subprocess.run(["dot", "-Tplain"], input=source, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return {}
    except FileNotFoundError:
        raise UserError(f"Graphviz is not installed. {INSTALL}") from None
    found = {}
    for words in map(str.split, done.stdout.splitlines() if done.returncode == 0 else ()):
        if words[0] == "node":  # name, x, y, ...: in inches, with y upwards
            found[int(words[1])] = round(float(words[2]) * _INCH), round(-float(words[3]) * _INCH)
    return found


def _on_canvas(nodes: Sequence[Node]) -> list[Node]:
    """The shapes in the middle of the canvas, pushed together if they do not fit."""
    xs = _fitted([(node.x, node.width) for node in nodes], CANVAS_WIDTH)
    ys = _fitted([(node.y, node.height) for node in nodes], CANVAS_HEIGHT)
    return [replace(node, x=x, y=y) for node, x, y in zip(nodes, xs, ys, strict=True)]


def _fitted(places: Sequence[tuple[int, int]], room: int) -> list[int]:
    """Centres within `room`. `places` are centres and sizes."""
    low = min(centre - size / 2 for centre, size in places)
    high = max(centre + size / 2 for centre, size in places)
    if high - low <= room:
        return [round(centre - low + (room - (high - low)) / 2) for centre, _ in places]
    first, last = min(places), max(places)
    scale = max(0.0, room - (first[1] + last[1]) / 2) / max(1, last[0] - first[0])
    pushed = [(first[1] / 2 + (centre - first[0]) * scale, size) for centre, size in places]
    # A large shape in the middle of a row may still reach over its ends.
    return [round(max(size / 2, min(centre, room - size / 2))) for centre, size in pushed]
