"""Match the shapes of an answer to the shapes of the reference.

`by_number` matches equal numbers. `align` looks for the best alignment, whatever the numbers. It starts with several
partial guesses: equal positions, equal lines, equal numbers, similar surroundings in the graph and, if the reference
has labels, equal labels. It completes each of them and improves the best two. The work is bounded, and equal texts
always give equal results.

A matching maps numbers of the answer to numbers of the reference. It includes numbers that the answer points to but
does not draw, so that a connection to a shape that was left out is not taken for a wrong one.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

from diagram.alignment import Aligner
from diagram.graph import Graph, surroundings
from diagram.label_similarity import plain, similarities
from diagram.nodes import Diagram, Look
from diagram.weights import CONNECTION, LABEL, LOOK

Matching = dict[int, int]

_TO_IMPROVE = 2  # guesses

# Tie-breakers where looks and connections do not decide
_SURROUNDINGS = 0.05  # bonus for each round in which two shapes have the same surroundings
_LINE = 0.0005  # penalty for each line between two shapes


def by_number(candidate: Diagram, reference: Diagram) -> Matching:
    """Match equal numbers."""
    numbers = {node.number for node in reference.nodes}
    stated = {node.number for node in candidate.nodes} | {target for _, target in candidate.claimed_edges}
    return {number: number for number in stated & numbers}


def align(candidate: Diagram, reference: Diagram, style_fixed: bool) -> Matching:
    """Find a good alignment, whatever the numbers. With `style_fixed` equal looks count too, not the graph alone.

    The reference's labels count always.
    """
    wanted, found = Graph(reference), Graph(candidate)
    size = max(len(wanted.numbers), len(found.numbers))
    wanted.pad(size)
    found.pad(size)
    ids: dict[Look | tuple[()], int] = {}
    looks = [
        [ids.setdefault(node.look if style_fixed else (), len(ids)) for node in graph.nodes]
        for graph in (wanted, found)
    ]
    worth = _worths(looks, list(ids), size)
    labels = [[plain(node.label) for node in graph.nodes] for graph in (wanted, found)]
    for a, row in enumerate(similarities(*labels)):
        if row:  # shapes of one look share a list of worths
            worth[a] = [value + LABEL * row.get(p, 0) for p, value in enumerate(worth[a])]
    # What a right connection adds to the score, roughly, where a shape adds 1.
    edge = 2 * CONNECTION * len(wanted.nodes) / (len(wanted.nodes) + CONNECTION * wanted.edge_count)
    most = sum(sorted(map(max, worth), reverse=True)[: min(len(wanted.nodes), len(found.nodes))])
    most += edge * min(wanted.edge_count, found.edge_count)

    aligner = Aligner(wanted, found, worth, edge)
    hints = _hints(wanted, found, worth, looks)
    guesses = [
        _unique_pairs([(n.x, n.y) for n in wanted.nodes], [(n.x, n.y) for n in found.nodes]),
        {k: k for k in range(min(len(wanted.nodes), len(found.nodes)))},
        _unique_pairs(wanted.numbers, found.numbers),
        {},
        _mutual_best(hints[: len(wanted.nodes)]),
    ]
    if any(labels[0]):
        guesses.append(
            _unique_pairs(*([label or (side, k) for k, label in enumerate(of)] for side, of in enumerate(labels)))
        )
    hints = [[hint - _LINE * abs(a - p) for p, hint in enumerate(row)] for a, row in enumerate(hints)]
    rated = []
    for k, guess in enumerate(guesses):
        if guess not in guesses[:k]:
            alignment = aligner.complete(guess, hints)
            rated.append((aligner.value(alignment), -k, alignment))
            if rated[-1][0] > most - 1e-9:
                break
    rated.sort(reverse=True)
    if rated[0][0] < most - 1e-9:
        rated = [(aligner.exchange(alignment), k, alignment) for _, k, alignment in rated[:_TO_IMPROVE]]
    pairs = zip(wanted.numbers, max(rated)[2], strict=False)
    return {found.numbers[p]: number for number, p in pairs if p < len(found.numbers)}


def _worths(looks: Sequence[Sequence[int]], of: Sequence[tuple[object, ...]], size: int) -> list[list[float]]:
    """The worth of each pair of shapes by their looks: 1 to 1 + LOOK; 0 with an empty shape."""
    wanted, found = looks
    holders = defaultdict(list)  # the looks with a given value in a given field
    for b in set(found):
        for holding in enumerate(of[b]):
            holders[holding].append(b)
    nothing = [0.0] * (size - len(found))
    rows = {}
    for a in set(wanted):
        equal = Counter(b for holding in enumerate(of[a]) for b in holders.get(holding, ()))
        rows[a] = [1 + LOOK * equal[b] / len(of[a]) if of[a] else 1 + LOOK for b in found] + nothing
    return [rows[a] for a in wanted] + [[0.0] * size for _ in range(size - len(wanted))]


def _hints(
    wanted: Graph, found: Graph, worth: Sequence[Sequence[float]], looks: Sequence[Sequence[int]]
) -> list[list[float]]:
    """The worth of each pair of shapes, plus a bonus for similar surroundings."""
    hints = [list(row) for row in worth]
    for around_wanted, around_found in surroundings((wanted, found), looks):
        peers = defaultdict(list)
        for p, around in enumerate(around_found):
            peers[around].append(p)
        for a, around in enumerate(around_wanted):
            for p in peers.get(around, ()):
                hints[a][p] += _SURROUNDINGS
    return hints


def _mutual_best(hints: Sequence[Sequence[float]]) -> dict[int, int]:
    """Pairs with a higher hint than every other pair with one of the two shapes."""
    best_in_column = [max(column) for column in zip(*hints, strict=True)]
    pairs = {}
    for a, row in enumerate(hints):
        best = max(row)
        p = row.index(best)
        if row.count(best) == 1 and best == best_in_column[p] and sum(other[p] == best for other in hints) == 1:
            pairs[a] = p
    return pairs


def _unique_pairs(wanted: Sequence[Hashable], found: Sequence[Hashable]) -> dict[int, int]:
    """Pair the positions of each value that occurs exactly once in `wanted` and exactly once in `found`."""
    wanted_count, found_count = Counter(wanted), Counter(found)
    place = {value: k for k, value in enumerate(found)}
    return {k: place[value] for k, value in enumerate(wanted) if wanted_count[value] == 1 and found_count[value] == 1}
