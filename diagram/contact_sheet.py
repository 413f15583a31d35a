"""Draw answers next to their references on one sheet, to compare them by eye.

Each picture shows the part of the canvas that its diagram uses. All pictures of a cell have the same scale, so that
sizes can be compared. All frames of a row have the same height.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

from PIL import Image, ImageDraw, ImageFont

from diagram.draw import draw
from diagram.fonts import face_for
from diagram.language import CANVAS_HEIGHT, CANVAS_WIDTH, Diagram
from diagram.picture_geometry import Box, drawn_box

# Pixels of the sheet.
_SHEET_WIDTH = 1800
_MARGIN = 56
_COLUMN_GAP = 56
_ROW_GAP = 44
_PICTURE_GAP = 16
_TEXT_SIZE = 17
_LINE_HEIGHT = 24
_LABEL_SIZE = 15
_LABEL_HEIGHT = 26

_LARGEST_SCALE = 0.8  # pixels per canvas pixel: two small shapes should not fill a frame
_LOWEST_FRAME = 0.25  # the smallest height of a frame, as a share of its width

_MAX_LINES = 2
_MAX_CHARACTERS = 600  # far more than fit; measuring a longer text would take time

_TEXT_COLOUR = (48, 48, 52)
_LABEL_COLOUR = (150, 150, 156)
_FRAME_COLOUR = (214, 214, 218)

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True, slots=True)
class Picture:
    """A diagram, the name shown above it and, for an answer, its score in [0, 1]."""

    name: str
    diagram: Diagram
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """A request and the pictures below it, side by side."""

    request: str
    pictures: tuple[Picture, ...]


def answered(request: str, reference: Diagram, answer: Diagram, score: float) -> Cell:
    """A cell with the reference on the left and the answer on the right."""
    return Cell(request, (Picture("reference", reference), Picture("answer", answer, score)))


def contact_sheet(cells: Sequence[Cell], columns: int = 2) -> Image.Image:
    """An RGB picture 1800 pixels wide: `columns` cells side by side, each a request above its pictures.

    Draws any text and any diagram that `parse` returns. Raises ValueError if there are no cells, if the cells do not
    all have the same number of pictures, at least one, or if `columns` is not between 1 and 4.
    """
    if not cells:
        raise ValueError("a contact sheet needs at least one cell")
    counts = {len(cell.pictures) for cell in cells}
    if len(counts) > 1 or 0 in counts:
        raise ValueError("every cell of a contact sheet needs the same number of pictures, at least one")
    if not 1 <= columns <= 4:
        raise ValueError(f"a contact sheet has 1 to 4 columns, not {columns}")
    (count,) = counts
    cell_width = (_SHEET_WIDTH - 2 * _MARGIN - (columns - 1) * _COLUMN_GAP) // columns
    picture_width = (cell_width - (count - 1) * _PICTURE_GAP) // count
    face = face_for("".join(_clean(cell.request) for cell in cells))
    font = face.at(_TEXT_SIZE)

    strips = []
    for k in range(0, len(cells), columns):
        requests = [_wrap(face.drawable(_clean(cell.request)), font, cell_width) for cell in cells[k : k + columns]]
        pictures = _pictures(cells[k : k + columns], picture_width)
        text_height = max(map(len, requests)) * _LINE_HEIGHT
        strip = Image.new("RGB", (_SHEET_WIDTH, text_height + pictures[0][0].height), "white")
        pen = ImageDraw.Draw(strip)
        for column, (request, images) in enumerate(zip(requests, pictures, strict=True)):
            left = _MARGIN + column * (cell_width + _COLUMN_GAP)
            for line, text in enumerate(reversed(request), start=1):  # the last line is just above the pictures
                pen.text((left, text_height - line * _LINE_HEIGHT), text, fill=_TEXT_COLOUR, font=font)
            for n, image in enumerate(images):
                strip.paste(image, (left + n * (picture_width + _PICTURE_GAP), text_height))
        strips.append(strip)

    height = 2 * _MARGIN + sum(strip.height for strip in strips) + (len(strips) - 1) * _ROW_GAP
    sheet = Image.new("RGB", (_SHEET_WIDTH, height), "white")
    top = _MARGIN
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height + _ROW_GAP
    return sheet


def _pictures(cells: Sequence[Cell], width: int) -> list[list[Image.Image]]:
    """The labelled pictures of one row of cells, all `width` pixels wide and equally high."""
    highest = round(width * CANVAS_HEIGHT / CANVAS_WIDTH)
    boxes = [[drawn_box(picture.diagram) for picture in cell.pictures] for cell in cells]
    scales = [_scale(filter(None, of_cell), width, highest) for of_cell in boxes]
    needed = [scale * box.height for scale, of_cell in zip(scales, boxes, strict=True) for box in filter(None, of_cell)]
    height = min(highest, ceil(max([_LOWEST_FRAME * width, *needed])))
    return [
        [
            _labelled(picture, _framed(picture.diagram, box, scale, (width, height)))
            for picture, box in zip(cell.pictures, of_cell, strict=True)
        ]
        for cell, of_cell, scale in zip(cells, boxes, scales, strict=True)
    ]


def _scale(boxes: Iterable[Box], width: int, height: int) -> float:
    """The largest scale, up to _LARGEST_SCALE, at which every box fits into `width` x `height` pixels."""
    largest = max(_LARGEST_SCALE, width / CANVAS_WIDTH)
    return min([largest, *(min(width / box.width, height / box.height) for box in boxes)])


def _framed(diagram: Diagram, box: Box | None, scale: float, size: tuple[int, int]) -> Image.Image:
    """The part of the diagram in the box, in a frame of `size`. Centred, except on a side where the box ends at the
    edge of the canvas: there it touches the frame.

    So a shape that the canvas cuts off is cut off by the frame, not in the middle of white.
    """
    frame = Image.new("RGB", size, "white")
    if box:
        image = draw(diagram, max(1, round(scale * box.width)), box)
        left = _place(size[0] - image.width, box.left <= 0, box.right >= CANVAS_WIDTH)
        top = _place(size[1] - image.height, box.top <= 0, box.bottom >= CANVAS_HEIGHT)
        frame.paste(image, (left, top))
    ImageDraw.Draw(frame).rectangle((0, 0, size[0] - 1, size[1] - 1), outline=_FRAME_COLOUR)
    return frame


def _place(room: int, ends_before: bool, ends_after: bool) -> int:
    """The offset of a picture in its frame, if the frame has `room` more pixels than the picture."""
    if ends_before == ends_after:
        return room // 2
    return 0 if ends_before else room


def _labelled(picture: Picture, framed: Image.Image) -> Image.Image:
    """A framed picture with its name and score above it."""
    image = Image.new("RGB", (framed.width, _LABEL_HEIGHT + framed.height), "white")
    image.paste(framed, (0, _LABEL_HEIGHT))
    pen = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=_LABEL_SIZE)
    baseline = _LABEL_HEIGHT - 8
    pen.text((0, baseline), picture.name, fill=_LABEL_COLOUR, font=font, anchor="ls")
    if picture.score is not None:
        score = f"score {_figure(picture.score)}"
        pen.text((framed.width, baseline), score, fill=_TEXT_COLOUR, font=font, anchor="rs")
    return image


def _figure(score: float) -> str:
    """The score with two decimals. Only a flawless answer is shown as 1.00."""
    return "0.99" if 0.99 < score < 1 else f"{score:.2f}"


def _wrap(text: str, font: _Font, width: int) -> list[str]:
    """Break a text into 1 to _MAX_LINES lines that fit. A text that is too long is cut and ends in an ellipsis."""
    words = text[:_MAX_CHARACTERS].split()
    lines: list[str] = []
    while words and len(lines) < _MAX_LINES:
        line = ""
        while words and font.getlength(f"{line} {words[0]}" if line else words[0]) <= width:
            line = f"{line} {words[0]}" if line else words[0]
            words.pop(0)
        if not line:  # a single word longer than a line
            word = words.pop(0)
            line = _longest_fit(word, font, width)
            words.insert(0, word[len(line) :])
        lines.append(line)
    if words or len(text) > _MAX_CHARACTERS and lines:
        lines[-1] = _longest_fit(lines[-1], font, width - font.getlength("...")).rstrip(" ,.;") + "..."
    return lines or [""]


def _clean(request: str) -> str:
    """As much of a request as can be shown, without what cannot be seen."""
    return "".join(c if c.isprintable() else " " for c in request[: _MAX_CHARACTERS + 1])


def _longest_fit(text: str, font: _Font, width: float) -> str:
    """The longest beginning of a text that fits, at least one character."""
    fits, too_long = 1, len(text) + 1
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if font.getlength(text[:middle]) <= width:
            fits = middle
        else:
            too_long = middle
    return text[:fits]
