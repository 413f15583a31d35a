"""Score an answer against a reference.

    score = shapes x connections x numbering x lines x ending

Each factor is 1.0 where nothing is wrong, and each fault takes a part of one of them away:

    shapes        the worth of the shapes found / the shapes of either diagram
                  a shape is worth (1 - 0.25 x how much of its look differs) x inside x apart, and a tenth of that
                  where neither connection, look nor number shows that it is the one it takes the place of
    connections   (w + half the worth of the right connections) / (w + half the connections of either diagram),
                  where w are the shapes wanted; a connection is worth clear
    numbering     0.97 where the references fix an order and the shapes are numbered or sorted otherwise
    lines         1 - 0.2 x (1 - g), where g is the shapes read / these and the bad lines;
                  a line with a blemish that is read all the same is a fifth of a bad line
    ending        0.9 where the last line is not a whole shape

inside, apart and clear are 1.0 without a flaw, at most 0.5 with one, and less the worse it is (`readability`). The
figures stand in `weights`.

What holds:

- The score is 1.0 exactly when nothing is wrong.
- Every fault lowers it. Another fault elsewhere lowers it further, unless both together are only another numbering.
- One of n shapes left out costs about 1/n wherever it stood: connections whose shapes are missing count a tenth.
- Text without a shape scores 0.0, any shape more.
- Padding does not help: a copy is one shape more in either diagram, or lies on the shape it copies and spoils both.
- Any clear arrangement will do: places are judged by inside, apart and clear alone.

Shapes are compared by number, or by the best alignment (`matching`) where that scores higher although the numbering
then costs its part. What the references do not fix costs nothing: `style_fixed` says whether the look counts and
`order_fixed` whether the numbering does; `conventions` decides both from the references.
"""

from dataclasses import asdict, dataclass
from functools import lru_cache

from diagram.comparison import Comparison, best_shapes, compare
from diagram.language import Diagram, parse
from diagram.matching import align, by_number
from diagram.readability import Readability, readability_of
from diagram.weights import BAD_LINES, BLEMISH, CUT, NUMBERING


@dataclass(frozen=True, slots=True)
class Score:
    """A score and its parts, each in [0, 1].

    total           the score
    well_formed     shapes read / these and the bad lines, of which a blemish is a fifth
    ending          1.0, or 0.0 where the last line is not a whole shape
    numbering       1.0, or 0.0 where the references fix an order and the shapes are numbered or sorted otherwise
    nodes           share of the shapes of either diagram that were found
    connections     share of the connections of either diagram that are right
    style           how much of the look of either diagram's shapes is right; 1.0 where the style is not fixed
    inside          how well the shapes lie on the canvas
    apart           how well the shapes keep apart
    clear           how well the connections keep clear of third shapes

    tidy            whether nothing is wrong with the text but the numbering, and all that it draws is inside, apart and
                    clear, whatever was asked for

    What is missing counts as neither inside, apart nor clear: leaving things out does not tidy a diagram.
    """

    total: float
    well_formed: float = 0.0
    ending: float = 0.0
    numbering: float = 0.0
    nodes: float = 0.0
    connections: float = 0.0
    style: float = 0.0
    inside: float = 0.0
    apart: float = 0.0
    clear: float = 0.0
    tidy: bool = False

    @property
    def structure(self) -> float:
        """The mean of nodes and connections."""
        return (self.nodes + self.connections) / 2

    @property
    def layout(self) -> float:
        """The mean of inside, apart and clear."""
        return (self.inside + self.apart + self.clear) / 3

    def parts(self) -> dict[str, float]:
        """The score and every part by name."""
        parts = {"score": self.total, "structure": self.structure, "layout": self.layout} | asdict(self)
        del parts["total"], parts["tidy"]
        return {name.replace("_", "-"): value for name, value in parts.items()}


def score_diagram(candidate: str, reference: str, style_fixed: bool = True, order_fixed: bool = True) -> Score:
    """Score any text against a reference diagram; `total` of the result is the score in [0, 1].

    Raises ValueError where the reference has no shape, a line that cannot be read or a connection to a shape that does
    not exist. `flaw_of` says what else a reference must not have.
    """
    wanted = _read_reference(reference)
    found = parse(candidate)
    if not found.nodes:
        return Score(total=0.0)
    readable = _readability(found)
    well_formed = _well_formed(found)
    text = (1 - BAD_LINES * (1 - well_formed)) * (1 if found.complete else 1 - CUT)

    def total(comparison: Comparison) -> float:
        numbering = 1 - NUMBERING if order_fixed and comparison.is_renumbered else 1
        return comparison.shapes * comparison.links * numbering * text

    # Align only where the numbers leave something open and the best possible alignment could score higher.
    best = compare(found, wanted, by_number(found, wanted), readable, style_fixed, order_fixed)
    limit = best_shapes(found, wanted, readable) * text * (1 - NUMBERING if order_fixed else 1)
    if not best.agrees and total(best) < limit:
        aligned = compare(found, wanted, align(found, wanted, style_fixed), readable, style_fixed, order_fixed)
        best = max(best, aligned, key=total)
    shape_count = max(len(found.nodes), len(wanted.nodes))
    edge_count = max(len(found.edges), len(wanted.edges))
    return Score(
        total=total(best),
        well_formed=well_formed,
        ending=float(found.complete),
        numbering=float(not (order_fixed and best.is_renumbered)),
        nodes=best.nodes,
        connections=best.connections,
        style=best.style,
        inside=sum(readable.inside.values()) / shape_count,
        apart=sum(readable.apart.values()) / shape_count,
        clear=sum(readable.clear.values()) / edge_count if edge_count else 1.0,
        tidy=readable.is_flawless and all(problem.kind == "numbering" for problem in found.problems),
    )


def flaw_of(text: str) -> str | None:
    """What a reference must not have, or None: whatever keeps it from 1.0 against itself, and numbers out of order."""
    diagram = parse(text)
    if diagram.problems or not diagram.nodes:
        return str(diagram.problems[0]) if diagram.problems else "no shapes"
    readable = _readability(diagram)
    flaws = {
        "a shape lies off the canvas": min(readable.inside.values()),
        "two shapes overlap": min(readable.apart.values()),
        "a connection runs through a third shape": min(readable.clear.values(), default=1.0),
    }
    return next((flaw for flaw, worth in flaws.items() if worth < 1), None)


@lru_cache(maxsize=64)  # every sample of a prompt is scored against the same one
def _read_reference(text: str) -> Diagram:
    diagram = parse(text)
    problem = next((problem for problem in diagram.problems if problem.kind in ("unread", "connection")), None)
    if problem or not diagram.nodes:
        raise ValueError(f"the reference is not a diagram: {problem or 'no node'}")
    return diagram


def _readability(diagram: Diagram) -> Readability:
    return readability_of(diagram.nodes, [(start, end) for start, end in diagram.edges if start != end])


def _well_formed(diagram: Diagram) -> float:
    """The shapes that were read / these and the bad lines, so that one more bad line always costs something."""
    good: dict[int, float] = {}
    for problem in diagram.problems:
        if problem.kind == "unread":
            good[problem.line] = 0.0
        elif problem.kind == "blemish":
            good[problem.line] = good.get(problem.line, 1.0) * (1 - BLEMISH)
    bad = sum(1 - worth for worth in good.values())
    return len(diagram.nodes) / (len(diagram.nodes) + bad)
