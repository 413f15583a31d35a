"""Draw the labels of a diagram into a picture, each inside its shape.

Lines and sizes come from `diagram.lettering`, which knows no font. If a line is wider in the font that is used, the
whole label gets smaller. What would still leave the shape, such as accents on top of one another, is cut off.
"""

import unicodedata
from itertools import repeat

from PIL import Image, ImageDraw, features

from diagram.contrast import ink_on
from diagram.fonts import Face, faces_for
from diagram.labels import is_right_to_left, shown
from diagram.lettering import BASELINE, LINE_HEIGHT, Lettering, letterings
from diagram.nodes import Diagram, Node
from diagram.pen import Pen
from diagram.picture_geometry import Box
from diagram.text_width import width_of

_OVERHANG = 0.3  # of the font size, above and below the lines
_LARGEST_FONT = 400.0  # pixels; larger letters are enlarged pictures of these
_RIGHT_TO_LEFT = ("R", "AL")


class Words:
    """The labels of a diagram, laid out."""

    def __init__(self, diagram: Diagram) -> None:
        self._letterings = letterings(diagram.nodes)
        texts = {node.number: shown(node.label) for node in diagram.nodes if node.number in self._letterings}
        faces = faces_for(texts.values()) if texts else {}
        self._faces = {number: faces[text] for number, text in texts.items()}

    def draw(self, pen: Pen, node: Node) -> None:
        """Draw the label of a shape, if it has one, with a pen that has drawn the shape."""
        lettering = self._letterings.get(node.number)
        if lettering is None or not lettering.lines:
            return
        lettering = lettering._replace(
            rooms=tuple(map(_needed, lettering.lines, lettering.rooms, repeat(lettering.size)))
        )
        across, along = max(lettering.rooms), _height(lettering)
        width, height = (along, across) if lettering.turned else (across, along)
        whole = Box(node.x - width / 2, node.y - height / 2, node.x + width / 2, node.y + height / 2)
        pen.stamp(node, whole, lambda scale: _mask(lettering, self._faces[node.number], scale), ink_on(node.fill))


def _needed(line: str, room: float, size: int) -> float:
    """As much of a line's room as any font needs; in a huge shape the room is huge."""
    return min(room, (2 * width_of(line) + 1) * size)


def _height(lettering: Lettering) -> float:
    return ((len(lettering.lines) - 1) * LINE_HEIGHT + 1 + 2 * _OVERHANG) * lettering.size


def _mask(lettering: Lettering, face: Face, scale: float) -> Image.Image:
    """The label in white on black, `scale` pixels per canvas pixel, or fewer if the letters are very large."""
    scale = min(scale, _LARGEST_FONT / lettering.size)
    lines = [_in_drawn_order(face.drawable(line)) for line in lettering.lines]
    font = face.at(lettering.size * scale)
    widths = [max(1.0, font.getlength(line)) for line in lines]
    smaller = min(room * scale / width for room, width in zip(lettering.rooms, widths, strict=True))
    if smaller < 1:
        font = face.at(max(1.0, lettering.size * scale * smaller))
    direction = "rtl" if features.check_feature("raqm") and is_right_to_left("".join(lettering.lines)) else None
    image = Image.new("L", (max(1, round(max(lettering.rooms) * scale)), max(1, round(_height(lettering) * scale))))
    pen = ImageDraw.Draw(image)
    for k, line in enumerate(lines):
        middle = image.height / 2 + (k - (len(lines) - 1) / 2) * LINE_HEIGHT * lettering.size * scale
        baseline = middle + BASELINE * min(1.0, smaller) * lettering.size * scale
        pen.text((image.width / 2, baseline), line, fill=255, font=font, anchor="ms", direction=direction)
    return image.transpose(Image.Transpose.ROTATE_90) if lettering.turned else image


def _in_drawn_order(line: str) -> str:
    """The characters from left to right, if Pillow was built without what would order them (libraqm).

    Good enough for Hebrew, and for single words of others. The letters of Arabic are then not joined.
    """
    kinds = [unicodedata.bidirectional(character) for character in line]
    if features.check_feature("raqm") or not any(kind in _RIGHT_TO_LEFT for kind in kinds):
        return line
    runs: list[tuple[bool, str]] = []
    for character, kind in zip(line, kinds, strict=True):
        is_left = kind in ("L", "EN", "AN") or (kind in ("ES", "CS", "ET", "NSM") and bool(runs) and runs[-1][0])
        if runs and runs[-1][0] == is_left:
            runs[-1] = is_left, runs[-1][1] + character
        else:
            runs.append((is_left, character))
    return "".join(run if is_left else run[::-1] for is_left, run in reversed(runs))
