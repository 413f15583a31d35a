"""Count what an answer has of a reference, once it is known which shape stands for which."""

from dataclasses import dataclass

from diagram.matching import Matching
from diagram.nodes import Diagram, Node
from diagram.readability import Readability
from diagram.weights import CONNECTION, LEFT_OUT, LOOK, STRANGER


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was found of the reference, in [0, 1]. `score` says how the figures add up.

    shapes, links           the two factors of the score
    nodes, connections      share of what either diagram has that both have
    style                   how much of the look of either diagram's shapes is the reference's
    is_renumbered           whether numbers or the order of the lines differ
    agrees                  whether all that the answer states is right, whatever it leaves out
    """

    shapes: float
    links: float
    nodes: float
    connections: float
    style: float
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
    """Compare an answer with a reference under a matching of their numbers."""
    drawn = {node.number for node in found.nodes}
    wanted_edges = wanted.edges
    right = wrong = stated = 0
    links = 0.0
    joined: set[int] = set()  # shapes with a right connection, or one that would be right if its end were drawn
    for start, end in found.claimed_edges:
        if (matching.get(start), matching.get(end)) not in wanted_edges:
            wrong += 1
            continue
        joined |= {start, end}
        if end in drawn:
            right += 1
            links += readable.clear[start, end]
        else:
            stated += 1

    wanted_nodes = {node.number: node for node in wanted.nodes}
    partners = {node.number: wanted_nodes[matching[node.number]] for node in found.nodes if node.number in matching}
    connected = {number for edge in found.claimed_edges for number in edge}
    wanted_connected = {number for edge in wanted_edges for number in edge}
    worth = style = 0.0
    strangers, all_alike = 0, True
    for node in found.nodes:
        partner = partners.get(node.number)
        if partner is None:
            continue
        alike = _share_equal(node, partner) if style_fixed else 1.0
        all_alike = all_alike and alike == 1
        style += alike
        value = (1 - LOOK * (1 - alike)) * readable.inside[node.number] * readable.apart[node.number]
        is_alone = node.number not in connected and partner.number not in wanted_connected
        is_known = node.number in joined or is_alone or not (style_fixed or order_fixed)
        is_known = is_known or (style_fixed and alike == 1) or (order_fixed and partner.number == node.number)
        strangers += not is_known
        worth += value if is_known else STRANGER * value

    count = len(wanted.nodes)
    either = count + len(found.nodes) - len(partners)
    either_edges = len(wanted_edges) + wrong
    kept = {partner.number for partner in partners.values()}
    left_out = sum(not kept.issuperset(edge) for edge in wanted_edges)
    return Comparison(
        shapes=worth / either,
        links=(count + CONNECTION * (links + LEFT_OUT * stated))
        / (count + CONNECTION * (either_edges - (1 - LEFT_OUT) * left_out)),
        nodes=(len(partners) - strangers) / either,
        connections=right / either_edges if either_edges else 1.0,
        style=style / either if style_fixed else 1.0,
        is_renumbered=_is_renumbered(partners, wanted),
        agrees=len(partners) == len(found.nodes) and all_alike and not wrong and right + left_out == len(wanted_edges),
    )


def best_shapes(found: Diagram, wanted: Diagram, readable: Readability) -> float:
    """What `shapes` could be at most under any matching."""
    worths = sorted((readable.inside[node.number] * readable.apart[node.number] for node in found.nodes), reverse=True)
    return sum(worths[: len(wanted.nodes)]) / max(len(found.nodes), len(wanted.nodes))


def _share_equal(a: Node, b: Node) -> float:
    """How much of the look of two shapes is equal."""
    equal = [x == y for x, y in zip(a.look, b.look, strict=True)]
    return sum(equal) / len(equal)


def _is_renumbered(partners: dict[int, Node], wanted: Diagram) -> bool:
    """Whether shapes have other numbers, or stand in another order, than their partners; `partners` go by line."""
    line_of = {node.number: line for line, node in enumerate(wanted.nodes)}
    lines = [line_of[partner.number] for partner in partners.values()]
    return any(number != partner.number for number, partner in partners.items()) or lines != sorted(lines)
