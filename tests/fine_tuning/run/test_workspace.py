"""The workspace: one folder, created when a run begins; a crash never leaves it incomplete."""

import json
import os
from pathlib import Path

import pytest

from fine_tuning.run import workspace as module
from fine_tuning.run.commands import PROJECT
from fine_tuning.run.files import write_atomically
from fine_tuning.run.sample_store import copy_references
from fine_tuning.run.workspace import ORPO_CSV, SFT_CSV, Workspace


def test_constructing_a_workspace_writes_nothing(tmp_path):
    workspace = Workspace(tmp_path / "demo")
    assert workspace.is_new
    assert workspace.file_to_read(workspace.sft_csv) == PROJECT / "create_dataset" / SFT_CSV
    assert list(tmp_path.iterdir()) == []


def test_a_new_workspace_starts_with_copies_of_the_committed_references(tmp_path):
    workspace = Workspace(tmp_path / "demo")
    workspace.prepare()
    for csv in (workspace.sft_csv, workspace.orpo_csv):
        committed = (PROJECT / "create_dataset" / csv.name).read_bytes()
        assert committed.startswith(csv.read_bytes()) and len(csv.read_bytes().splitlines()) > 200
        assert workspace.file_to_read(csv) == csv
    assert sorted(path.name for path in workspace.root.rglob("*")) == [
        ".lock", "create_dataset", "log", ORPO_CSV, SFT_CSV,
    ]  # fmt: skip


def test_a_workspace_with_its_own_data_keeps_it(tmp_path):
    workspace = Workspace(tmp_path)
    workspace.sft_csv.parent.mkdir()
    workspace.sft_csv.write_text("mine")
    workspace.prepare()
    assert workspace.sft_csv.read_text() == "mine"
    assert not workspace.orpo_csv.exists()


@pytest.mark.parametrize("writes", [0, 1])
def test_after_a_crash_while_copying_the_workspace_is_still_new(tmp_path, monkeypatch, writes):
    workspace = Workspace(tmp_path / "demo")
    copies_left = [copy_references] * writes

    def crash(source: Path, target: Path) -> None:
        if not copies_left:
            raise KeyboardInterrupt
        copies_left.pop()(source, target)

    monkeypatch.setattr(module, "copy_references", crash)
    with pytest.raises(KeyboardInterrupt):
        workspace.prepare()
    assert workspace.is_new
    monkeypatch.undo()
    workspace.prepare()
    assert workspace.sft_csv.is_file() and workspace.orpo_csv.is_file()


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_crash_while_writing_a_file_leaves_the_old_content(tmp_path, monkeypatch, step):
    path = tmp_path / "file"
    write_atomically(path, "old")

    def crash(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, step, crash)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, "new")
    assert path.read_text() == "old"


def test_a_written_file_holds_the_content_and_no_temporary_file_is_left(tmp_path):
    write_atomically(tmp_path / "file", "fünf\r\n")
    write_atomically(tmp_path / "file", b"\r\n\xff")
    assert (tmp_path / "file").read_bytes() == b"\r\n\xff"
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_a_file_name_that_is_not_valid_unicode_can_be_logged(tmp_path):
    write_atomically(tmp_path / "log.json", '{"model": "\udcff"}')
    assert json.loads((tmp_path / "log.json").read_text("utf-8")) == {"model": "\udcff"}
