"""Score an answer against a reference.

    score = shapes x connections x numbering x lines x ending

Every shape of the answer is matched to at most one shape of the reference: by number, or by the best alignment
(`diagram.matching`), whichever scores higher.

    shapes       sum of worth over the matched shapes / number of shapes in both diagrams, a matched pair counted once

                 worth = (1 - 0.25 x differing / 6) x (1 - 0.5 x unlike) x inside x apart x fits
                 differing: how many of shape, width, height, line, background and line colour differ
                 unlike: 1 - the similarity of the labels (`diagram.label_similarity`), if the reference's shape has a
                 label; else 0, and fits = 1: the answer's label counts only where the reference has one
                 An unconfirmed match is worth a tenth of that. A match is confirmed by a right connection of the
                 shape, an equal look, an equal label, an equal number, or if neither shape has any connection

    connections  (n + sum of weight x clear over the right ones) / (n + sum of weight over all of both diagrams)

                 n: shapes of the reference
                 right: the ends are matched to the ends of a connection of the reference; such a pair counts once
                 weight: 0.5; 0.05 for a connection of the reference with an end that the answer left out. If the answer
                 still points to the shape that it left out, the connection is right, with clear = 1
                 connections of a shape to itself or to a shape that does not exist count as well, with 0.5. One to
                 itself is right where the reference has it, with clear = 1

    numbering    0.97 if the numbers or the order of the lines differ from the reference's, else 1

    lines        1 - 0.2 x bad / (shapes read + bad)

                 bad: the sum over all lines of 1 where the line cannot be read or repeats a number, 0.2 where it has a
                 blemish, and 1 - 0.8^k where it has k blemishes. A blank line is a blemish, and so is a deviation from
                 the format that can still be read

    ending       0.9 if the last line holds no new shape, else 1

`inside`, `apart` and `clear` are 1 for a shape or a connection without a flaw in its layout, and 0.5 x 0.4^degree with
one; `diagram.readability` defines the degree. `fits` is below 1 for a label that does not fit its shape. The constants
are in `diagram.weights`.

`style_fixed=False` ignores the look: differing is 0, and the look confirms no match. `order_fixed=False` ignores the
numbering: the factor is 1, and the number confirms no match. With both False, no match needs confirmation.
`diagram.conventions` decides both from the references.

What always holds:

- The score is 1.0 exactly when nothing is wrong.
- Every fault lowers it. A second fault elsewhere lowers it further, unless the two together only change the numbering.
- Leaving out one of n shapes costs about 1/n, wherever it stood.
- Text without a shape scores 0.0, and text with a shape more.
- Padding does not help. A copy counts as one more shape, and where it covers its original, both are worth less. In
  about one random padding of 10,000, of answers with few shapes, the alignment finds a better match: 0.003 was gained.
- Positions are free: only inside, apart and clear depend on them.

An example. The answer leaves out the last shape and the connection to it, changes a colour and adds a comma:

>>> reference = '''[0, 150, 300, 'circle', 80, 80, 'solid arrow', (255, 255, 255), (0, 0, 0), [1]]
... [1, 450, 300, 'circle', 80, 80, 'solid arrow', (255, 255, 255), (0, 0, 0), [2]]
... [2, 750, 300, 'circle', 80, 80, 'solid arrow', (255, 255, 255), (0, 0, 0), []]'''
>>> answer = '''[0, 150, 300, 'circle', 80, 80, 'solid arrow', (255, 255, 255), (0, 0, 0), [1]]
... [1, 450, 300, 'circle', 80, 80, 'solid arrow', (200, 255, 255), (0, 0, 0), []],'''
>>> shapes = (1 + (1 - 0.25 * 1 / 6)) / 3
>>> connections = (3 + 0.5) / (3 + 0.5 + 0.05)
>>> lines = 1 - 0.2 * 0.2 / (2 + 0.2)
>>> round(shapes * connections * 1 * lines * 1, 6)
0.631882
>>> round(score_diagram(answer, reference).total, 6)
0.631882
"""

from dataclasses import asdict, dataclass
from functools import lru_cache

from diagram.comparison import Comparison, best_shapes, compare
from diagram.label_similarity import plain
from diagram.language import Diagram, parse
from diagram.matching import align, by_number
from diagram.nodes import TO_ITSELF
from diagram.readability import Readability, readability_of
from diagram.weights import BAD_LINES, BLEMISH, CUT_OFF, NUMBERING


