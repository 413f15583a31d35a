"""Save a diagram as a picture: a PNG, an SVG or a draw.io file."""

from collections.abc import Callable
from os import PathLike
from pathlib import Path

from diagram.draw import png
from diagram.drawio import drawio
from diagram.nodes import Diagram
from diagram.svg import svg

_WRITERS: dict[str, Callable[[Diagram], bytes]] = {".png": png, ".svg": svg, ".drawio": drawio}

SUFFIXES = tuple(_WRITERS)


def picture_bytes(diagram: Diagram, suffix: str) -> bytes:
    """A diagram as a picture file of the kind that `suffix` names: .png, .svg or .drawio, in any case.

    Takes every diagram that `parse` returns. Raises ValueError for another suffix.
    """
    writer = _WRITERS.get(suffix.lower())
    if writer is None:
        raise ValueError(f"{suffix!r} is not the ending of a picture; take one of {', '.join(SUFFIXES)}")
    return writer(diagram)


def save(diagram: Diagram, path: str | PathLike[str]) -> None:
    """Write a diagram as a picture file. The ending of `path` decides which kind, as in `picture_bytes`.

    Raises ValueError for another ending, and OSError if the file cannot be written.
    """
    path = Path(path)
    path.write_bytes(picture_bytes(diagram, path.suffix))
