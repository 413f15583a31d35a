"""The ending of a file's name decides the kind of picture, and every diagram can be saved as every kind."""

from collections import Counter
from xml.etree import ElementTree

import pytest
from helpers import ORPO_CSV, SFT_CSV, rows_of
from hypothesis import given, settings
from wild_diagrams import ANY_PARSED

from diagram import parse
from diagram.drawio import drawio
from diagram.pictures import SUFFIXES, picture_bytes, save
from diagram.svg import svg

TEXT = "[0, 100, 100, 'circle', 80, 80, 'solid arrow', (255, 228, 196), (0, 0, 0), [1]]\n" + (
    "[1, 400, 100, 'rectangle', 80, 80, 'solid arrow', (255, 228, 196), (0, 0, 0), []]"
)
BEGINNINGS = {".png": b"\x89PNG\r\n", ".svg": b"<?xml version='1.0' encoding='utf-8'?>\n<svg "}
BEGINNINGS[".drawio"] = BEGINNINGS[".svg"].replace(b"svg", b"mxfile")
ALLOWED = {"svg", "title", "path", "line", "polygon", "rect", "ellipse"}
ALLOWED |= {"mxfile", "diagram", "mxGraphModel", "root", "mxCell", "mxGeometry"}


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".PNG", ".Svg", ".DrawIO"])
def test_the_ending_decides_the_kind_of_picture(tmp_path, suffix):
    save(parse(TEXT), tmp_path / f"net.v2{suffix}")
    assert (tmp_path / f"net.v2{suffix}").read_bytes().startswith(BEGINNINGS[suffix.lower()])


@pytest.mark.parametrize("suffix", ["", ".jpg", ".svgz", "svg", ".xml"])
def test_another_ending_is_refused_with_the_names_of_the_three(suffix):
    with pytest.raises(ValueError, match=r"take one of \.png, \.svg, \.drawio"):
        picture_bytes(parse(TEXT), suffix)


@pytest.mark.parametrize("name", ["net", "net.jpg", "net.svg.txt", "svg"])
def test_a_file_with_another_ending_is_not_written(tmp_path, name):
    with pytest.raises(ValueError, match="not the ending of a picture"):
        save(parse(TEXT), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@given(ANY_PARSED)
@settings(max_examples=150, deadline=2000)
def test_any_answer_is_well_formed_xml_of_known_elements_with_a_shape_for_each_node(diagram):
    pictures = [ElementTree.fromstring(writer(diagram)) for writer in (svg, drawio)]
    names = [element.tag.rpartition("}")[2] for root in pictures for element in root.iter()]
    assert set(names) <= ALLOWED
    shapes = sum(name in ("rect", "ellipse") for name in names)
    assert shapes == len(pictures[1].findall(".//mxCell[@vertex]")) == len(diagram.nodes)


def test_every_committed_diagram_has_all_its_shapes_and_connections_in_both_xml_files():
    rows = [parse(row["output_data"]) for path in (SFT_CSV, ORPO_CSV) for row in rows_of(path)]
    assert len(rows) == 900
    for diagram in rows:
        tags = Counter(element.tag.rpartition("}")[2] for element in ElementTree.fromstring(svg(diagram)).iter())
        assert tags["rect"] + tags["ellipse"] == len(diagram.nodes) and tags["line"] == len(diagram.edges)
        cells = ElementTree.fromstring(drawio(diagram)).findall(".//mxCell[@edge]")
        ends = {(cell.attrib["source"], cell.attrib["target"]) for cell in cells}
        assert ends == {(f"node-{start}", f"node-{end}") for start, end in diagram.edges}
