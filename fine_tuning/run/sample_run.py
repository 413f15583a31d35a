"""The state of step 2: the samples in the ORPO CSV and the result in its log."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fine_tuning.run import sample_store
from fine_tuning.run.errors import UserError
from fine_tuning.run.log import stored_result
from fine_tuning.run.run_state import changes
from fine_tuning.run.workspace import Workspace


class SampleRun:
    """Answers for step 2 what RunState answers for the two trainings."""

    def __init__(self, workspace: Workspace, log_name: str) -> None:
        self.workspace, self.log_name = workspace, log_name

    @property
    def place(self) -> Path:
        """The CSV with the samples."""
        return self.workspace.readable(self.workspace.orpo_csv)

    @property
    def figures(self) -> dict[str, Any] | None:
        """The figures of a finished run: all samples are there, and so is the result in the log."""
        stored = self._stored()
        is_whole = stored is not None and sample_store.is_complete(self.place, stored)
        return stored_result(self.workspace.log, self.log_name) if is_whole else None

    def check(self, settings: Mapping[str, Any], remedy: str) -> None:
        """Raise UserError, which ends in `remedy`, if the CSV holds samples that other settings drew."""
        stored = self._stored()
        if stored is None:
            return
        if differences := changes(stored.settings, settings):
            raise UserError(
                f"{self.place} holds samples that were drawn with other settings: {'; '.join(differences)}. {remedy}"
            )
        if self.figures is None and "style fixed" not in stored.settings:
            raise UserError(f"{self.place} holds samples that an earlier version scored in another way. {remedy}")
        if self.figures is None:  # a finished run is left alone, so it endangers no row
            sample_store.check_own_rows(self.place, stored)

    def begin(self, settings: Mapping[str, Any], restart: bool) -> None:
        """Drop the samples of an earlier run on `restart`. Raises UserError if other rows would be lost."""
        if restart:
            sample_store.drop_samples(self.workspace.orpo_csv)

    def finish(self, settings: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
        """Nothing is left to do: the samples and the log are on disk."""

    def _stored(self) -> sample_store.SamplingState | None:
        return None if self.workspace.is_new else sample_store.read_state(self.place)
