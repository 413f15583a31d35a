"""Write a training's figures to a dashboard too: TensorBoard, Weights & Biases or Trackio.

Figures have the names of the JSON log. A run that continues goes on in the same curve, and no step is in it twice.
Everything is written in the log folder of the workspace. Nothing is sent anywhere unless the user has set up the
dashboard's library to do so.
"""

import contextlib
import importlib
import json
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from fine_tuning.run.errors import UserError, reason_of
from fine_tuning.run.files import make_folder
from fine_tuning.run.hub import unreachable
from fine_tuning.training.history import epochs_of, steps_of

PROJECT = "text-to-diagram"  # the project's name in Weights & Biases and Trackio
SECONDS_BETWEEN_FLUSHES = 10


@dataclass(frozen=True, slots=True)
class Training:
    """A training that is reported.

    step         `sft` or `orpo`
    log          the log folder of the workspace
    checkpoints  the folder of its checkpoints: a restart discards it, and with it the memory of what is reported
    settings     its settings, for the dashboards that show them
    """

    step: str
    log: Path
    checkpoints: Path
    settings: Mapping[str, Any]


class Dashboard(Protocol):
    """Where figures go. `is_new` is True if it holds nothing of this run yet."""

    is_new: bool

    def add(self, step: int, figures: Mapping[str, float]) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...


class DashboardCallback(TrainerCallback):
    """Writes a trainer's figures to a dashboard. If that fails later on, it prints a note and the training goes on."""

    def __init__(self, name: str, training: Training) -> None:
        self._name, self._training = name, training
        self._dashboard: Dashboard | None = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Open the dashboard. Raises UserError if that fails: nothing is trained yet."""
        if not state.is_world_process_zero:
            return
        try:
            self._dashboard = _DASHBOARDS[self._name](self._training, state.global_step)
        except Exception as error:
            raise UserError(
                f"--report-to {self._name}: {self._name} cannot be started ({reason_of(error)}). Mend that, or start "
                "without --report-to"
            ) from error
        if self._dashboard.is_new:  # the run may have begun without the flag
            rows = [*steps_of(state.log_history), *epochs_of(state.log_history)]
            self._add(sorted(rows, key=lambda row: row["step"] or 0))

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        last = state.log_history[-1]
        self._add(epochs_of(state.log_history)[-1:] if "eval_loss" in last else steps_of([last]))

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._call("flush")  # a run that continues from this checkpoint writes only what comes after it

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._call("close")
        self._dashboard = None

    def _add(self, rows: Sequence[Mapping[str, float | None]]) -> None:
        for row in rows:
            # The epoch is in the row of each step; in that of a validation it would be there twice.
            left_out = {"step", "epoch"} if "validation loss" in row else {"step"}
            figures = {name: value for name, value in row.items() if value is not None and name not in left_out}
            self._call("add", row["step"], figures)

    def _call(self, method: str, *arguments: Any) -> None:
        if self._dashboard is None:
            return
        try:
            getattr(self._dashboard, method)(*arguments)
        except Exception as error:
            self._dashboard = None
            what = f"--report-to {self._name}: no more figures are reported ({reason_of(error)})"
            tqdm.write(f"note: {what}. The training and its log go on", file=sys.stderr)


class TensorBoard:
    """Event files in `log/tensorboard/<step>`."""

    def __init__(self, training: Training, first_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = training.log / "tensorboard" / training.step
        files = list(folder.glob("events.out.tfevents.*"))
        if not first_step:
            for file in files:
                file.unlink()
        self.is_new = not (files and first_step)
        # A killed run may have written steps after its last checkpoint. Readers drop them.
        purge = {} if self.is_new else {"purge_step": first_step + 1}
        self._writer = SummaryWriter(str(folder), flush_secs=SECONDS_BETWEEN_FLUSHES, **purge)

    def add(self, step: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class _Remembering:
    """A dashboard that cannot take back a figure. A file beside the checkpoints has the run's id and its last step."""

    def __init__(self, training: Training, name: str) -> None:
        self._path = training.checkpoints / f"{name}.json"
        try:
            memory = json.loads(self._path.read_text("utf-8"))
            self.id, self._last, self.is_new = str(memory["id"]), int(memory["step"]), False
        except (OSError, ValueError, KeyError, TypeError):
            self.id, self._last, self.is_new = secrets.token_hex(4), -1, True
            make_folder(training.checkpoints)
        self._seen = self._last  # steps up to here are reported already

    def add(self, step: int, figures: Mapping[str, float]) -> None:
        if step <= self._seen:
            return
        self._log(figures, step)
        if step != self._last:
            self._last = step
            temporary = self._path.with_suffix(".tmp")
            temporary.write_text(json.dumps({"id": self.id, "step": step}), "utf-8")
            os.replace(temporary, self._path)

    def flush(self) -> None:
        return None

    def _log(self, figures: Mapping[str, float], step: int) -> None:
        raise NotImplementedError


class WeightsAndBiases(_Remembering):
    """A run of Weights & Biases, in `log/wandb`. Offline unless WANDB_MODE says otherwise or the user is logged in."""

    def __init__(self, training: Training, first_step: int) -> None:
        super().__init__(training, "wandb")
        mode = os.environ.get("WANDB_MODE") or ("online" if _is_logged_in_to_wandb() else "offline")
        if mode == "offline":
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        wandb = importlib.import_module("wandb")
        make_folder(training.log)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=f"{training.step}-{self.id}",
            id=self.id,
            resume="allow",
            mode=mode,
            dir=str(training.log),
            config=dict(training.settings),
            settings=wandb.Settings(silent=True, console="off", disable_git=True, disable_code=True),
        )

    def _log(self, figures: Mapping[str, float], step: int) -> None:
        self._run.log(dict(figures), step=step)

    def close(self) -> None:
        self._run.finish()


class Trackio(_Remembering):
    """A run of Trackio, in `log/trackio` unless TRACKIO_DIR names another folder."""

    def __init__(self, training: Training, first_step: int) -> None:
        super().__init__(training, "trackio")
        os.environ.setdefault("TRACKIO_DIR", str(training.log / "trackio"))
        trackio = importlib.import_module("trackio")
        with contextlib.redirect_stdout(sys.stderr):
            self._run = trackio.init(
                project=os.environ.get("TRACKIO_PROJECT", PROJECT),
                name=f"{training.step}-{self.id}",
                resume="allow",
                embed=False,
                config=dict(training.settings),
            )

    def _log(self, figures: Mapping[str, float], step: int) -> None:
        self._run.log(dict(figures), step=step)

    def close(self) -> None:
        with contextlib.redirect_stdout(sys.stderr):
            self._run.finish()


_DASHBOARDS: dict[str, Any] = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases, "trackio": Trackio}


def _is_logged_in_to_wandb() -> bool:
    """True if there is a key for Weights & Biases and its server answers within seconds."""
    server = os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai"
    has_key = bool(os.environ.get("WANDB_API_KEY"))
    if not has_key:
        try:
            has_key = netrc(os.environ.get("NETRC")).authenticators(urlsplit(server).hostname or "") is not None
        except (OSError, NetrcParseError):
            return False
    if has_key and (reason := unreachable(server)):
        print(f"note: --report-to wandb: {server} cannot be reached ({reason}), so the run is kept offline")
        return False
    return has_key
