"""Where a run reads and writes: everything lies under one folder, the workspace."""

import os
from dataclasses import dataclass
from pathlib import Path

from fine_tuning.files import write_atomically
from fine_tuning.sample_store import reference_bytes

PROJECT = Path(__file__).resolve().parent.parent
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
        """What to do about a missing CSV."""
        if self.root == PROJECT:
            return "To make it: python create_dataset/create_dataset.py"
        return f"Put your own there, or copy the committed one from {PROJECT / 'create_dataset'}"

    @property
    def is_new(self) -> bool:
        """True while the workspace has no CSVs of its own: it will start with copies of the committed ones."""
        return not (self.root / "create_dataset").exists()

    def readable(self, csv: Path) -> Path:
        """The file to read for one of the two CSVs: in a new workspace the committed one."""
        return PROJECT / "create_dataset" / csv.name if self.is_new else csv

    def prepare(self) -> None:
        """Make the workspace's folders and, where it is new, its CSVs."""
        if self.is_new:
            contents = {csv: reference_bytes(self.readable(csv)) for csv in (self.sft_csv, self.orpo_csv)}
            folder = self.sft_csv.parent
            temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")  # both CSVs appear, or neither
            temporary.mkdir(parents=True, exist_ok=True)
            for csv, content in contents.items():
                write_atomically(temporary / csv.name, content)
            os.replace(temporary, folder)
        self.log.mkdir(parents=True, exist_ok=True)
