"""The committed CSVs can be generated again, byte for byte. Every row is readable, in the house style and short enough."""

import ast
import csv
import io
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter, defaultdict
from functools import cache

import numpy as np
import pytest
import shapely
from helpers import ROOT
from shapely import affinity

from create_dataset.create_dataset import INSTRUCTION, main
from create_dataset.flowchart_wording import NOUNS
from create_dataset.house_style import HOUSE_STYLE
from create_dataset.network_wording import NUMBER_WORDS
from diagram import format, parse

FOLDER = ROOT / "create_dataset"
TOKENIZER = ROOT.parent / "shared" / "deepseek-coder-1.3b-instruct"
FILES = ("sft_dataset_llm.csv", "orpo_dataset_llm.csv")
COLUMNS = ["input_data", "output_data", "dest_shape_info"]
FLOWCHART_KINDS = ("data", "text", "picture", "database", "chart", "function", "process", "model")
CANVAS = shapely.box(0, 0, 1000, 600)


def read(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((FOLDER / name).read_text(encoding="utf-8"), newline="")))


SFT, ORPO = map(read, FILES)
ROWS = SFT + ORPO


def family(row: dict[str, str]) -> str:
    return json.loads(row["dest_shape_info"])["task_name"]


def request_of(row: dict[str, str]) -> str:
    return row["input_data"].removesuffix(INSTRUCTION).strip()


def shapes_of(row: dict[str, str]) -> list[list]:
    """The lines of the answer, read without this project's parser."""
    return shapes_in(row["output_data"])


@cache
def shapes_in(text: str) -> list[list]:
    return [ast.literal_eval(line) for line in text.split("\n")]


@cache
def outlines_in(text: str) -> np.ndarray:
    return np.array([outline(shape) for shape in shapes_in(text)])


def look(shape: list) -> tuple:
    return shape[3], shape[4], shape[5], shape[6], shape[7], shape[8]


def edges_of(row: dict[str, str]) -> list[tuple[int, int]]:
    return [(shape[0], target) for shape in shapes_of(row) for target in shape[9]]


def outline(shape: list) -> shapely.Polygon:
    """The area of a shape. For a circle it is a polygon that encloses the whole circle."""
    _, x, y, form, width, height, *_ = shape
    if form == "circle":
        corners = 4 * 16
        around = 0.5 / np.cos(np.pi / corners)
        return affinity.scale(shapely.Point(x, y).buffer(1, quad_segs=16), width * around, height * around)
    return shapely.box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)


HOUSE_LOOKS = {
    (look.shape, look.width, look.height, look.line, look.fill, look.outline): kind
    for kind, look in HOUSE_STYLE.items()
}


@pytest.fixture(scope="module", params=["the project", "another folder"])
def made(request, tmp_path_factory):
    """Generate the CSVs in another process with another hash seed; return their folder and the seconds it took."""
    output = tmp_path_factory.mktemp("made")
    elsewhere = request.param == "another folder"
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, FOLDER / "create_dataset.py" if elsewhere else "create_dataset/create_dataset.py"]
        + ["--output", output],
        cwd=tmp_path_factory.mktemp("elsewhere") if elsewhere else ROOT,
        env=os.environ | {"PYTHONHASHSEED": "1" if elsewhere else "2"},
        check=True,
        capture_output=True,
        timeout=60,
    )
    return output, time.perf_counter() - start


def test_the_program_writes_the_committed_files_byte_for_byte(made):
    for name in FILES:
        assert (made[0] / name).read_bytes() == (FOLDER / name).read_bytes()


def test_a_csv_with_other_rows_is_never_overwritten(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["create_dataset.py", "--output", str(tmp_path)])
    path = tmp_path / FILES[1]
    path.write_text("my own rows")
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2 and f"{path} has other rows" in capsys.readouterr().err
    assert path.read_text() == "my own rows" and list(tmp_path.iterdir()) == [path]


def test_generating_both_files_takes_less_than_15_seconds(made):
    assert made[1] < 15  # it takes 2 to 3 seconds on an idle machine


@pytest.mark.parametrize(("rows", "networks", "flowcharts"), [(SFT, 280, 420), (ORPO, 80, 120)], ids=["sft", "orpo"])
def test_each_family_has_its_share_of_rows(rows, networks, flowcharts):
    assert Counter(map(family, rows)) == {"dl_model": networks, "flowchart": flowcharts}


def test_each_file_has_the_expected_columns():
    assert list(SFT[0]) == COLUMNS
    assert list(ORPO[0]) == [*COLUMNS, "score"]


def test_every_committed_score_is_one():
    assert {row["score"] for row in ORPO} == {"1.0"}


def test_all_prompts_of_both_files_are_different():
    prompts = [" ".join(row["input_data"].lower().split()) for row in ROWS]
    assert len(prompts) == 900 and len(set(prompts)) == 900


def test_every_prompt_is_a_request_followed_by_the_instruction():
    assert all(row["input_data"].endswith(f"\n\n{INSTRUCTION}") and len(request_of(row)) > 10 for row in ROWS)


def test_dest_shape_info_holds_the_edges_of_the_diagram():
    for row in ROWS:
        edges = json.loads(row["dest_shape_info"])["edges"]
        assert sorted(map(tuple, edges)) == sorted(edges_of(row)) == sorted(parse(row["output_data"]).edges)


def test_every_reference_parses_without_problems_and_formats_to_the_same_text():
    for row in ROWS:
        diagram = parse(row["output_data"])
        assert diagram.nodes and not diagram.problems
        assert format(diagram) == row["output_data"]


def test_every_shape_is_inside_the_canvas():
    assert all(shapely.covers(CANVAS, outlines_in(row["output_data"])).all() for row in ROWS)


