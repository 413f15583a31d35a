"""A power cut at any sync loses nothing that a run needs.

The file system here keeps only what fsync promises: the content of a file at its last sync, and the names in a folder
at the folder's last sync.
"""

import os
import stat
from pathlib import Path

import pytest

from fine_tuning.exporting.target import is_exported, new_export
from fine_tuning.run import csv_bytes, lock, sample_parts, sample_store
from fine_tuning.run.files import sync_entries
from fine_tuning.run.log import TrainingLog, stored_result
from fine_tuning.run.run_state import RunState
from fine_tuning.run.workspace import Workspace
from fine_tuning.training.checkpoints import last_whole_checkpoint, seal

COLUMNS = ["input_data", "output_data", "score"]
BATCHES = [[dict(zip(COLUMNS, (f"prompt {k}", "two\nlines", "0.5"), strict=True)) for _ in range(2)] for k in range(3)]
SETTINGS, FIGURES = {"seed": 2025}, {"loss": 0.5}


class PowerCut(BaseException):
    pass


class Disk:
    """What a power cut at sync number `cut` leaves of a folder."""

    def __init__(self, root: Path, cut: int) -> None:
        self.root, self.syncs_left = root, cut
        self.names: dict[int, dict[str, tuple[int, bool]]] = {}
        self.contents: dict[int, bytes] = {}
        self.top = root.stat().st_ino
        for path in (root, *root.rglob("*")):
            self._keep(path)

    def _keep(self, path: Path) -> None:
        state = path.stat()
        if stat.S_ISDIR(state.st_mode):
            self.names[state.st_ino] = {entry.name: (entry.inode(), entry.is_dir()) for entry in os.scandir(path)}
        else:
            self.contents[state.st_ino] = path.read_bytes()

    def sync(self, descriptor: int) -> None:
        if not self.syncs_left:
            raise PowerCut
        self.syncs_left -= 1
        self._keep(Path(os.readlink(f"/proc/self/fd/{descriptor}")))

    def restore(self, target: Path, inode: int | None = None) -> None:
        target.mkdir()
        for name, (child, is_folder) in self.names.get(inode or self.top, {}).items():
            if is_folder:
                self.restore(target / name, child)
            else:
                (target / name).write_bytes(self.contents.get(child, b""))


@pytest.fixture(autouse=True)
def _is_linux():
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("only Linux shows which file a descriptor belongs to")
    yield
    while lock._held:
        lock._held.popitem()[1].release()


def cut_at_every_sync(tmp_path, monkeypatch, work, check) -> int:
    """Do `work` with a cut at its first, second, ... sync. Each time, check what is left and do the work again.

    Returns the number of syncs.
    """
    for cut in range(1_000):
        folder = tmp_path / str(cut)
        folder.mkdir()
        disk = Disk(folder, cut)
        monkeypatch.setattr(os, "fsync", disk.sync)
        done: list[str] = []
        try:
            work(folder, done)
        except PowerCut:
            monkeypatch.setattr(os, "fsync", lambda _: None)
            again = tmp_path / f"{cut} again"
            disk.restore(again)
            check(again, done)
            work(again, [])
        else:
            return cut
    raise AssertionError("it never ended")


def test_written_samples_are_never_lost_and_references_never_change(tmp_path, monkeypatch):
    def work(folder: Path, done: list[str]) -> None:
        workspace = Workspace(folder / "demo")
        workspace.prepare()
        path = workspace.orpo_csv
        state = sample_store.read_state(path) or sample_store.begin(path, SETTINGS, [2, 2, 2])
        for batch in BATCHES[sample_store.recover(path, state)[0] :]:
            sample_store.append(path, COLUMNS, batch)
            done.append("batch")
        contents.add(path.read_bytes())

    def check(folder: Path, done: list[str]) -> None:
        path = Workspace(folder / "demo").orpo_csv
        if done:
            state = sample_store.read_state(path)
            assert state and sample_store.recover(path, state) == (len(done), 0)

    contents: set[bytes] = set()
    assert cut_at_every_sync(tmp_path, monkeypatch, work, check) > 10
    assert len(contents) == 1


def test_samples_that_several_processes_have_stored_are_never_lost(tmp_path, monkeypatch):
    def work(folder: Path, done: list[int]) -> None:
        workspace = Workspace(folder / "demo")
        workspace.prepare()
        path = workspace.orpo_csv
        state, complete = sample_store.resume(path, SETTINGS, [2, 2, 2])
        stored = sample_parts.stored_batches(path, state)
        columns = csv_bytes.columns_of(path)
        for number in (1, 0, 2):  # by processes 1 and 0
            if number >= complete and number not in stored:
                text = sample_store.text_of(columns, BATCHES[number])
                part = sample_parts.part_path(path, number % 2)
                sample_parts.store(part, sample_parts.fingerprint(state), number, text)
                done.append(number)
        stored = sample_parts.stored_batches(path, state)
        assert sample_parts.append_stored(path, state, stored, complete) == 3
        sample_parts.drop_parts(path)
        contents.add(path.read_bytes())

    def check(folder: Path, done: list[int]) -> None:
        path = Workspace(folder / "demo").orpo_csv
        if done:
            state = sample_store.read_state(path)
            assert state
            complete, _ = sample_store.recover(path, state)
            assert {*done} <= {*range(complete), *sample_parts.stored_batches(path, state)}

    contents: set[bytes] = set()
    assert cut_at_every_sync(tmp_path, monkeypatch, work, check) > 15
    assert len(contents) == 1


