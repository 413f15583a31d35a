"""The geometry of a diagram: shapes off the canvas, shapes that overlap, connections that run through shapes.

A rectangle, rounded or not, is its box; a circle is the ellipse in its box. Shapes that touch overlap. A connection is
the straight line between two centres, which is how it is drawn. It runs through a third shape if it meets that shape
shrunk to 80 %: readers do not mind a connection that only grazes a shape.
"""

from collections.abc import Iterable, Sequence
from math import cos, pi, sin

from diagram.nodes import CANVAS_HEIGHT, CANVAS_WIDTH, Node

CORE = 0.8  # share of a shape's width and height that no other connection may meet

_RING = tuple((cos(2 * pi * k / 64), sin(2 * pi * k / 64)) for k in range(64))


def is_inside_canvas(node: Node) -> bool:
    """True when the whole shape lies on the canvas."""
    return (
        node.width <= 2 * node.x <= 2 * CANVAS_WIDTH - node.width
        and node.height <= 2 * node.y <= 2 * CANVAS_HEIGHT - node.height
    )


def share_outside(node: Node) -> float:
    """Share of the shape's box that lies off the canvas, 0 to 1."""
    width = min(node.x + node.width / 2, CANVAS_WIDTH) - max(node.x - node.width / 2, 0)
    height = min(node.y + node.height / 2, CANVAS_HEIGHT) - max(node.y - node.height / 2, 0)
    return 1 - max(0.0, width) * max(0.0, height) / (node.width * node.height)


def overlap(a: Node, b: Node) -> bool:
    """True when two shapes share a point. Two ellipses are compared to within 0.2 % of their size."""
    if 2 * abs(a.x - b.x) > a.width + b.width or 2 * abs(a.y - b.y) > a.height + b.height:
        return False
    if a.shape != "circle" and b.shape != "circle":
        return True
    if a.shape != "circle":
        a, b = b, a
    if b.shape != "circle":
        return _box_reaches_ellipse(b, a)
    return _ellipses_meet(a, b)


def overlaps(nodes: Sequence[Node]) -> list[tuple[Node, Node, float]]:
    """All pairs of nodes that overlap, each with the area that their boxes share, in square pixels."""
    boxes = sorted(
        (node.x - node.width / 2, node.x + node.width / 2, node.y - node.height / 2, node.y + node.height / 2, k)
        for k, node in enumerate(nodes)
    )
    pairs = []
    for place, (_, right, top, bottom, k) in enumerate(boxes, start=1):
        node = nodes[k]
        for other_left, other_right, other_top, other_bottom, j in boxes[place:]:
            if other_left > right:
                break
            if other_top > bottom or other_bottom < top:
                continue
            other = nodes[j]
            if (node.shape == "circle" or other.shape == "circle") and not overlap(node, other):
                continue
            width = (other_right if other_right < right else right) - other_left
            height = (other_bottom if other_bottom < bottom else bottom) - (other_top if other_top > top else top)
            pairs.append((node, other, width * height))
    return pairs


def runs_through(start: Node, end: Node, third: Node, core: float = CORE) -> bool:
    """True when the connection from `start` to `end` meets the shape `third`, shrunk by the factor `core`."""
    half_width, half_height = core * third.width / 2, core * third.height / 2
    x, y, dx, dy = start.x - third.x, start.y - third.y, end.x - start.x, end.y - start.y
    if third.shape == "circle":
        return _meets_ellipse(x, y, dx, dy, half_width, half_height)
    # Separating axes: x, y, and across the line.
    return (
        abs(2 * x + dx) <= abs(dx) + 2 * half_width
        and abs(2 * y + dy) <= abs(dy) + 2 * half_height
        and abs(x * dy - y * dx) <= half_width * abs(dy) + half_height * abs(dx)
    )