def test_no_two_shapes_overlap_or_touch():
    for row in ROWS:
        outlines = outlines_in(row["output_data"])
        assert shapely.intersects(outlines[:, None], outlines[None, :]).sum() == len(outlines), row["input_data"]


def test_no_connection_runs_through_a_third_shape():
    for row in ROWS:
        shapes = shapes_of(row)
        edges = np.array(edges_of(row))
        outlines = outlines_in(row["output_data"])
        centres = np.array([shape[1:3] for shape in shapes], dtype=float)
        meets = shapely.intersects(shapely.linestrings(centres[edges])[:, None], outlines[None, :])
        meets[np.arange(len(edges)), edges[:, 0]] = False
        meets[np.arange(len(edges)), edges[:, 1]] = False
        assert not meets.any(), row["input_data"]


def test_every_connection_runs_from_left_to_right():
    for row in ROWS:
        shapes = shapes_of(row)
        assert all(shapes[start][1] < shapes[end][1] for start, end in edges_of(row)), row["input_data"]


def test_every_diagram_starts_at_the_left_margin_and_centres_each_column():
    for row in ROWS:
        columns = defaultdict(list)
        for _, x, y, *_ in shapes_of(row):
            columns[x].append(y)
        assert min(columns) == 80
        assert all(min(ys) + max(ys) == 2 * 300 for ys in columns.values())


def test_every_shape_is_connected():
    for row in ROWS:
        assert {number for edge in edges_of(row) for number in edge} == {shape[0] for shape in shapes_of(row)}


def test_every_shape_has_a_look_of_the_house_style_and_no_two_kinds_look_alike():
    assert len(HOUSE_LOOKS) == len(HOUSE_STYLE)
    for row in ROWS:
        kinds = {HOUSE_LOOKS[look(shape)] for shape in shapes_of(row)}
        assert (family(row) == "flowchart") == kinds.issubset(FLOWCHART_KINDS)


def test_the_noun_in_a_request_decides_the_look_of_its_shape():
    kind_of = {noun: kind for kind, nouns in NOUNS.items() for noun in nouns}
    seen = Counter()
    for row in ROWS:
        names = re.findall(r"^(?:[A-O]: |\d+\. |- )([a-z-]+ [a-z]+)(?= \(|$)", request_of(row), re.MULTILINE)
        if family(row) != "flowchart" or not names:
            continue
        wanted = [kind_of[name.split()[1]] for name in names]
        assert wanted == [HOUSE_LOOKS[look(shape)] for shape in shapes_of(row)], row["input_data"]
        seen.update(wanted)
    assert set(seen) == set(FLOWCHART_KINDS)


def test_the_arrows_in_a_request_are_the_connections_of_its_diagram():
    checked = 0
    for row in ROWS:
        arrows = request_of(row).rsplit("\n", 1)[-1]
        if not re.fullmatch(r"[A-O](?: -> | to )[A-O].*", arrows):
            continue
        edges, source = set(), ""
        for start, letter in re.findall(r"(?:([A-O])(?: -> | to ))|([A-O])", arrows):
            source = start or source
            if letter:
                edges.add((ord(source) - ord("A"), ord(letter) - ord("A")))
        assert edges == set(edges_of(row)), row["input_data"]
        checked += 1
    assert checked > 20


def test_flowcharts_have_four_to_fifteen_shapes():
    sizes = {len(shapes_of(row)) for row in ROWS if family(row) == "flowchart"}
    assert min(sizes) == 4 and max(sizes) == 15


@pytest.mark.parametrize("rows", [SFT, ORPO], ids=["sft", "orpo"])
def test_flowcharts_include_chains_branches_joins_and_several_sources_and_results(rows):
    found = Counter()
    for row in rows:
        if family(row) != "flowchart":
            continue
        edges = edges_of(row)
        starts, ends = Counter(start for start, _ in edges), Counter(end for _, end in edges)
        found["chain"] += max(starts.values()) == 1 == max(ends.values())
        found["branch"] += max(starts.values()) > 1
        found["join"] += max(ends.values()) > 1
        found["several sources"] += len(starts.keys() - ends.keys()) > 1
        found["several results"] += len(ends.keys() - starts.keys()) > 1
    assert min(found.values()) >= 10 and len(found) == 5, found


@pytest.mark.parametrize("rows", [SFT, ORPO], ids=["sft", "orpo"])
def test_all_kinds_of_the_house_style_occur(rows):
    assert {HOUSE_LOOKS[look(shape)] for row in rows for shape in shapes_of(row)} == set(HOUSE_STYLE)


def test_numbers_are_written_as_digits_and_as_words():
    styles = defaultdict(int)
    words = re.compile(rf"\b({'|'.join(NUMBER_WORDS)})\b")
    for request in (request_of(row) for row in SFT if family(row) == "dl_model"):
        styles["digits"] += bool(re.search(r"\b\d+\b", request))
        styles["words"] += bool(words.search(request))
    assert min(styles.values()) >= 60 and len(styles) == 2, styles


def test_requests_are_worded_in_many_ways():
    def opening(row):
        return " ".join(request_of(row).split()[:3])

    assert len(set(map(opening, SFT))) >= 60
    assert max(Counter(map(opening, SFT)).values()) <= len(SFT) // 5


def test_every_row_fits_in_1536_tokens_of_the_real_tokenizer():
    if not TOKENIZER.is_dir():
        pytest.skip(f"real tokenizer not found: {TOKENIZER}")
    from transformers import AutoTokenizer

    from fine_tuning.data.tokens import encode_completion, encode_prompt

    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    lengths = [
        len(encode_prompt(tokenizer, row["input_data"])) + len(encode_completion(tokenizer, row["output_data"]))
        for row in ROWS
    ]
    assert max(lengths) <= 1536
