"""Compare an answer with a reference under a given matching of their shapes. `diagram.score` has the formulas."""

from dataclasses import dataclass

from diagram.label_similarity import plain, similarity
from diagram.matching import Matching
from diagram.nodes import Diagram, Node
from diagram.readability import Readability
from diagram.weights import CONNECTION, END_LEFT_OUT, LABEL, LOOK, UNCONFIRMED


@dataclass(frozen=True, slots=True)
class Comparison:
    """How much of the reference the answer has; all numbers in [0, 1].

    shapes, links           the factors `shapes` and `connections` of the score
    nodes, connections      share of the shapes and of the connections of both diagrams that both have
    style                   share of the look that is right, over the shapes of both diagrams
    labels                  mean similarity of the reference's labels to the answer's; None if the reference has none
    labels_right            share of the reference's labels that the answer has; None if the reference has none
    is_renumbered           whether numbers or the order of the lines differ
    agrees                  whether everything in the answer is right; it may leave something out
    """

    shapes: float
    links: float
    nodes: float
    connections: float
    style: float
    labels: float | None
    labels_right: float | None
    is_renumbered: bool
    agrees: bool


def compare(
    found: Diagram,
    wanted: Diagram,
    matching: Matching,
    readable: Readability,
    style_fixed: bool,
    order_fixed: bool,
) -> Comparison:
    """Compare two diagrams; `matching` maps numbers of `found` to numbers of `wanted`."""
    drawn = {node.number for node in found.nodes}
    wanted_edges = wanted.edges
    right = wrong = to_left_out = 0
    links = 0.0
    joined: set[int] = set()  # ends of right connections, drawn or not
    for start, end in found.claimed_edges:
        if (matching.get(start), matching.get(end)) not in wanted_edges:
            wrong += 1
            continue
        joined |= {start, end}
        if end in drawn:
            right += 1
            links += readable.clear.get((start, end), 1.0)  # a connection of a shape to itself crosses nothing
        else:
            to_left_out += 1  # right, but its end is not drawn

    wanted_nodes = {node.number: node for node in wanted.nodes}
    partners = {node.number: wanted_nodes[matching[node.number]] for node in found.nodes if node.number in matching}
    connected = {number for edge in found.claimed_edges for number in edge}
    wanted_connected = {number for edge in wanted_edges for number in edge}
    worth = style = labels = 0.0
    unconfirmed, labels_right, all_alike = 0, 0, True
    for node in found.nodes:
        partner = partners.get(node.number)
        if partner is None:
            continue
        alike = _share_equal(node, partner) if style_fixed else 1.0
        all_alike = all_alike and alike == 1
        style += alike
        value = (1 - LOOK * (1 - alike)) * readable.inside[node.number] * readable.apart[node.number]
        has_label = False
        if plain(partner.label):
            likeness = similarity(node.label, partner.label)
            has_label = likeness == 1
            all_alike = all_alike and has_label
            labels += likeness
            labels_right += has_label
            value *= (1 - LABEL * (1 - likeness)) * readable.fits.get(node.number, 1.0)
        is_alone = node.number not in connected and partner.number not in wanted_connected
        is_confirmed = node.number in joined or is_alone or has_label or not (style_fixed or order_fixed)
        is_confirmed = is_confirmed or (style_fixed and alike == 1) or (order_fixed and partner.number == node.number)
        unconfirmed += not is_confirmed
        worth += value if is_confirmed else UNCONFIRMED * value

    count = len(wanted.nodes)
    all_shapes = count + len(found.nodes) - len(partners)
    all_edges = len(wanted_edges) + wrong
    kept = {partner.number for partner in partners.values()}
    label_count = sum(bool(plain(node.label)) for node in wanted.nodes)
    left_out = sum(not kept.issuperset(edge) for edge in wanted_edges)
    return Comparison(
        shapes=worth / all_shapes,
        links=(count + CONNECTION * (links + END_LEFT_OUT * to_left_out))
        / (count + CONNECTION * (all_edges - (1 - END_LEFT_OUT) * left_out)),
        nodes=(len(partners) - unconfirmed) / all_shapes,
        connections=right / all_edges if all_edges else 1.0,
        style=style / all_shapes if style_fixed else 1.0,
        labels=labels / label_count if label_count else None,
        labels_right=labels_right / label_count if label_count else None,
        is_renumbered=_is_renumbered(partners, wanted),
        agrees=len(partners) == len(found.nodes) and all_alike and not wrong and right + left_out == len(wanted_edges),
    )


def best_shapes(found: Diagram, wanted: Diagram, readable: Readability) -> float:
    """An upper bound of `Comparison.shapes` under any matching."""
    worths = sorted((readable.inside[node.number] * readable.apart[node.number] for node in found.nodes), reverse=True)
    return sum(worths[: len(wanted.nodes)]) / max(len(found.nodes), len(wanted.nodes))


def _share_equal(a: Node, b: Node) -> float:
    """Share of the fields of the look that are equal."""
    equal = [x == y for x, y in zip(a.look, b.look, strict=True)]
    return sum(equal) / len(equal)


def _is_renumbered(partners: dict[int, Node], wanted: Diagram) -> bool:
    """Whether numbers, or the order of the lines, differ from the reference's.

    `partners` holds the reference's shape for each number of the answer, in the order of the answer's lines.
    """
    line_of = {node.number: line for line, node in enumerate(wanted.nodes)}
    lines = [line_of[partner.number] for partner in partners.values()]
    return any(number != partner.number for number, partner in partners.items()) or lines != sorted(lines)
