"""The rows of the two committed CSVs, read without this project's parser."""

import ast
import csv
import io
import json
from functools import cache

from helpers import ROOT

from create_dataset.create_dataset import INSTRUCTION

FOLDER = ROOT / "create_dataset"
FILES = ("sft_dataset_llm.csv", "orpo_dataset_llm.csv")


def _read(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((FOLDER / name).read_text(encoding="utf-8"), newline="")))


SFT, ORPO = map(_read, FILES)
ROWS = SFT + ORPO


def family(row: dict[str, str]) -> str:
    return json.loads(row["dest_shape_info"])["task_name"]


FLOWCHARTS = [row for row in ROWS if family(row) == "flowchart"]
NETWORKS = [row for row in ROWS if family(row) == "dl_model"]


def request_of(row: dict[str, str]) -> str:
    return row["input_data"].removesuffix(INSTRUCTION).strip()


def shapes_of(row: dict[str, str]) -> list[list]:
    """The lines of the answer."""
    return shapes_in(row["output_data"])


@cache
def shapes_in(text: str) -> list[list]:
    return [ast.literal_eval(line) for line in text.split("\n")]


def labels_of(row: dict[str, str]) -> list[str]:
    return [shape[1] for shape in shapes_of(row)]


def is_by_neuron(row: dict[str, str]) -> bool:
    return labels_of(row)[0] == "x1"


def edges_of(row: dict[str, str]) -> list[tuple[int, int]]:
    return [(shape[0], target) for shape in shapes_of(row) for target in shape[10]]