def test_a_csv_gets_the_column_ended_whole_or_not_at_all(tmp_path, monkeypatch):
    old = b"input_data,output_data,score\na,x,1.0\nb,x,1.0"  # the last line has no end
    new = b"input_data,output_data,score,ended\na,x,1.0,\nb,x,1.0,\n"

    def work(folder: Path, done: list[str]) -> None:
        path = folder / "orpo_dataset_llm.csv"
        if not path.exists():
            path.write_bytes(old)
            with open(path, "rb") as file:
                os.fsync(file.fileno())
            sync_entries(folder)
            done.append("begun")
        state, batches = sample_store.resume(path, SETTINGS, [2, 2, 2])
        for batch in BATCHES[batches:]:
            rows = [{**row, "ended": "true"} for row in batch]
            sample_store.append(path, [*COLUMNS, "ended"], rows)
            done.append("batch")
        contents.add(path.read_bytes())

    def check(folder: Path, done: list[str]) -> None:
        path = folder / "orpo_dataset_llm.csv"
        if done:
            assert path.read_bytes() in (old, old + b"\n") or path.read_bytes().startswith(new)
        if "batch" in done:
            assert sample_store.resume(path, SETTINGS, [2, 2, 2])[1] == done.count("batch")

    contents: set[bytes] = set()
    assert cut_at_every_sync(tmp_path, monkeypatch, work, check) > 6
    assert len(contents) == 1 and next(iter(contents)).startswith(new)


def test_a_sealed_checkpoint_is_never_lost_and_a_finished_run_has_adapter_and_log(tmp_path, monkeypatch):
    def work(folder: Path, done: list[str]) -> None:
        state = RunState(folder / "models" / "sft")
        state.begin(SETTINGS, restart=False)
        last = last_whole_checkpoint(state.checkpoints)
        for step in (10, 20):
            checkpoint = state.checkpoints / f"checkpoint-{step}"
            if not last or int(last.name[11:]) < step:
                checkpoint.mkdir(parents=True, exist_ok=True)
                for name in ("adapter_model.safetensors", "optimizer.pt"):
                    (checkpoint / name).write_bytes(f"{name} {step}".encode())
                seal(checkpoint)
                done.append(checkpoint.name)
        (state.folder / "adapter_model.safetensors").write_bytes(b"weights")
        log = TrainingLog(folder / "log", "log", "Title")
        log.finish(FIGURES)
        state.finish(SETTINGS, FIGURES)
        done.append("run")

    def check(folder: Path, done: list[str]) -> None:
        state = RunState(folder / "models" / "sft")
        if state.is_finished:
            assert (state.folder / "adapter_model.safetensors").read_bytes() == b"weights"
            assert stored_result(folder / "log", "log") == FIGURES
        elif done:
            last = last_whole_checkpoint(state.checkpoints)
            assert last and last.name >= done[-1]

    assert cut_at_every_sync(tmp_path, monkeypatch, work, check) > 20


def test_a_restart_keeps_or_discards_the_whole_old_run(tmp_path, monkeypatch):
    def work(folder: Path, done: list[str]) -> None:
        state = RunState(folder / "sft")
        state.begin({"seed": 1}, restart=False)
        (state.folder / "adapter_model.safetensors").write_bytes(b"weights")
        state.finish({"seed": 1}, FIGURES)
        done.append("old")
        state.begin({"seed": 2}, restart=True)

    def check(folder: Path, done: list[str]) -> None:
        state = RunState(folder / "sft")
        run = state.read()
        if done and run is not None and run["settings"] == {"seed": 1}:
            assert state.is_finished and (state.folder / "adapter_model.safetensors").read_bytes() == b"weights"
        elif done:
            assert not (state.folder / "adapter_model.safetensors").exists()

    cut_at_every_sync(tmp_path, monkeypatch, work, check)


def test_an_export_appears_as_a_whole_and_an_older_one_is_never_lost(tmp_path, monkeypatch):
    def work(folder: Path, done: list[str]) -> None:
        for number in ("1", "2"):
            with new_export(folder / "models" / "merged", {"adapter": number}) as new:
                (new / "model.safetensors").write_text(f"weights {number}")
            done.append(number)

    def check(folder: Path, done: list[str]) -> None:
        target = folder / "models" / "merged"
        found = [number for number in ("1", "2") if is_exported(target, {"adapter": number})]
        assert found or not target.exists()
        if done and not found:  # the cut fell between two renamings; the next export puts the older one back
            assert is_exported(target.with_name(".merged.replaced"), {"adapter": "1"})
        for number in found:
            assert (target / "model.safetensors").read_text() == f"weights {number}"

    assert cut_at_every_sync(tmp_path, monkeypatch, work, check) > 10