def crossings(nodes: Sequence[Node], edges: Iterable[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """For each connection (from, to), given by node numbers: how many third shapes it runs through."""
    by_number = {node.number: node for node in nodes}
    cores = []
    for node in nodes:
        half_width, half_height = CORE * node.width / 2, CORE * node.height / 2
        box = node.x - half_width, node.x + half_width, node.y - half_height, node.y + half_height
        cores.append((*box, node.x, node.y, half_width, half_height, node))
    counts = {}
    for edge in edges:
        start, end = by_number[edge[0]], by_number[edge[1]]
        x0, y0, dx, dy = start.x, start.y, end.x - start.x, end.y - start.y
        x_min, x_max, y_min, y_max = min(x0, end.x), max(x0, end.x), min(y0, end.y), max(y0, end.y)
        width, height, turn = x_max - x_min, y_max - y_min, dx * y0 - dy * x0
        # `runs_through`, inlined: calling it for every shape and connection takes too long.
        near_line = [
            (x, y, half_width, half_height, node)
            for left, right, top, bottom, x, y, half_width, half_height, node in cores
            if left <= x_max
            and right >= x_min
            and top <= y_max
            and bottom >= y_min
            and abs(dx * y - dy * x - turn) <= half_width * height + half_height * width
        ]
        counts[edge] = sum(
            node is not start
            and node is not end
            and (node.shape != "circle" or _meets_ellipse(x0 - x, y0 - y, dx, dy, half_width, half_height))
            for x, y, half_width, half_height, node in near_line
        )
    return counts


def _meets_ellipse(x: float, y: float, dx: float, dy: float, half_width: float, half_height: float) -> bool:
    """True when the line from (x, y) to (x + dx, y + dy) meets the ellipse around (0, 0)."""
    x, y, dx, dy = x / half_width, y / half_height, dx / half_width, dy / half_height
    begin = x * x + y * y - 1  # 0 or less inside the unit circle
    length, towards = dx * dx + dy * dy, x * dx + y * dy
    if begin <= 0 or begin + 2 * towards + length <= 0:
        return True
    return -length < towards < 0 and towards * towards >= length * begin


def _distance_to_origin(x0: float, y0: float, x1: float, y1: float) -> float:
    """The distance from (0, 0) to the segment between two points."""
    dx, dy = x1 - x0, y1 - y0
    length_squared = dx * dx + dy * dy
    t = 0.0 if length_squared == 0 else min(1.0, max(0.0, -(x0 * dx + y0 * dy) / length_squared))
    distance: float = ((x0 + t * dx) ** 2 + (y0 + t * dy) ** 2) ** 0.5
    return distance


def _box_reaches_ellipse(box: Node, ellipse: Node) -> bool:
    """Scale the ellipse to the unit circle, and test the point of the box that is nearest to its centre."""
    gap_x = max(0.0, abs(box.x - ellipse.x) - box.width / 2) / (ellipse.width / 2)
    gap_y = max(0.0, abs(box.y - ellipse.y) - box.height / 2) / (ellipse.height / 2)
    return gap_x * gap_x + gap_y * gap_y <= 1


def _ellipses_meet(a: Node, b: Node) -> bool:
    dx, dy = b.x - a.x, b.y - a.y
    if a.width == a.height and b.width == b.height:
        return 4 * (dx**2 + dy**2) <= (a.width + b.width) ** 2
    # Scale a to the unit circle. They meet if b holds the circle's centre, or b's outline comes within 1 of it.
    x, y = dx / (a.width / 2), dy / (a.height / 2)
    half_width, half_height = b.width / a.width, b.height / a.height
    distance, reach = (x * x + y * y) ** 0.5, ((x / half_width) ** 2 + (y / half_height) ** 2) ** 0.5
    if reach <= 1 or 1 / distance + 1 / reach >= 1:  # b holds the centre, or they meet between the centres
        return True
    if (
        distance + ((half_width * x) ** 2 + (half_height * y) ** 2) ** 0.5 < distance**2
    ):  # a line across the one between the centres separates them
        return False
    points = [(x + half_width * c, y + half_height * s) for c, s in _RING]
    return any(_distance_to_origin(*points[k - 1], *points[k]) <= 1 for k in range(len(points)))
