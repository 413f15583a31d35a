"""Generate the two CSVs that training starts from. The default seed gives the committed files, byte for byte.

    python create_dataset/create_dataset.py [--seed 2025] [--output DIR]

sft_dataset_llm.csv    700 rows: 280 dl_model, 420 flowchart
orpo_dataset_llm.csv   200 rows:  80 dl_model, 120 flowchart, each with score 1.0
"""

import argparse
import csv
import io
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

if not __package__:
    # Run as a script, this file's folder is first on the import path: `import create_dataset` finds this file, not the
    # package. Python treats a module with a __path__ as a package, so the imports below work.
    __path__ = [str(Path(__file__).parent)]

import networkx as nx

from create_dataset.flowchart_wording import flowchart_request
from create_dataset.graphs import FORMS, flowchart, layer_network, neuron_network
from create_dataset.house_style import HOUSE_STYLE, Look
from create_dataset.layer_wording import LayerRequest, cnn_request, dense_request, sequence_request
from create_dataset.layout import (
    FLOW_DOWN,
    FLOW_RIGHT,
    LAYERS_DOWN,
    LAYERS_RIGHT,
    NEURONS,
    fits,
    is_readable,
    place,
)
from create_dataset.names import name_shapes
from create_dataset.neuron_wording import neuron_request
from diagram import Diagram, format

INSTRUCTION = (
    "Answer with one line per shape: [number, 'label', x, y, 'shape', width, height, 'line', (R, G, B), (R, G, B), "
    "[numbers it points to]]. The canvas is 1000 x 600; x, y is the centre; shape is rectangle, round rectangle or "
    "circle; line is solid arrow, solid line or dashed line; the colours are background and line. Number the shapes "
    "from 0 in the order named."
)
SFT_FILE, ORPO_FILE = "sft_dataset_llm.csv", "orpo_dataset_llm.csv"
MAX_NEURONS = 16
NETWORKS_DOWN = 0.25  # share of the networks drawn by layer that run from top to bottom
DIRECTION_ASKED = 0.4  # share of the flowcharts whose request names the direction
_SPACINGS = {"right": FLOW_RIGHT, "down": FLOW_DOWN}
MAX_TOKENS = 1500  # of a row, as `token_bound` counts them: steps 1 and 3 train on at most 1,536
_LAYERS_TURNED = {kind: look.turned() for kind, look in HOUSE_STYLE.items() if kind.endswith(" layer")}

Request = tuple[str, Diagram, "nx.DiGraph[int]"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=2025, help="another seed gives other rows (default: 2025)")
    parser.add_argument(
        "--output",
        type=lambda text: Path(os.path.expanduser(text)),
        default=Path(__file__).parent,
        help="folder to write to (default: this script's folder)",
    )
    args = parser.parse_args()
    contents = {args.output / name: text for name, text in make_datasets(args.seed).items()}
    try:
        kept = {
            path for path, text in contents.items() if path.exists() and path.read_bytes().startswith(text.encode())
        }
        for path in contents.keys() - kept:
            if path.exists() and not _is_empty(path.read_text("utf-8", errors="replace")):
                parser.error(f"{path} has other rows, which would be lost. Move the file or pass another --output")
        args.output.mkdir(parents=True, exist_ok=True)
        for path, text in contents.items():
            if path not in kept:
                path.write_bytes(text.encode())
            print(f"{path}: {len(list(csv.reader(io.StringIO(text)))) - 1} rows")
    except OSError as error:
        parser.error(f"--output {args.output}: {error.filename}: {error.strerror}")


def _is_empty(text: str) -> bool:
    """True if a CSV holds nothing, or only the header."""
    return not text.strip() or (text.startswith("input_data,") and len(text.splitlines()) == 1)


def make_datasets(seed: int) -> dict[str, str]:
    """Return both CSVs as text, keyed by file name."""
    rng = Random(seed)
    seen: set[str] = set()
    sft = _rows(rng, seen, neurons=90, dense=60, cnns=70, sequences=60, flowcharts=420)
    orpo = _rows(rng, seen, neurons=26, dense=18, cnns=20, sequences=16, flowcharts=120)
    return {SFT_FILE: _to_csv(sft), ORPO_FILE: _to_csv([row | {"score": "1.0"} for row in orpo])}


