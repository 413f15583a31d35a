"""Draw answers next to their references on one sheet, to be judged by eye."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from diagram.draw import draw
from diagram.language import CANVAS_HEIGHT, CANVAS_WIDTH, Diagram

# Pixels of the sheet.
_SHEET_WIDTH = 1800
_MARGIN = 56
_COLUMN_GAP = 56
_ROW_GAP = 44
_PICTURE_GAP = 16
_TEXT_SIZE = 17
_LINE_HEIGHT = 24
_LABEL_SIZE = 13
_LABEL_HEIGHT = 24

_MAX_LINES = 2
_MAX_CHARACTERS = 600  # far more than fit, and measuring a text takes time

_TEXT_COLOUR = (48, 48, 52)
_LABEL_COLOUR = (150, 150, 156)
_FRAME_COLOUR = (214, 214, 218)


@dataclass(frozen=True, slots=True)
class Picture:
    """A diagram, the name that stands above it and, where it is an answer, its score in [0, 1]."""

    name: str
    diagram: Diagram
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """A request and what is shown below it, side by side."""

    request: str
    pictures: tuple[Picture, ...]


def answered(request: str, reference: Diagram, answer: Diagram, score: float) -> Cell:
    """A request with its reference at the left and its answer at the right."""
    return Cell(request, (Picture("reference", reference), Picture("answer", answer, score)))


def contact_sheet(cells: Sequence[Cell], columns: int = 2) -> Image.Image:
    """An RGB picture 1800 pixels wide: `columns` cells side by side, each a request above its pictures.

    Any text and any diagram that `parse` returns can be drawn. Raises ValueError when there is no cell, unless all
    cells have the same number of pictures, one or more, or unless `columns` lies between 1 and 4.
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
    picture_height = round(picture_width * CANVAS_HEIGHT / CANVAS_WIDTH)
    font = ImageFont.load_default(size=_TEXT_SIZE)
    requests = [_wrap(cell.request, font, cell_width) for cell in cells]

    rows = range(0, len(cells), columns)
    lines_in_row = [max(map(len, requests[k : k + columns])) for k in rows]
    fixed = _LABEL_HEIGHT + picture_height
    height = 2 * _MARGIN + sum(lines_in_row) * _LINE_HEIGHT + len(rows) * fixed + (len(rows) - 1) * _ROW_GAP
    sheet = Image.new("RGB", (_SHEET_WIDTH, height), "white")
    pen = ImageDraw.Draw(sheet)
    top = _MARGIN
    for row, lines in zip(rows, lines_in_row, strict=True):
        for column, cell in enumerate(cells[row : row + columns]):
            left = _MARGIN + column * (cell_width + _COLUMN_GAP)
            request = requests[row + column]
            for k, text in enumerate(request, start=lines - len(request)):  # a short request stands on the pictures
                pen.text((left, top + k * _LINE_HEIGHT), text, fill=_TEXT_COLOUR, font=font)
            for k, picture in enumerate(cell.pictures):
                x = left + k * (picture_width + _PICTURE_GAP)
                _draw_picture(sheet, picture, x, top + lines * _LINE_HEIGHT, picture_width)
        top += lines * _LINE_HEIGHT + fixed + _ROW_GAP
    return sheet


def _draw_picture(sheet: Image.Image, picture: Picture, left: int, top: int, width: int) -> None:
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=_LABEL_SIZE)
    baseline = top + _LABEL_HEIGHT - 8
    pen.text((left, baseline), picture.name, fill=_LABEL_COLOUR, font=font, anchor="ls")
    if picture.score is not None:
        text = f"score {_figure(picture.score)}"
        pen.text((left + width, baseline), text, fill=_TEXT_COLOUR, font=font, anchor="rs")
    drawn = draw(picture.diagram, width)
    ImageDraw.Draw(drawn).rectangle((0, 0, drawn.width - 1, drawn.height - 1), outline=_FRAME_COLOUR)
    sheet.paste(drawn, (left, top + _LABEL_HEIGHT))


def _figure(score: float) -> str:
    """Two decimals, where 1.00 stands for a flawless answer alone."""
    return "0.99" if 0.99 < score < 1 else f"{score:.2f}"


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Break a text into at least one and at most _MAX_LINES lines that fit; what is left out ends in an ellipsis."""
    clean = "".join(c if c.isprintable() else " " for c in text[:_MAX_CHARACTERS])
    words = clean.split()
    lines = []
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


def _longest_fit(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """The longest beginning of a text that fits, at least one character."""
    fits, too_long = 1, len(text) + 1
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if font.getlength(text[:middle]) <= width:
            fits = middle
        else:
            too_long = middle
    return text[:fits]
