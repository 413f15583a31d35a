"""The workspace: the one folder in which a run reads and writes everything."""

import contextlib
import os
import shlex
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fine_tuning.run.commands import PROJECT, path_from_here
from fine_tuning.run.errors import UserError
from fine_tuning.run.files import make_folder, sync_entries, write_atomically
from fine_tuning.run.lock import take_lock
from fine_tuning.run.processes import processes
from fine_tuning.run.sample_store import SamplingState, copy_references, read_state

SFT_CSV, ORPO_CSV = "sft_dataset_llm.csv", "orpo_dataset_llm.csv"


@dataclass(frozen=True, slots=True)
class Workspace:
    """The paths of a run. Creating one touches nothing on disk."""

    root: Path

    @property
    def sft_csv(self) -> Path:
        return self.root / "create_dataset" / SFT_CSV

    @property
    def orpo_csv(self) -> Path:
        return self.root / "create_dataset" / ORPO_CSV

    @property
    def sft_model(self) -> Path:
        return self.root / "models" / "sft"

    @property
    def orpo_model(self) -> Path:
        return self.root / "models" / "orpo"

    @property
    def log(self) -> Path:
        return self.root / "log"

    @property
    def remedy(self) -> str:
        """What to do if a CSV is missing."""
        if self.root == PROJECT:
            return f"To make it: {shlex.join(['python', path_from_here('create_dataset/create_dataset.py')])}"
        return f"Put your own there, or copy the committed one from {PROJECT / 'create_dataset'}"

    @property
    def is_new(self) -> bool:
        """True while the workspace has no CSVs; `prepare` copies the committed ones."""
        return not (self.root / "create_dataset").exists()

    def file_to_read(self, csv: Path) -> Path:
        """The file to read for one of the two CSVs: in a new workspace, the committed one."""
        return PROJECT / "create_dataset" / csv.name if self.is_new else csv

    def sampling_state(self) -> SamplingState | None:
        """How the samples in the ORPO CSV were drawn; None if there are none. Raises DamagedFile."""
        return None if self.is_new else read_state(self.orpo_csv)

    @property
    def nearest_folder(self) -> Path:
        """The workspace's root or, while it does not exist, the folder in which the first new one will be created."""
        folder = self.root
        while not folder.exists():
            folder = folder.parent
        return folder

    def check(self) -> None:
        """Raise UserError with every folder of the workspace that cannot be read and written."""
        problems = [
            f"{folder}: this folder cannot be read and written. Change its permissions, or choose another --workspace"
            for folder in (self.nearest_folder, *(folder for folder in self.folders() if folder.exists()))
            if not os.access(folder, os.R_OK | os.W_OK | os.X_OK)
        ]
        if problems:
            raise UserError(*problems)

    def claim(self) -> None:
        """Lock a workspace that has been used before. Raises UserError if another run has locked it.

        Of several processes, the main one holds the lock for all.
        """
        if processes().is_main and self._lock.exists():
            with contextlib.suppress(OSError):  # `check` reports it
                self._take_lock()

    def prepare(self) -> None:
        """Lock the workspace until this process ends, and create its folders. In a new one, also create its CSVs.

        Raises UserError if another process has locked it.
        """
        make_folder(self.root)
        self._take_lock()
        if self.is_new:
            self._create(lambda target: copy_references(self.file_to_read(target), target))
        make_folder(self.log)

    def fill(self, contents: Mapping[str, bytes]) -> None:
        """Lock the workspace and write its two CSVs, given by their names.

        In a new workspace both appear, or neither. Otherwise one after the other is replaced. Raises UserError if
        another process has locked it.
        """
        make_folder(self.root)
        self._take_lock()
        if self.is_new:
            self._create(lambda target: write_atomically(target, contents[target.name]))
        else:
            for csv in (self.sft_csv, self.orpo_csv):
                write_atomically(csv, contents[csv.name])

    def _create(self, write: Callable[[Path], None]) -> None:
        """Create the folder of the CSVs with both in it; `write` writes one of them."""
        folder = self.sft_csv.parent
        temporary = folder.with_name(f".{folder.name}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        for csv in (self.sft_csv, self.orpo_csv):
            write(temporary / csv.name)
        sync_entries(temporary)
        os.replace(temporary, folder)
        sync_entries(self.root)

    def folders(self) -> tuple[Path, ...]:
        """The folders of the workspace, the outer ones first."""
        return self.sft_csv.parent, self.sft_model.parent, self.sft_model, self.orpo_model, self.log

    @property
    def _lock(self) -> Path:
        return self.root / ".lock"

    def _take_lock(self) -> None:
        holder = take_lock(self._lock)
        if holder:
            raise UserError(
                f"{self.root}: {holder} is using this workspace. Wait until it has ended, or choose another --workspace"
            )


def broken_links(root: Path) -> list[str]:
    """What is wrong with a workspace that is, or contains, a link to something that does not exist.

    A link to a drive that is not plugged in must not be taken for a new workspace.
    """
    root = Path.cwd() / root
    own = Workspace(root)
    return [
        f"{path} is a link to {os.readlink(path)}, which does not exist. Connect that drive, or remove the link"
        for path in (*reversed(root.parents), root, *own.folders(), own.sft_csv, own.orpo_csv)
        if path.is_symlink() and not path.exists()
    ]