def _rows(
    rng: Random, seen: set[str], neurons: int, dense: int, cnns: int, sequences: int, flowcharts: int
) -> list[dict[str, str]]:
    makers: list[tuple[str, Callable[[Random], Request]]] = [
        *[("dl_model", _neurons)] * neurons,
        *[("dl_model", _dense)] * dense,
        *[("dl_model", _cnn)] * cnns,
        *[("dl_model", _sequence)] * sequences,
        *[("flowchart", _flowchart)] * flowcharts,
    ]
    rng.shuffle(makers)
    return [_readable_row(rng, seen, family, make) for family, make in makers]


def _readable_row(rng: Random, seen: set[str], family: str, make: Callable[[Random], Request]) -> dict[str, str]:
    """Make rows until the request of one is new, its diagram is readable and it is short enough.

    Its request is added to `seen`.
    """
    while True:
        request, diagram, graph = make(rng)
        prompt, text = f"{request}\n\n{INSTRUCTION}", format(diagram)
        if request not in seen and token_bound(prompt + text) <= MAX_TOKENS and is_readable(diagram):
            break
    seen.add(request)
    return {
        "input_data": prompt,
        "output_data": text,
        "dest_shape_info": json.dumps({"task_name": family, "edges": sorted(map(list, graph.edges))}),
    }


def token_bound(text: str) -> float:
    """About the most tokens that deepseek-coder's tokenizer makes of a text, without the tokenizer.

    Each digit and each group of punctuation counts 1.25 tokens, each word and each line break counts 1.
    """
    marks = sum(character.isdigit() for character in text) + len(re.findall(r"[^\w\s]+", text))
    return 1.25 * marks + len(re.findall(r"[^\W\d_]+", text)) + text.count("\n")


def _neurons(rng: Random) -> Request:
    while True:
        sizes = [rng.randint(1, 5), *(rng.randint(2, 6) for _ in range(rng.randint(1, 3))), rng.randint(1, 4)]
        if sum(sizes) <= MAX_NEURONS:
            graph = neuron_network(sizes)
            return neuron_request(rng, sizes), place(graph, HOUSE_STYLE, NEURONS), graph


def _dense(rng: Random) -> Request:
    down = rng.random() < NETWORKS_DOWN
    return _layers(dense_request(rng, rng.randint(1, 7), down), down)


def _cnn(rng: Random) -> Request:
    down = rng.random() < NETWORKS_DOWN
    while True:
        blocks = rng.randint(1, 4)
        even = rng.random() < 0.5
        convolutions = [rng.randint(1, 3)] * blocks if even else [rng.randint(1, 3) for _ in range(blocks)]
        dense = rng.randint(0, 3)
        if 2 + sum(convolutions) + blocks + dense <= (LAYERS_DOWN if down else LAYERS_RIGHT).along[-1][0]:
            return _layers(cnn_request(rng, convolutions, dense, down), down)


def _sequence(rng: Random) -> Request:
    down = rng.random() < NETWORKS_DOWN
    while True:
        asked_for = sequence_request(rng, down)
        if len(asked_for[1]) <= (LAYERS_DOWN if down else LAYERS_RIGHT).along[-1][0]:
            return _layers(asked_for, down)


def _layers(asked_for: LayerRequest, down: bool) -> Request:
    request, layers = asked_for
    graph = layer_network(layers)
    looks: Mapping[str, Look] = _LAYERS_TURNED if down else HOUSE_STYLE
    return request, place(graph, looks, LAYERS_DOWN if down else LAYERS_RIGHT, down), graph


def _flowchart(rng: Random) -> Request:
    """A flowchart runs to the right, unless the request asks for the other direction or only the other one fits."""
    while True:
        graph = flowchart(rng, rng.choice(FORMS))
        possible = [direction for direction, spacing in _SPACINGS.items() if fits(graph, spacing)]
        if possible:
            break
    named = rng.choice(possible) if rng.random() < DIRECTION_ASKED else None
    direction = named or possible[0]
    name_shapes(rng, graph)
    request, graph = flowchart_request(rng, graph, named)
    return request, place(graph, HOUSE_STYLE, _SPACINGS[direction], direction == "down"), graph


def _to_csv(rows: list[dict[str, str]]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
