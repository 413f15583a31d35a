"""The contact sheet: references and answers can be compared, and no text or diagram breaks it."""

from dataclasses import replace
from io import BytesIO

import pytest
from PIL import Image, ImageChops

from diagram.contact_sheet import Cell, Picture, answered, contact_sheet
from diagram.language import LINES, Diagram, Node, parse

WHITE = (255, 255, 255)
FILL = (200, 220, 240)


def box(x: int, y: int, width: int, height: int) -> Diagram:
    return Diagram((Node(0, x, y, "rectangle", width, height, "solid arrow", FILL, (0, 0, 200), ()),))


SMALL = box(200, 100, 100, 60)
FULL = box(500, 300, 1000, 600)
EMPTY = parse("")


def pair(line: str) -> Diagram:
    first = Node(0, 200, 300, "circle", 120, 80, line, FILL, (0, 0, 200), (1,))
    return Diagram((first, replace(first, number=1, x=800, targets=())))


STRANGE = ["", " \n\t", "\x00\x1b[31m", "\ud800\udfff", "\u202eabc", "日本語 żółć \U0001f600", "a\u0301" * 500]
STRANGE += ["W" * 5000, "word " * 3000, "\u200b" * 50, "<b>%s {0}</b>", "two\r\nlines"]


def test_a_contact_sheet_of_twelve_strange_requests_has_a_moderate_size():
    cells = [answered(text, pair(LINES[k % 3]), EMPTY, k / 11) for k, text in enumerate(STRANGE)]
    sheet = contact_sheet(cells)
    assert (sheet.width, sheet.mode, len(cells)) == (1800, "RGB", 12)
    assert 1000 < sheet.height < 2000
    file = BytesIO()
    sheet.save(file, "PNG")
    assert len(file.getvalue()) < 600_000


def test_a_contact_sheet_shows_the_reference_on_the_left_and_the_answer_on_the_right():
    sheet = contact_sheet([answered("Draw it", FULL, EMPTY, 0.5)], columns=1)
    left, right = (sheet.getpixel((sheet.width // 4 * k, sheet.height // 2)) for k in (1, 3))
    assert (left, right) == (FILL, WHITE)


def test_a_contact_sheet_shows_all_pictures_of_a_cell_side_by_side():
    pictures = tuple(Picture(str(k), FULL if k % 2 else EMPTY, k / 4) for k in range(4))
    sheet = contact_sheet([Cell("Draw it", pictures)], columns=1)
    seen = [sheet.getpixel((sheet.width // 8 * k, sheet.height // 2)) for k in (1, 3, 5, 7)]
    assert seen == [WHITE, FILL, WHITE, FILL]


def filled(image: Image.Image) -> tuple[int, int, int, int] | None:
    """The box of all pixels of the fill's colour."""
    difference = ImageChops.difference(image, Image.new("RGB", image.size, FILL)).convert("L")
    return Image.eval(difference, lambda value: 255 * (value == 0)).getbbox()


def widths_of_fill(sheet: Image.Image) -> list[int]:
    """The width of the filled area in each quarter of a sheet."""
    quarter = sheet.width // 4
    boxes = [filled(sheet.crop((k * quarter, 0, (k + 1) * quarter, sheet.height))) for k in range(4)]
    return [right - left for left, _, right, _ in (found or (0, 0, 0, 0) for found in boxes)]


def test_a_small_diagram_is_enlarged():
    small, _, full, _ = widths_of_fill(contact_sheet([answered("", d, EMPTY, 0.0) for d in (SMALL, FULL)]))
    assert full == pytest.approx(400, abs=10)  # the outline is not filled
    assert small > 1.7 * full / 1000 * 100


def test_the_pictures_of_a_cell_have_the_same_scale():
    (reference, answer, *_), (alone, *_) = (
        widths_of_fill(contact_sheet([answered("", SMALL, other, 0.5)])) for other in (FULL, EMPTY)
    )
    assert reference == pytest.approx(answer / 10, abs=8) and alone > 1.8 * reference


def test_a_cropped_diagram_is_centred_in_its_frame():
    sheet = contact_sheet([Cell("", (Picture("", SMALL),))], columns=1)
    left, _, right, _ = filled(sheet)
    assert left + right == pytest.approx(sheet.width, abs=3)


def test_a_shape_cut_off_by_the_canvas_is_cut_off_by_the_frame():
    cut = box(1000, 300, 200, 80)
    sheet = contact_sheet([Cell("", (Picture("", cut), Picture("", FULL)))], columns=1)
    right_edge = sheet.width // 2 - 8 - 1  # the frame's last pixel; the gap between two pictures is 16 wide
    assert sheet.getpixel((right_edge - 3, sheet.height // 2)) == FILL


def test_frames_of_a_row_have_the_same_height_even_for_an_empty_diagram():
    sheet = contact_sheet([answered("", FULL, EMPTY, 0.5), answered("", EMPTY, SMALL, 0.5)])
    bottoms = []
    for k in range(4):
        column = [sheet.getpixel((sheet.width // 8 * (2 * k + 1), y)) != WHITE for y in range(sheet.height)]
        bottoms.append(len(column) - 1 - column[::-1].index(True))
    assert len(set(bottoms)) == 1


@pytest.mark.parametrize("text", STRANGE)
def test_a_request_stays_within_the_margins_of_its_cell(text):
    sheet = contact_sheet([answered(text, EMPTY, EMPTY, 0.0)] * 2)
    for margin in ((0, 0, 50, sheet.height), (880, 0, 925, sheet.height), (1750, 0, 1800, sheet.height)):
        assert sheet.crop(margin).getcolors() == [(sheet.crop(margin).width * sheet.height, WHITE)]


def test_a_score_just_below_one_is_not_shown_as_one():
    def sheet(score: float) -> bytes:
        return contact_sheet([answered("", EMPTY, EMPTY, score)]).tobytes()

    assert sheet(0.9999) == sheet(0.99) != sheet(1.0)


def test_a_contact_sheet_without_cells_or_columns_is_refused():
    with pytest.raises(ValueError, match="at least one cell"):
        contact_sheet([])
    with pytest.raises(ValueError, match="columns"):
        contact_sheet([answered("", EMPTY, EMPTY, 0.0)], columns=0)
    with pytest.raises(ValueError, match="same number of pictures"):
        contact_sheet([answered("", EMPTY, EMPTY, 0.0), Cell("", ())])
