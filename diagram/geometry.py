"""Where shapes lie: inside the canvas, over one another, in the way of a connection.

A rectangle, rounded or not, is its box; a circle is the ellipse in its box. A connection is the straight line between
two centres, which is how it is drawn. Touching counts as overlapping.
"""

from math import cos, pi, sin

from diagram.language import CANVAS_HEIGHT, CANVAS_WIDTH, Node

_RING = tuple((cos(2 * pi * k / 64), sin(2 * pi * k / 64)) for k in range(64))


def is_inside_canvas(node: Node) -> bool:
    """True when the whole shape lies on the canvas."""
    return (
        node.width <= 2 * node.x <= 2 * CANVAS_WIDTH - node.width
        and node.height <= 2 * node.y <= 2 * CANVAS_HEIGHT - node.height
    )


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


def runs_through(start: Node, end: Node, third: Node) -> bool:
    """True when the connection from `start` to `end` meets the shape `third`."""
    x0, y0 = start.x - third.x, start.y - third.y
    x1, y1 = end.x - third.x, end.y - third.y
    if third.shape == "circle":
        half_width, half_height = third.width / 2, third.height / 2
        return _distance_to_origin(x0 / half_width, y0 / half_height, x1 / half_width, y1 / half_height) <= 1
    return _segment_meets_box(x0, y0, x1, y1, third.width / 2, third.height / 2)


def _distance_to_origin(x0: float, y0: float, x1: float, y1: float) -> float:
    """The distance from (0, 0) to the segment between two points."""
    dx, dy = x1 - x0, y1 - y0
    length_squared = dx * dx + dy * dy
    t = 0.0 if length_squared == 0 else min(1.0, max(0.0, -(x0 * dx + y0 * dy) / length_squared))
    return float(((x0 + t * dx) ** 2 + (y0 + t * dy) ** 2) ** 0.5)


def _segment_meets_box(x0: float, y0: float, x1: float, y1: float, half_width: float, half_height: float) -> bool:
    """Clip the segment to a box around (0, 0), one axis at a time (Liang and Barsky, 1984)."""
    enter, leave = 0.0, 1.0
    for start, step, half in ((x0, x1 - x0, half_width), (y0, y1 - y0, half_height)):
        if step == 0:
            if abs(start) > half:
                return False
            continue
        near, far = sorted(((-half - start) / step, (half - start) / step))
        enter, leave = max(enter, near), min(leave, far)
    return enter <= leave


def _box_reaches_ellipse(box: Node, ellipse: Node) -> bool:
    """Scale the ellipse to the unit circle; the box's nearest point to its centre decides."""
    gap_x = max(0.0, abs(box.x - ellipse.x) - box.width / 2) / (ellipse.width / 2)
    gap_y = max(0.0, abs(box.y - ellipse.y) - box.height / 2) / (ellipse.height / 2)
    return gap_x * gap_x + gap_y * gap_y <= 1


def _ellipses_meet(a: Node, b: Node) -> bool:
    if a.width == a.height and b.width == b.height:
        return 4 * ((a.x - b.x) ** 2 + (a.y - b.y) ** 2) <= (a.width + b.width) ** 2
    # Scale a to the unit circle; they meet when b's outline comes within 1 of the centre, or b holds the centre.
    x, y = (b.x - a.x) / (a.width / 2), (b.y - a.y) / (a.height / 2)
    half_width, half_height = b.width / a.width, b.height / a.height
    if (x / half_width) ** 2 + (y / half_height) ** 2 <= 1:
        return True
    points = [(x + half_width * c, y + half_height * s) for c, s in _RING]
    return any(_distance_to_origin(*points[k - 1], *points[k]) <= 1 for k in range(len(points)))
