"""The batches that several processes have stored end in the CSV of one process, whatever happens on the way."""

import json
import os

import pytest

from fine_tuning.run import sample_store
from fine_tuning.run.sample_parts import (
    append_stored,
    drop_parts,
    fingerprint,
    part_path,
    part_paths,
    store,
    stored_batches,
)
from fine_tuning.run.sample_run import SampleRun
from fine_tuning.run.sample_store import SamplingState, append, begin, text_of
from fine_tuning.run.workspace import Workspace

COLUMNS = ["input_data", "output_data", "score"]
REFERENCES = b'input_data,output_data,score\n"fi\xc3\xbcnf \xe2\x86\x92 sechs",plain,1.0\nthird,"x",1.0\n'
SETTINGS = {"model": "embedded", "seed": 2025}
CELLS = [
    [("third", '[0, "a"]\n[1, b'), ("third", 'quote " newline \n\n comma ,')],
    [("third", "")],
    [("third", "carriage\rreturn\u2028"), ("p", '""\n"')],
    [("third", "한글"), ("p", "\ufeffmark")],
]
BATCHES = [[dict(zip(COLUMNS, (*cells, "0.5"), strict=True)) for cells in batch] for batch in CELLS]
SIZES = [len(batch) for batch in BATCHES]


@pytest.fixture(autouse=True)
def _no_syncs(monkeypatch):
    """To save time, fsync does nothing."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "create_dataset" / "orpo_dataset_llm.csv"
    path.parent.mkdir()
    path.write_bytes(REFERENCES)
    return path


@pytest.fixture
def state(path) -> SamplingState:
    return begin(path, SETTINGS, SIZES)


@pytest.fixture
def whole(path, state) -> bytes:
    """The CSV that one process writes."""
    for batch in BATCHES:
        append(path, COLUMNS, batch)
    content = path.read_bytes()
    path.write_bytes(REFERENCES)
    return content


def put(path, state: SamplingState, process: int, *numbers: int) -> None:
    for number in numbers:
        store(part_path(path, process), fingerprint(state), number, text_of(COLUMNS, BATCHES[number]))


def finish(path, state: SamplingState) -> int:
    """What the main process does at the end. Returns how many batches the CSV has."""
    done, _ = sample_store.recover(path, state)
    return append_stored(path, state, stored_batches(path, state), done)


@pytest.mark.parametrize("shares", [[(0, 1, 2, 3)], [(0, 2), (1, 3)], [(0, 3), (1,), (2,)], [(3, 2), (1, 0)]])
def test_the_csv_is_that_of_one_process_however_the_batches_were_shared_out(path, state, whole, shares):
    for process, share in enumerate(shares):
        put(path, state, process, *share)
    assert path.read_bytes() == REFERENCES
    assert finish(path, state) == len(BATCHES)
    assert path.read_bytes() == whole


def test_the_stored_batches_are_found_in_the_files_of_any_number_of_processes(path, state):
    put(path, state, 0, 0, 2)
    put(path, state, 12, 3)
    assert sorted(stored_batches(path, state)) == [0, 2, 3]
    assert [file.name for file in part_paths(path)] == [
        "orpo_dataset_llm.samples-0.jsonl",
        "orpo_dataset_llm.samples-12.jsonl",
    ]


def test_after_a_crash_at_any_byte_of_a_file_complete_batches_are_kept(path, state, whole, capsys):
    part = part_path(path, 1)
    ends = [0]
    for number in (1, 3):
        put(path, state, 1, number)
        ends.append(part.stat().st_size)
    content = part.read_bytes()
    for length in range(len(content) + 1):
        part.write_bytes(content[:length])
        kept = sum(end <= length for end in ends) - 1
        assert sorted(stored_batches(path, state)) == [1, 3][:kept]
        assert (part.read_bytes() if part.exists() else b"") == content[: ends[kept]]
        assert bool(capsys.readouterr().out) == (length != ends[kept])
        put(path, state, 1, *[1, 3][kept:])
        assert part.read_bytes() == content


def test_after_a_crash_at_any_byte_of_the_csv_the_batches_are_appended_again(path, state, whole):
    put(path, state, 0, 0, 2)
    put(path, state, 1, 1, 3)
    for length in range(len(REFERENCES), len(whole) + 1):
        path.write_bytes(whole[:length])
        assert finish(path, state) == len(BATCHES)
        assert path.read_bytes() == whole


def test_the_batches_are_appended_up_to_one_that_is_missing(path, state, whole):
    put(path, state, 0, 0, 3)
    put(path, state, 1, 1)
    assert finish(path, state) == 2
    append(path, COLUMNS, BATCHES[2])
    assert finish(path, state) == 4
    assert path.read_bytes() == whole


def test_a_batch_that_was_stored_twice_is_appended_once(path, state, whole):
    put(path, state, 0, 0, 1, 2)
    put(path, state, 1, 1, 3, 3)
    assert finish(path, state) == 4
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "damage",
    [
        lambda line: b"\0" * len(line),
        lambda line: line.replace(b'"batch": 1', b'"batch": 4'),
        lambda line: line.replace(b'"batch": 1', b'"batch": -1'),
        lambda line: line.replace(b'"batch": 1', b'"batch": "1"'),
        lambda line: line.replace(b'"batch": 1', b'"batch": 2'),  # which has another number of rows
        lambda line: line.replace(b'"csv": "', b'"csv": "\\"'),
        lambda line: line.replace(b'"csv"', b'"rows"'),
        lambda line: b"[1]\n",
        lambda line: b"[" * 100_000 + b"\n",
        lambda line: b'{"run": 1, "batch": 1, "csv": 1}\n',
        lambda line: line[:-1],
    ],
)
def test_a_damaged_line_and_what_follows_it_is_cut_off_and_reported(path, state, capsys, damage):
    part = part_path(path, 0)
    put(path, state, 0, 0)
    kept = part.read_bytes()
    put(path, state, 0, 1)
    part.write_bytes(kept + damage(part.read_bytes()[len(kept) :]))
    more = part.stat().st_size - len(kept)
    assert list(stored_batches(path, state)) == [0]
    assert part.read_bytes() == kept
    assert capsys.readouterr().out == f"{part}: cut off {more} bytes that are no complete batch of this run\n"


@pytest.mark.parametrize("other", ["seed", "references", "plan"])
def test_batches_of_another_run_are_never_used(path, state, capsys, other):
    put(path, state, 0, 0, 1)
    if other == "references":
        path.write_bytes(REFERENCES.replace(b"plain", b"other"))
    settings = SETTINGS | {"seed": 7} if other == "seed" else SETTINGS
    now = begin(path, settings, [1, *SIZES[1:]] if other == "plan" else SIZES)
    assert stored_batches(path, now) == {}
    assert not part_paths(path) and "cut off" in capsys.readouterr().out


def test_a_file_that_changes_while_its_batches_are_appended_adds_nothing_else_to_the_csv(path, state):
    put(path, state, 0, 0, 1)
    places = stored_batches(path, state)
    part = part_path(path, 0)
    part.write_bytes(part.read_bytes().replace(b'"batch": 0', b'"batch": 3'))
    assert append_stored(path, state, places, 0) == 0
    assert path.read_bytes() == REFERENCES


def test_restart_deletes_the_files_of_all_processes_and_nothing_else(path, state):
    put(path, state, 0, 0)
    put(path, state, 7, 1)
    own = path.with_name("orpo_dataset_llm.samples-mine.jsonl")
    own.write_text("of the user")
    workspace = Workspace(path.parent.parent)
    SampleRun(workspace, "log").begin(SETTINGS, restart=False)
    assert len(part_paths(path)) == 2
    SampleRun(workspace, "log").begin(SETTINGS, restart=True)
    assert sorted(path.parent.iterdir()) == sorted([path, own])


def test_the_files_are_deleted_together(path, state):
    put(path, state, 0, 0)
    put(path, state, 1, 1)
    drop_parts(path)
    assert not part_paths(path)
    drop_parts(path)


def test_a_line_is_json_that_names_its_batch(path, state):
    put(path, state, 3, 2)
    (line,) = part_path(path, 3).read_text().splitlines()
    assert json.loads(line) == {"run": fingerprint(state), "batch": 2, "csv": text_of(COLUMNS, BATCHES[2])}


def test_a_full_disk_names_the_file(path, state):
    part = part_path(path, 0)
    part.symlink_to("/dev/full")
    with pytest.raises(OSError) as raised:
        put(path, state, 0, 0)
    assert raised.value.filename == str(part)
