"""Helpers and constants that several tests share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fine_tuning.run.errors import UserError
from fine_tuning.run.files import sha256
from fine_tuning.run.options import make_parser, to_options
from fine_tuning.run.run_state import RunState

ROOT = Path(__file__).resolve().parent.parent
STEPS = ("sft_fine_tuning", "orpo_create_dataset", "orpo_fine_tuning")
STEP_1, STEP_2, STEP_3 = (f"fine_tuning/{step}.py" for step in STEPS)
DIAGRAM = "\"[0, 100, 300, 'circle', 80, 80, 'solid arrow', (255, 228, 196), (0, 0, 0), []]\""
EMBEDDED_RUN = ("--model", "embedded", "--workspace")
SFT_HEADER, ORPO_HEADER = "input_data,output_data\n", "input_data,output_data,score\n"


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
