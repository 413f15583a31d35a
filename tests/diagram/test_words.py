"""Labels in pictures: inside their shapes, readable on any background, and never more than text."""

import logging
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image, ImageFont

from diagram import fonts, words
from diagram.contact_sheet import Cell, Picture, contact_sheet
from diagram.contrast import DARK, LIGHT, contrast, ink_on
from diagram.draw import draw, png
from diagram.drawio import drawio
from diagram.fonts import Face, face_for, faces_for
from diagram.nodes import MAX_COORDINATE, SHAPES, Diagram, Node
from diagram.picture_geometry import Box
from diagram.svg import svg

FILL, INK = (222, 235, 247), (49, 130, 189)
HOSTILE = '<b>&amp;</b> "x" ]]> \u202e\x1b[31m\u200b\x00\ud800\ufffe\''


def node(label, shape="round rectangle", width=120, height=60, fill=FILL, number=0):
    return Node(number, 500, 300, shape, width, height, "solid arrow", fill, INK, (), label)


def pixels(*nodes, **options):
    return np.asarray(draw(Diagram(nodes), **options)).astype(int)


def letters(shown, **options):
    """Where a picture of the shape differs from one without its label: (left, top, right, bottom), or None."""
    rows, columns = np.nonzero((pixels(shown, **options) != pixels(replace(shown, label=None), **options)).any(axis=2))
    return (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) if len(rows) else None


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "label",
    ["Sales", "Load into warehouse", "W" * 48, "Überprüfung", "데이터 수집", "Z" + "\u0351\u036b\u0343" * 15, "g" * 30],
)
@pytest.mark.parametrize(("width", "height"), [(120, 60), (40, 240), (50, 50), (300, 26), (17, 90)])
def test_no_letter_leaves_its_shape(shape, label, width, height):
    shown = node(label, shape, width, height)
    around = {"width": 320, "crop": Box(340, 170, 660, 430)}
    difference = np.abs(pixels(shown, **around) - pixels(replace(shown, label=None), **around))
    rows, columns = np.nonzero((difference > 8).any(axis=2))  # less: smoothing
    x, y = np.abs(columns + 0.5 - 160) / (width / 2), np.abs(rows + 0.5 - 130) / (height / 2)
    assert (x**2 + y**2 < 1).all() if shape == "circle" else (x < 1).all() and (y < 1).all()


def test_a_label_is_in_the_middle_of_its_shape():
    left, top, right, bottom = letters(node("HXH"))
    assert abs((left + right) / 2 - 500) <= 1 and abs((top + bottom) / 2 - 300) <= 1


def test_a_turned_label_is_higher_than_wide():
    left, top, right, bottom = letters(node("conv 3x3, 32", "rectangle", 40, 240))
    assert bottom - top > 3 * (right - left)


def test_shapes_without_a_label_look_as_they_did():
    for label in ("", " ", "\u200b", "\u202e"):
        assert letters(node(label)) is None


@pytest.mark.parametrize("fill", [(255, 255, 255), (0, 0, 0), (127, 127, 127), (255, 0, 0), (0, 0, 255), (255, 220, 0)])
def test_letters_have_enough_contrast_on_every_background(fill):
    assert contrast(ink_on(fill), fill) >= 4.5
    picture = pixels(node("HHHH", fill=fill), width=600, crop=Box(440, 270, 560, 330))
    assert (np.abs(picture - ink_on(fill)).max(axis=2) < 30).any()


def test_light_letters_are_on_dark_backgrounds_and_dark_ones_on_light():
    assert ink_on((8, 48, 107)) == LIGHT and ink_on((222, 235, 247)) == DARK
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)


def test_huge_and_far_shapes_with_labels_are_drawn():
    far = replace(node("Sales"), x=MAX_COORDINATE, width=MAX_COORDINATE, height=MAX_COORDINATE)
    huge = replace(node("Sales data"), width=MAX_COORDINATE, height=MAX_COORDINATE)
    assert letters(far) is None and letters(huge) is not None
    assert letters(huge, width=50, crop=Box(499, 299, 501, 301)) is not None
    assert png(Diagram((huge, far)))


@pytest.mark.parametrize("size", [(1, 1), (1000, 1), (3, 600), (12, 12), (MAX_COORDINATE, 5)])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_thinnest_shapes_with_labels_are_drawn(shape, size):
    diagram = Diagram((node("Sales data", shape, *size),))
    assert png(diagram) and svg(diagram) and drawio(diagram)


def test_a_character_that_no_font_has_is_drawn_as_a_box_and_reported_once(monkeypatch, caplog):
    monkeypatch.setattr(fonts, "_searched", lambda characters: None)
    monkeypatch.setattr(fonts, "_usual_files", lambda: [])
    monkeypatch.setattr(fonts, "_warned", False)
    with caplog.at_level(logging.WARNING):
        assert letters(node("내 \U00013000")) is not None
        face_for("\U00013000")
    (record,) = caplog.records
    assert "U+B0B4" in record.getMessage() and "DIAGRAM_FONT=" in record.getMessage()
    assert face_for("내").drawable("a내") == "a□"


