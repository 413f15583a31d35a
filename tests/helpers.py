"""Helpers and constants that several tests share."""

import csv
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fine_tuning.run.command_line import make_parser, to_options
from fine_tuning.run.errors import UserError
from fine_tuning.run.files import sha256
from fine_tuning.run.run_state import RunState

ROOT = Path(__file__).resolve().parent.parent
STEPS = ("sft_fine_tuning", "orpo_create_dataset", "orpo_fine_tuning")
STEP_1, STEP_2, STEP_3 = (f"fine_tuning/{step}.py" for step in STEPS)
DIAGRAM = "\"[0, 100, 300, 'circle', 80, 80, 'solid arrow', (255, 228, 196), (0, 0, 0), []]\""
EMBEDDED_RUN = ("--model", "embedded", "--workspace")
SFT_CSV = ROOT / "create_dataset" / "sft_dataset_llm.csv"
ORPO_CSV = ROOT / "create_dataset" / "orpo_dataset_llm.csv"
SFT_HEADER, ORPO_HEADER = "input_data,output_data\n", "input_data,output_data,score\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model has answered, without a model."""

    text: str
    ended: bool = True


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file, by column."""
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def cpu_seconds() -> float:
    """The processor time of this process and of its ended children. Other tests, which run beside it, do not count."""
    return sum(os.times()[:4])


NODE = "[{}, {}, 300, 'rectangle', 90, 50, 'solid arrow', (240, 240, 240), (99, 99, 99), [{}]]"


def small_workspace(folder: Path, prompts: int = 4) -> Path:
    """Write CSVs with a few short rows and none of the optional columns. Returns the folder."""
    (folder / "create_dataset").mkdir(parents=True)
    for name, columns, score in (
        ("sft", "input_data,output_data", ""),
        ("orpo", "input_data,output_data,score", ",1.0"),
    ):
        lines = [columns]
        for k in range(prompts):
            answer = "\n".join([NODE.format(0, 100 + 10 * k, "1"), NODE.format(1, 300 + 10 * k, "")])
            lines.append(f'"{name}: two boxes, {k}","{answer}"{score}')
        text = "\n".join(lines)  # no newline at the end, as many editors leave a file
        (folder / "create_dataset" / f"{name}_dataset_llm.csv").write_text(text, encoding="utf-8")
    return folder


def contents(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def problems_of(function: Callable[..., Any], *arguments: Any, **named: Any) -> tuple[str, ...]:
    """The problems of the UserError that a call must raise."""
    with pytest.raises(UserError) as raised:
        function(*arguments, **named)
    return raised.value.problems


def finish_step_1(workspace: Path, model: str = "embedded", finished: bool = True) -> None:
    """Write what a finished or an unfinished step 1 leaves in a workspace, with a fake adapter."""
    state = RunState(workspace / "models" / "sft")
    options = to_options(make_parser("").parse_args(["--model", "embedded", "--workspace", str(workspace)]))
    csv_path = workspace / "create_dataset" / "sft_dataset_llm.csv"
    data = {"data sha256": sha256(csv_path)} if csv_path.exists() else {}
    settings = options.settings() | {"model": model} | data
    state.begin(settings, restart=False)
    (state.folder / "adapter_model.safetensors").write_bytes(b"not read before torch is imported")
    if finished:
        state.finish(settings, {"final average training loss": 0.1})
