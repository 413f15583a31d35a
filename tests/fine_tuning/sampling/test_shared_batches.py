"""Step 2's batches are shared out by their numbers, and a process that does not see the others' files says so."""

import os

import pytest

from fine_tuning.run import sample_store
from fine_tuning.run.errors import UserError
from fine_tuning.run.processes import Processes
from fine_tuning.run.sample_parts import fingerprint, part_path, part_paths, store
from fine_tuning.sampling import shared_batches
from fine_tuning.sampling.shared_batches import SharedBatches

COLUMNS = ["input_data", "output_data", "score", "ended"]
REFERENCES = b"input_data,output_data,score,ended\na,x,1.0,\n"
SETTINGS, PROMPTS = {"seed": 2025}, [["a", "a"], ["a"], ["a", "a"], ["a"]]
SIZES = [len(batch) for batch in PROMPTS]
BATCHES = [
    [dict(zip(COLUMNS, ("a", f"{k}\n{n}", "0.5", "true"), strict=True)) for n in range(SIZES[k])] for k in range(4)
]


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)
    path = tmp_path / "orpo_dataset_llm.csv"
    path.write_bytes(REFERENCES)
    return path


@pytest.fixture
def be(monkeypatch):
    """Make this process one of several that says nothing to the others; `others` is what process 0 says."""

    def be(rank: int, count: int, others=None) -> None:
        monkeypatch.setattr(shared_batches, "processes", lambda: Processes(rank, count, rank, count))
        monkeypatch.setattr(shared_batches, "broadcast", lambda value: others if rank else value)
        monkeypatch.setattr(shared_batches, "barrier", lambda: None)

    return be


def text_of(number: int) -> str:
    return sample_store.text_of(COLUMNS, BATCHES[number])


def test_one_process_appends_to_the_csv_what_others_have_stored_before_it(path):
    state, _ = sample_store.resume(path, SETTINGS, SIZES)
    for number in (1, 3):
        store(part_path(path, 5), fingerprint(state), number, text_of(number))
    batches = SharedBatches(path, SETTINGS, PROMPTS)
    assert (batches.left, batches.done, batches.reference_rows) == ([0, 2], 2, 1)
    expected = REFERENCES.decode()
    batches.add(0, BATCHES[0])
    assert path.read_text() == expected + text_of(0)
    batches.add(2, BATCHES[2])
    assert path.read_text() == expected + text_of(0) + text_of(1) + text_of(2)
    batches.finish()
    assert path.read_text() == expected + "".join(map(text_of, range(4)))
    assert not part_paths(path)


@pytest.mark.parametrize(("rank", "left"), [(0, [0, 3]), (1, [1]), (2, [2])])
def test_each_process_draws_its_share_of_what_is_left(path, be, rank, left):
    state, _ = sample_store.resume(path, SETTINGS, SIZES)
    be(rank, 3, (state, [0, 1, 2, 3]))
    assert SharedBatches(path, SETTINGS, PROMPTS).left == left


def test_a_process_keeps_its_batches_apart_and_leaves_the_csv_alone(path, be):
    state, _ = sample_store.resume(path, SETTINGS, SIZES)
    be(1, 2, (state, [0, 1, 2, 3]))
    batches = SharedBatches(path, SETTINGS, PROMPTS)
    batches.add(1, BATCHES[1])
    assert path.read_bytes() == REFERENCES
    assert part_paths(path) == [part_path(path, 1)]


@pytest.mark.parametrize("seen", ["nothing", "another run"])
def test_a_process_that_sees_other_files_than_the_main_one_is_stopped(path, be, seen):
    state, _ = sample_store.resume(path, SETTINGS, SIZES)
    sample_store.state_path(path).unlink()
    if seen == "another run":
        sample_store.begin(path, {"seed": 7}, SIZES)
    be(1, 2, (state, [0, 1, 2, 3]))
    with pytest.raises(UserError, match="sees other files than process 0. All machines need the same --workspace"):
        SharedBatches(path, SETTINGS, PROMPTS)


def test_batches_that_the_main_process_does_not_see_are_an_error_and_none_is_lost(path, be):
    be(0, 2)
    batches = SharedBatches(path, SETTINGS, PROMPTS)
    batches.add(0, BATCHES[0])
    with pytest.raises(UserError, match="3 batches were drawn and are not on this machine"):
        batches.finish()
    assert part_paths(path) == [part_path(path, 0)]
    again = SharedBatches(path, SETTINGS, PROMPTS)
    assert again.left == [1, 3] and path.read_text() == REFERENCES.decode() + text_of(0)


def test_a_row_that_the_user_has_added_while_several_processes_sample_is_never_taken_for_a_sample(path, be):
    be(0, 2)
    SharedBatches(path, SETTINGS, PROMPTS).add(0, BATCHES[0])
    content = path.read_bytes() + b"mine,x,1.0,\n"
    path.write_bytes(content)
    with pytest.raises(UserError, match="row 2 is not from step 2 and would be lost"):
        SharedBatches(path, SETTINGS, PROMPTS)
    assert path.read_bytes() == content and part_paths(path)
