"""Labels fit into their shapes: measured without a font, so on every machine alike."""

import random

import pytest

from diagram.labels import MAX_LABEL
from diagram.lettering import BASELINE, LARGEST, LINE_HEIGHT, SMALLEST, lettering_of, letterings
from diagram.nodes import SHAPES, Node
from diagram.text_width import is_known, pieces_of, width_of

WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def node(label, shape="rectangle", width=110, height=60, number=0):
    return Node(number, 500, 300, shape, width, height, "solid arrow", WHITE, BLACK, (), label)


def lines(label, *shape):
    return lettering_of(node(label, *shape), label).lines


def test_a_short_label_is_one_line_in_the_largest_letters():
    found = lettering_of(node("Sales"), "Sales")
    assert (found.lines, found.size, found.whole, found.lost, found.turned) == (("Sales",), LARGEST, True, 0, False)


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("Load into warehouse", ("Load into", "warehouse")),
        ("pandas.DataFrame", ("pandas.", "DataFrame")),
        ("GradientBoostingTree", ("Gradient", "BoostingTree")),
        ("데이터 수집 및 전처리", ("데이터 수집", "및 전처리")),
        ("検索結果の再順位付け処理", ("検索結果の再", "順位付け処理")),
    ],
)
def test_lines_break_where_readers_expect_it_and_are_about_equally_long(label, expected):
    found = lettering_of(node(label), label)
    assert found.lines == expected and found.whole


def test_letters_get_smaller_before_a_word_is_broken():
    found = lettering_of(node("preprocessing", width=90), "preprocessing")
    assert found.lines == ("preprocessing",) and SMALLEST <= found.size < LARGEST and found.whole
    broken = lettering_of(node("x" * 30), "x" * 30)
    assert not broken.whole and broken.lost == 0 and "".join(broken.lines) == "x" * 30


def test_a_label_that_is_too_long_ends_in_an_ellipsis():
    label = "a label with many words for a tiny shape"
    found = lettering_of(node(label, "rectangle", 60, 30), label)
    assert found.size == SMALLEST and not found.whole and 0.5 < found.lost < 1
    assert found.lines[-1].endswith("…") and label.startswith(found.lines[0][:-1])
    nothing = lettering_of(node(label, "circle", 10, 10), label)
    assert nothing.lines == () and nothing.lost == 1


def test_every_line_is_inside_its_shape():
    rng = random.Random(4)
    for _ in range(400):
        label = " ".join("x" * rng.randrange(1, 12) for _ in range(rng.randrange(1, 6)))[:MAX_LABEL].strip()
        shape, width, height = rng.choice(SHAPES), rng.randrange(8, 260), rng.randrange(8, 260)
        found = lettering_of(node(label, shape, width, height), label)
        a, b = (height / 2, width / 2) if found.turned else (width / 2, height / 2)
        for k, line in enumerate(found.lines):
            middle = (k - (len(found.lines) - 1) / 2) * LINE_HEIGHT * found.size
            x, y = width_of(line) * found.size / 2, abs(middle) + found.size / 2
            assert 2 * x <= found.rooms[k] + 1e-6
            assert ((x / a) ** 2 + (y / b) ** 2 < 1) if shape == "circle" else (x < a and y < b)


def test_the_label_of_a_narrow_shape_is_turned_if_it_does_not_fit_upright():
    layer = "rectangle", 40, 240
    assert lettering_of(node("conv 3x3, 32", *layer), "conv 3x3, 32")[:4:2] == (("conv 3x3, 32",), True)
    assert not lettering_of(node("x1", *layer), "x1").turned
    found = letterings([node("conv 3x3, 32", *layer), node("x1", *layer, number=1), node("out", number=2)])
    assert [found[k].turned for k in range(3)] == [True, True, False]


def test_the_labels_of_a_diagram_have_one_size_unless_one_is_very_long():
    found = letterings([node("Load"), node("src/utils/io.py", number=1), node("Store", number=2)])
    assert len({lettering.size for lettering in found.values()}) == 1
    long = "a label with so many words for one small shape"
    found = letterings([node("Load"), node(long, "rectangle", 90, 44, 1)])
    assert found[1].size < found[0].size == 12


def test_shapes_without_words_have_no_lettering():
    assert letterings([node(None), node("", number=1), node(" \u200b", number=2)]) == {}


def test_widths_are_those_of_helvetica_and_estimates_are_marked():
    assert width_of("Hello") == pytest.approx(0.722 + 0.556 + 2 * 0.222 + 0.556)
    assert width_of("é") == width_of("e") and width_of("내") == 1 and width_of("e\u0301") == width_of("e")
    assert is_known("Café 내") and not is_known("жук") and not is_known("بيانات")
    assert 0 < BASELINE < 0.5


def test_accents_stay_with_their_letters():
    assert [piece.text for piece in pieces_of("e\u0301x", anywhere=True)] == ["e\u0301", "x"]
