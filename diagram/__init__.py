"""The diagram language: parse and format it, score an answer against a reference, draw it as a picture."""

from diagram.conventions import Conventions, conventions_of
from diagram.language import (
    CANVAS_HEIGHT,
    CANVAS_WIDTH,
    LINES,
    SHAPES,
    Diagram,
    Node,
    Problem,
    format,
    parse,
)
from diagram.references import examine_reference
from diagram.score import Score, flaw_of, score_diagram

__all__ = [
    "CANVAS_HEIGHT",
    "CANVAS_WIDTH",
    "LINES",
    "SHAPES",
    "Conventions",
    "Diagram",
    "Node",
    "Problem",
    "Score",
    "conventions_of",
    "examine_reference",
    "flaw_of",
    "format",
    "parse",
    "score_diagram",
]
