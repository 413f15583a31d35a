"""What the trainings and the samplings of a run of benchmarks/pretrained_model.py came to, from their own records."""

from typing import Any

from benchmarks.pretrained_tables import ON_BEST, ORPO, ROUND_2, SFT
from benchmarks.rejection_sampling import NAME
from benchmarks.second_round import finished_adapter, round_figures, round_workspace
from fine_tuning.run.log import stored_result
from fine_tuning.run.options import Options
from fine_tuning.run.run_state import RunState
from fine_tuning.run.workspace import Workspace

TRAINED = {"training steps": "steps", "final average training loss": "training loss"}
PREFERRED = {f"chosen preferred {when}": f"chosen preferred {when}" for when in ("before", "after")}
VALIDATED = {"validation loss": "validation loss"}
SAMPLED = ("samples", "mean score", "flawless samples", "ended by itself")


def trainings(options: Options, good_samples: bool) -> dict[str, Any]:
    """The figures by their names in the tables. Without `good_samples`, nothing was trained on the best of them."""
    workspace = options.workspace
    wanted = {SFT: (workspace.sft_model, TRAINED | VALIDATED)}
    if good_samples:
        wanted[ON_BEST] = workspace.root / "models" / NAME, {"training rows": "different rows"} | TRAINED | VALIDATED
    wanted[ORPO] = workspace.orpo_model, TRAINED | VALIDATED | PREFERRED
    found = _sampled(workspace, SFT)
    if (second := finished_adapter(options)) is not None:
        wanted[ROUND_2] = second, TRAINED | VALIDATED | PREFERRED
        found |= _sampled(round_workspace(options), ORPO)
    found |= {f"{ROUND_2}: {name}": value for name, value in round_figures(options).items()}
    for model, (folder, figures) in wanted.items():
        run = RunState(folder).figures or {}
        found |= {f"{model}: {shown}": run[stored] for stored, shown in figures.items() if stored in run}
    return found


def _sampled(workspace: Workspace, model: str) -> dict[str, Any]:
    result = stored_result(workspace.log, "log_create_orpo_dataset") or {}
    return {f"samples of {model}: {name}": result[name] for name in SAMPLED if name in result}
