"""The state of step 2: the samples in the ORPO CSV and the result in its log."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fine_tuning.run import sample_parts, sample_store
from fine_tuning.run.errors import UserError
from fine_tuning.run.log import stored_result
from fine_tuning.run.run_state import changes
from fine_tuning.run.workspace import Workspace


class SampleRun:
    """The same for step 2 as RunState for the two trainings."""

    def __init__(self, workspace: Workspace, log_name: str) -> None:
        self.workspace, self.log_name = workspace, log_name

    @property
    def place(self) -> Path:
        """The CSV with the samples."""
        return self.workspace.file_to_read(self.workspace.orpo_csv)

    @property
    def figures(self) -> dict[str, Any] | None:
        """The figures of a finished run, if all samples are in the CSV and the result is in the log; else None."""
        stored = self.workspace.sampling_state()
        is_whole = stored is not None and sample_store.is_complete(self.place, stored)
        return stored_result(self.workspace.log, self.log_name) if is_whole else None

    @property
    def stored_settings(self) -> Mapping[str, Any]:
        """The settings with which the samples in the CSV were drawn; empty if there are none."""
        stored = self.workspace.sampling_state()
        return {} if stored is None else stored.settings

    def check(self, settings: Mapping[str, Any], remedy: str) -> None:
        """Raise UserError, ending with `remedy`, if the CSV holds samples drawn with other settings."""
        stored = self.workspace.sampling_state()
        if stored is None:
            return
        if differences := changes(stored.settings, settings):
            raise UserError(
                f"{self.place} holds samples that were drawn with other settings: {'; '.join(differences)}. {remedy}"
            )
        if self.figures is None:  # a finished run changes nothing, so it can lose no row and mix no scores
            sample_store.check_no_other_rows(self.place, stored)
            if "style fixed" not in stored.settings:
                raise UserError(f"{self.place} holds samples that an earlier version scored in another way. {remedy}")

    def begin(self, settings: Mapping[str, Any], restart: bool) -> None:
        """On `restart`, remove the samples of an earlier run. Raises UserError if other rows would be lost."""
        if restart:
            sample_parts.drop_parts(self.workspace.orpo_csv)
            sample_store.drop_samples(self.workspace.orpo_csv)

    def finish(self, settings: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
        """Do nothing: the samples and the log are already on disk."""