@dataclass(frozen=True, slots=True)
class Score:
    """A score and its parts, each in [0, 1].

    total           the score
    well_formed     shapes read / (shapes read + bad), as in `lines` above
    ending          1.0, or 0.0 if the last line holds no new shape
    numbering       1.0, or 0.0 if the order is fixed and the numbers or the order of the lines differ
    nodes           matched shapes / shapes of both diagrams; matches that nothing confirms are left out
    connections     right connections / connections of both diagrams
    style           share of the look that is right, over the shapes of both diagrams; 1.0 if the style is not fixed
    labels          mean similarity of the reference's labels to the answer's; None if the reference has none
    inside          mean worth of the shapes' places on the canvas
    apart           mean worth of the distances between shapes
    clear           mean worth of the connections' ways past other shapes
    fits            mean worth of the labels' fits in their shapes; None if the reference has no labels

    labels_right    share of the reference's labels that the answer has, but for case and spaces; None if it has none
    tidy            True if the text has no problem but its numbering, and all that it draws is inside, apart and clear,
                    and fits; the reference plays no part

    A pair of matched shapes or connections counts once in "of both diagrams". The means of worths count everything that
    the answer has less of than the reference as 0, so leaving things out never raises them.
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
    labels: float | None = None
    fits: float | None = None
    labels_right: float | None = None
    tidy: bool = False

    @property
    def has_graph(self) -> bool:
        """True if the answer has all shapes and connections and no others, in well-formed lines."""
        return self.nodes == self.connections == self.well_formed == 1.0

    @property
    def structure(self) -> float:
        """The mean of nodes, connections and, if the reference has any, labels."""
        return _mean(self.nodes, self.connections, self.labels)

    @property
    def layout(self) -> float:
        """The mean of inside, apart, clear and, if the reference has labels, fits."""
        return _mean(self.inside, self.apart, self.clear, self.fits)

    def parts(self) -> dict[str, float]:
        """The score and every part by name; labels and fits only if the reference has labels."""
        parts = {"score": self.total, "structure": self.structure, "layout": self.layout} | asdict(self)
        del parts["total"], parts["tidy"], parts["labels_right"]
        return {name.replace("_", "-"): value for name, value in parts.items() if value is not None}


def score_diagram(candidate: str, reference: str, style_fixed: bool = True, order_fixed: bool = True) -> Score:
    """Score any text against a reference diagram; `total` of the result is the score in [0, 1].

    Raises ValueError if the reference has no shape, a line that cannot be read, or a connection to a shape that does
    not exist. `examine_reference` and `flaw_of` are stricter: they find what a reference should not have.
    """
    wanted = _read_reference(reference)
    found = parse(candidate)
    label_count = sum(bool(plain(node.label)) for node in wanted.nodes)
    if not found.nodes:
        return Score(total=0.0, labels=0.0, fits=0.0, labels_right=0.0) if label_count else Score(total=0.0)
    readable = _readability(found)
    well_formed = _well_formed(found)
    text = (1 - BAD_LINES * (1 - well_formed)) * (1 if found.complete else 1 - CUT_OFF)

    def total(comparison: Comparison) -> float:
        numbering = 1 - NUMBERING if order_fixed and comparison.is_renumbered else 1
        return comparison.shapes * comparison.links * numbering * text

    # Alignment takes the most time. Skip it if the match by number is perfect, or if no alignment could score higher.
    best = compare(found, wanted, by_number(found, wanted), readable, style_fixed, order_fixed)
    limit = best_shapes(found, wanted, readable) * text * (1 - NUMBERING if order_fixed else 1)
    if not best.agrees and total(best) < limit:
        aligned = compare(found, wanted, align(found, wanted, style_fixed), readable, style_fixed, order_fixed)
        best = max(best, aligned, key=total)
    shape_count = max(len(found.nodes), len(wanted.nodes))
    edge_count = max(len(found.edges), len(wanted.edges))
    to_itself = min(sum(start == end for start, end in diagram.edges) for diagram in (found, wanted))
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
        clear=(sum(readable.clear.values()) + to_itself) / edge_count if edge_count else 1.0,
        labels=best.labels,
        fits=sum(readable.fits.values()) / max(label_count, len(readable.fits)) if label_count else None,
        labels_right=best.labels_right,
        tidy=readable.is_flawless and all(problem.kind == "numbering" for problem in found.problems),
    )


def flaw_of(text: str) -> str | None:
    """The first flaw of a reference, or None: then it scores 1.0 against itself and is numbered in order."""
    diagram = parse(text)
    if diagram.problems or not diagram.nodes:
        return str(diagram.problems[0]) if diagram.problems else "no shapes"
    readable = _readability(diagram)
    flaws = {
        "a shape lies off the canvas": min(readable.inside.values()),
        "two shapes overlap": min(readable.apart.values()),
        "a connection runs through a third shape": min(readable.clear.values(), default=1.0),
        "a label does not fit its shape": min(readable.fits.values(), default=1.0),
    }
    return next((flaw for flaw, worth in flaws.items() if worth < 1), None)


@lru_cache(maxsize=64)  # all samples of a prompt have the same reference
def _read_reference(text: str) -> Diagram:
    diagram = parse(text)
    faults = (problem for problem in diagram.problems if problem.kind in ("unread", "connection"))
    problem = next((fault for fault in faults if fault.message != TO_ITSELF), None)
    if problem or not diagram.nodes:
        raise ValueError(f"the reference is not a diagram: {problem or 'no node'}")
    return diagram


def _mean(*parts: float | None) -> float:
    known = [part for part in parts if part is not None]
    return sum(known) / len(known)


def _readability(diagram: Diagram) -> Readability:
    return readability_of(diagram.nodes, [(start, end) for start, end in diagram.edges if start != end])


def _well_formed(diagram: Diagram) -> float:
    """Shapes read / (shapes read + bad). Not the share of good lines: every further bad line must cost something."""
    goodness: dict[int, float] = {}  # of the lines with a problem
    for problem in diagram.problems:
        if problem.kind == "unread":
            goodness[problem.line] = 0.0
        elif problem.kind == "blemish":
            goodness[problem.line] = goodness.get(problem.line, 1.0) * (1 - BLEMISH)
    bad = sum(1 - good for good in goodness.values())
    return len(diagram.nodes) / (len(diagram.nodes) + bad)
