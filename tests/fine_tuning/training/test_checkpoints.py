"""Checkpoints count only if they are complete on disk."""

import os
import shutil
from pathlib import Path

import pytest

from fine_tuning.run import files
from fine_tuning.training import checkpoints
from fine_tuning.training.checkpoints import WHOLE, is_whole, last_whole_checkpoint, seal


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    folder = tmp_path / "checkpoint-30"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    (folder / "optimizer.pt").write_bytes(b"moments")
    return folder


def test_a_checkpoint_is_complete_only_once_it_is_sealed(checkpoint):
    assert not is_whole(checkpoint)
    seal(checkpoint)
    assert is_whole(checkpoint)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "optimizer.pt").write_bytes(b"momentS"),
        lambda folder: (folder / "optimizer.pt").write_bytes(b"mom"),
        lambda folder: (folder / "optimizer.pt").unlink(),
        lambda folder: (folder / "pytorch_model.bin").write_bytes(b"more"),
        lambda folder: (folder / WHOLE).write_bytes(b"{"),
        lambda folder: (folder / WHOLE).write_bytes(b"\xff"),
        lambda folder: (folder / WHOLE).unlink(),
    ],
    ids=["changed", "cut", "missing", "one more", "seal cut", "seal garbled", "no seal"],
)
def test_a_damaged_checkpoint_is_removed_and_the_one_before_is_used(checkpoint, capsys, damage):
    shutil.copytree(checkpoint, checkpoint.with_name("checkpoint-4"))
    (checkpoint.parent / "checkpoint-best").mkdir()
    for folder in (checkpoint, checkpoint.with_name("checkpoint-4")):
        seal(folder)
    assert last_whole_checkpoint(checkpoint.parent) == checkpoint
    damage(checkpoint)
    assert last_whole_checkpoint(checkpoint.parent) == checkpoint.with_name("checkpoint-4")
    assert capsys.readouterr().out == f"removing {checkpoint}: it is incomplete\n" and not checkpoint.exists()


def test_the_seal_is_written_after_everything_else_is_on_disk(checkpoint, monkeypatch):
    (checkpoint / "sub").mkdir()
    (checkpoint / "sub" / "weights").write_bytes(b"x")
    synced, at_seal = set(), set()
    real_sync, real_write = os.fsync, files.write_atomically

    def sync(descriptor):
        synced.add(os.readlink(f"/proc/self/fd/{descriptor}"))
        real_sync(descriptor)

    def write(path, content):
        at_seal.update(synced)
        real_write(path, content)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(checkpoints, "write_atomically", write)
    seal(checkpoint)
    assert {str(checkpoint), *map(str, checkpoint.rglob("*"))} - {str(checkpoint / WHOLE)} == at_seal
    assert str(checkpoint.parent) in synced