def test_letters_lose_their_accents_rather_than_becoming_boxes():
    assert Face().drawable("Café") == "Cafe"


@pytest.mark.parametrize("text", ["Café", "Δεδομένα", "Загрузка", "≥ α → β"])
def test_latin_greek_and_cyrillic_are_drawn_on_every_machine(text):
    assert face_for(text).missing(text) == []


def test_one_font_is_used_for_all_labels_if_it_has_all_characters():
    assert len({id(face) for face in faces_for(["Sales", "Café", "x"]).values()}) == 1


def test_a_font_can_be_named(monkeypatch, caplog):
    path = face_for("é")._path
    monkeypatch.setenv("DIAGRAM_FONT", path)
    fonts._known_faces.cache_clear()
    try:
        assert face_for("abc")._path == path
        monkeypatch.setenv("DIAGRAM_FONT", __file__)
        fonts._known_faces.cache_clear()
        with caplog.at_level(logging.WARNING):
            assert face_for("abc")._path is None
        assert "cannot be read as a font" in caplog.text
    finally:
        monkeypatch.undo()
        fonts._known_faces.cache_clear()


def test_hebrew_is_in_its_order_also_without_the_library_for_it(monkeypatch):
    monkeypatch.setattr(words.features, "check_feature", lambda feature: False)
    assert words._in_drawn_order("אבג v2 דה") == "הד v2 גבא"
    assert words._in_drawn_order("abc") == "abc"


def test_a_korean_caption_needs_no_other_code_than_an_english_one():
    picture = Picture("reference", Diagram((node("Sales"),)))
    assert contact_sheet([Cell("한국어 \u202e요청", (picture,))], columns=1).width == 1800


def elements(content, name):
    return [element for element in ElementTree.fromstring(content).iter() if element.tag.endswith(name)]


def test_an_svg_has_a_text_for_each_line_and_the_whole_label_as_title():
    content = svg(Diagram((node("Load into the warehouse"),)))
    assert [text.text for text in elements(content, "text")] == ["Load into the", "warehouse"]
    assert "Load into the warehouse" in [title.text for title in elements(content, "title")]
    for text in elements(content, "text"):
        assert float(text.get("textLength")) <= 120 and text.get("text-anchor") == "middle"
        assert float(text.get("y")) - float(text.get("font-size")) > 270 and float(text.get("y")) < 330


def test_a_turned_label_is_turned_in_every_format():
    diagram = Diagram((node("conv 3x3, 32", "rectangle", 40, 240),))
    assert elements(svg(diagram), "text")[0].get("transform") == "rotate(-90 500 300)"
    assert b"horizontal=0;" in drawio(diagram)


def test_the_first_letter_of_a_label_decides_the_direction_of_all_its_lines():
    texts = elements(svg(Diagram((node("מודל v2 חדש", width=60),))), "text")
    assert len(texts) > 1 and {text.get("direction") for text in texts} == {"rtl"}
    assert elements(svg(Diagram((node("v2 מודל"),))), "text")[0].get("direction") is None


def test_draw_io_wraps_the_label_and_shows_it_literally():
    (cell,) = [cell for cell in elements(drawio(Diagram((node("a <b> & c"),))), "mxCell") if cell.get("vertex")]
    assert cell.get("value") == "a &lt;b&gt; &amp; c"  # draw.io reads the value as HTML
    assert "whiteSpace=wrap;html=1;" in cell.get("style")
    assert "fontSize=16;fontColor=#1c1c1e;" in cell.get("style")


@pytest.mark.parametrize("write", [svg, drawio])
def test_no_hostile_character_reaches_a_file(write):
    text = write(Diagram((node(HOSTILE), node("right-to-left \u2067", number=1)))).decode()
    ElementTree.fromstring(text)
    assert all(character.isprintable() or character == "\n" for character in text)
    assert "<b>" not in text


def test_pictures_without_labels_have_no_trace_of_them():
    plain = Diagram((node(None),))
    assert b"<text" not in svg(plain) and b"font" not in svg(plain) + drawio(plain)
    assert isinstance(ImageFont.load_default(10), ImageFont.FreeTypeFont) and isinstance(draw(plain), Image.Image)


def test_a_font_that_a_search_finds_is_kept_and_what_it_does_not_find_is_not_searched_again(monkeypatch):
    path, searches = face_for("é")._path, []
    monkeypatch.setattr(fonts, "_known_faces", lambda: [Face()])
    monkeypatch.setattr(fonts, "_usual_files", lambda: [])
    monkeypatch.setattr(fonts, "_searched", lambda characters: searches.append(characters) or path)
    for name, value in (("_found", []), ("_nowhere", set()), ("_warned", True)):
        monkeypatch.setattr(fonts, name, value)
    assert face_for("é")._path == face_for("aé")._path == path and searches == ["é"]
    assert face_for("\U00013000").missing("\U00013000") and face_for("\U00013000") and searches == ["é", "\U00013000"]
