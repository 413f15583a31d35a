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
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

if not __package__:
    # Run as a script, this file's folder is first on the import path: `import create_dataset` finds this file, not the
    # package. Python treats a module with a __path__ as a package, so the imports below work.
    __path__ = [str(Path(__file__).parent)]

import networkx as nx

from create_dataset.flowchart_wording import flowchart_request
from create_dataset.graphs import flowchart, layer_network, neuron_network
from create_dataset.house_style import HOUSE_STYLE
from create_dataset.layout import FLOWCHART, LAYERS, NEURONS, Pitch, is_readable, place
from create_dataset.network_wording import cnn_request, dense_request, neuron_request
from diagram import format

INSTRUCTION = (
    "Answer with one line per shape: [number, x, y, 'shape', width, height, 'line', (R, G, B), (R, G, B), [numbers it "
    "points to]]. The canvas is 1000 x 600; x, y is the centre; shape is rectangle, round rectangle or circle; line is "
    "solid arrow, solid line or dashed line; the colours are background and line. Number the shapes from 0 in the "
    "order named."
)
SFT_FILE, ORPO_FILE = "sft_dataset_llm.csv", "orpo_dataset_llm.csv"
MAX_NEURONS = 16

Request = tuple[str, nx.DiGraph, Pitch]


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
    sft = _rows(rng, seen, neurons=110, dense=80, cnns=90, flowcharts=420)
    orpo = _rows(rng, seen, neurons=30, dense=24, cnns=26, flowcharts=120)
    return {SFT_FILE: _to_csv(sft), ORPO_FILE: _to_csv([row | {"score": "1.0"} for row in orpo])}


def _rows(rng: Random, seen: set[str], neurons: int, dense: int, cnns: int, flowcharts: int) -> list[dict[str, str]]:
    makers: list[tuple[str, Callable[[Random], Request]]] = (
        [("dl_model", _neurons)] * neurons
        + [("dl_model", _dense)] * dense
        + [("dl_model", _cnn)] * cnns
        + [("flowchart", _flowchart)] * flowcharts
    )
    rng.shuffle(makers)
    return [next(_readable_rows(rng, seen, family, make)) for family, make in makers]


def _readable_rows(
    rng: Random, seen: set[str], family: str, make: Callable[[Random], Request]
) -> Iterator[dict[str, str]]:
    """Yield rows whose request is new and whose diagram is readable."""
    while True:
        request, graph, pitch = make(rng)
        diagram = place(graph, HOUSE_STYLE, pitch)
        if request in seen or not is_readable(diagram):
            continue
        seen.add(request)
        yield {
            "input_data": f"{request}\n\n{INSTRUCTION}",
            "output_data": format(diagram),
            "dest_shape_info": json.dumps({"task_name": family, "edges": sorted(map(list, graph.edges))}),
        }


def _neurons(rng: Random) -> Request:
    while True:
        sizes = [rng.randint(1, 5), *(rng.randint(2, 6) for _ in range(rng.randint(1, 3))), rng.randint(1, 4)]
        if sum(sizes) <= MAX_NEURONS:
            return neuron_request(rng, sizes), neuron_network(sizes), NEURONS


def _dense(rng: Random) -> Request:
    kinds = ["input layer", *["hidden layer"] * rng.randint(1, 8), "output layer"]
    return dense_request(rng, kinds), layer_network(kinds), LAYERS


def _cnn(rng: Random) -> Request:
    while True:
        blocks = rng.randint(1, 4)
        if rng.random() < 0.5:
            convolutions = [rng.randint(1, 3)] * blocks
        else:
            convolutions = [rng.randint(1, 3) for _ in range(blocks)]
        body = [kind for n in convolutions for kind in ["convolution layer"] * n + ["pooling layer"]]
        kinds = ["input layer", *body, *["dense layer"] * rng.randint(0, 3), "output layer"]
        if len(kinds) <= 13:
            return cnn_request(rng, kinds), layer_network(kinds), LAYERS


def _flowchart(rng: Random) -> Request:
    graph = flowchart(rng, rng.choice(("chain", "branch", "join", "diamond", "mixed", "mixed")))
    return flowchart_request(rng, graph), graph, FLOWCHART


def _to_csv(rows: list[dict[str, str]]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
