"""The crash-safe store: whole batches survive a crash at any byte, and going on ends in the same file."""

import csv
import io
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tuning.run.errors import UserError
from fine_tuning.run.sample_store import (
    append,
    begin,
    drop_samples,
    read_state,
    record_ends,
    recover,
    reference_size,
    state_path,
)

COLUMNS = ["input_data", "output_data", "score"]
REFERENCES = (
    "input_data,output_data,score\n"
    '"Draw ""this"",\nplease.","[0, 1]\n[1, 2]",1.0\n'
    "fünf → sechs,plain,1.0\n"
    '"third","x",1.0\n'
).encode()
SETTINGS = {"model": "embedded", "seed": 2025}


def ends_of(content: bytes) -> list[int]:
    return record_ends(io.BytesIO(content))


def reference_bytes(path) -> bytes:
    return path.read_bytes()[: reference_size(path, read_state(path))]


def sample(prompt: str, answer: str, score: str = "0.5") -> dict[str, str]:
    return dict(zip(COLUMNS, (prompt, answer, score), strict=True))


BATCHES = [
    [sample("fünf → sechs", '[0, "a"]\n[1, b'), sample("third", 'quote " newline \n\n comma ,', "1")],
    [sample("third", "")],
    [sample("third", "carriage\rreturn"), sample("p", '""\n"'), sample("p", "plain", "0")],
]
SIZES = [len(batch) for batch in BATCHES]


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A CSV with references only; the disk need not really be waited for."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    path = tmp_path / "orpo_dataset_llm.csv"
    path.write_bytes(REFERENCES)
    return path


def run_to_the_end(path, done: int = 0) -> bytes:
    for batch in BATCHES[done:]:
        append(path, COLUMNS, batch)
    return path.read_bytes()


def rows_of(content: bytes) -> list[list[str]]:
    return [row for row in csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")) if row]


def test_a_csv_without_samples_has_no_state(path):
    assert read_state(path) is None


def test_the_plan_is_on_disk_before_the_first_sample(path):
    state = begin(path, SETTINGS, SIZES)
    assert read_state(path) == state
    assert (state.settings, state.batch_sizes, state.reference_rows) == (SETTINGS, tuple(SIZES), 3)
    assert path.read_bytes() == REFERENCES


def test_appended_samples_are_read_back_as_they_were_written(path):
    begin(path, SETTINGS, SIZES)
    content = run_to_the_end(path)
    assert content.startswith(REFERENCES)
    assert rows_of(content)[4:] == [list(row.values()) for batch in BATCHES for row in batch]


@pytest.mark.parametrize("done", range(len(BATCHES) + 1))
def test_whole_batches_survive_a_restart(path, done):
    state = begin(path, SETTINGS, SIZES)
    for batch in BATCHES[:done]:
        append(path, COLUMNS, batch)
    before = path.read_bytes()
    assert recover(path, state) == (done, 0)
    assert path.read_bytes() == before


def test_a_crash_at_any_byte_leaves_the_whole_batches_and_going_on_ends_in_the_same_file(path):
    state = begin(path, SETTINGS, SIZES)
    whole = [len(REFERENCES)]
    for batch in BATCHES:
        append(path, COLUMNS, batch)
        whole.append(path.stat().st_size)
    uninterrupted = path.read_bytes()
    for length in range(len(REFERENCES), len(uninterrupted) + 1):
        path.write_bytes(uninterrupted[:length])
        done = sum(end <= length for end in whole) - 1
        assert recover(path, read_state(path)) == (done, length - whole[done])
        assert path.read_bytes() == uninterrupted[: whole[done]]
        assert reference_bytes(path) == REFERENCES
        assert run_to_the_end(path, done) == uninterrupted
    assert read_state(path) == state


def test_recovering_twice_is_recovering_once(path):
    state = begin(path, SETTINGS, SIZES)
    path.write_bytes(run_to_the_end(path)[:-3])
    assert recover(path, state)[1] > 0
    assert recover(path, state) == (2, 0)


def test_rows_behind_the_whole_plan_are_somebodys_and_never_cut_off(path):
    state = begin(path, SETTINGS, SIZES)
    run_to_the_end(path)
    append(path, COLUMNS, BATCHES[1])
    content = path.read_bytes()
    for undo in (lambda: recover(path, state), lambda: drop_samples(path)):
        with pytest.raises(UserError, match=rf"would be lost \(rows: {len(BATCHES[1])}\)"):
            undo()
    assert path.read_bytes() == content
    assert read_state(path) == state


@pytest.mark.parametrize("ending", [b"", b"\n\n", b"\r\n", b"\n\n\r\n\n"], ids=["none", "blank", "windows", "several"])
def test_however_the_csv_ends_samples_follow_on_a_line_of_their_own(path, ending):
    path.write_bytes(REFERENCES.removesuffix(b"\n") + ending)
    state = begin(path, SETTINGS, SIZES)
    assert state.reference_rows == 3
    references = path.read_bytes()
    assert recover(path, state) == (0, 0)
    content = run_to_the_end(path)
    assert len(rows_of(content)) == 1 + 3 + sum(SIZES)
    assert recover(path, state) == (len(BATCHES), 0)
    assert reference_bytes(path) == references


def test_a_single_quote_character_in_an_unquoted_cell_is_no_quoting(path):
    path.write_bytes(b'input_data,output_data,score\na 5" box,x,1.0\nb,y,1.0\n')
    state = begin(path, SETTINGS, SIZES)
    run_to_the_end(path)
    assert state.reference_rows == 2
    assert recover(path, state) == (len(BATCHES), 0)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.replace(b"plain", b"other", 1),
        lambda content: content[len(REFERENCES) :],
        lambda content: content[: len(REFERENCES) - 1],
        lambda content: content[:10],
        lambda content: b"",
    ],
    ids=["a cell", "references gone", "one byte less", "header torn", "empty"],
)
def test_references_that_changed_are_refused_and_the_file_is_left_as_it_is(path, change):
    state = begin(path, SETTINGS, SIZES)
    changed = change(run_to_the_end(path))
    path.write_bytes(changed)
    with pytest.raises(UserError, match="first 3 rows are not those"):
        recover(path, state)
    with pytest.raises(UserError, match="first 3 rows are not those"):
        drop_samples(path)
    assert path.read_bytes() == changed


def test_the_references_of_a_shortened_file_are_all_of_it(path):
    begin(path, SETTINGS, SIZES)
    shortened = b"input_data,output_data,score\na,x,1.0\n"
    path.write_bytes(shortened)
    assert reference_bytes(path) == shortened


def test_dropping_the_samples_gives_back_the_csv_that_sampling_began_with(path):
    begin(path, SETTINGS, SIZES)
    run_to_the_end(path)
    drop_samples(path)
    assert path.read_bytes() == REFERENCES
    assert list(path.parent.iterdir()) == [path]


def test_dropping_is_fine_where_nothing_was_sampled(path):
    drop_samples(path)
    assert path.read_bytes() == REFERENCES


def test_reference_bytes_are_the_whole_file_until_sampling_begins_and_the_same_after(path):
    assert reference_bytes(path) == REFERENCES
    begin(path, SETTINGS, SIZES)
    run_to_the_end(path)
    assert reference_bytes(path) == REFERENCES


def test_the_state_lies_beside_the_csv_as_json_and_no_temporary_file_is_left(path):
    begin(path, SETTINGS, SIZES)
    assert state_path(path).name == "orpo_dataset_llm.sampling.json"
    assert json.loads(state_path(path).read_text())["settings"] == SETTINGS
    assert sorted(path.parent.iterdir()) == sorted([path, state_path(path)])


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12) | st.text(
    '",\r\n ab', max_size=12
)


@given(
    st.lists(st.lists(CELLS, min_size=2, max_size=3), max_size=6),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.booleans(),
)
def test_record_ends_are_where_the_csv_module_ends_records(rows, line_end, quoting, mark):
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator=line_end, quoting=quoting).writerows(rows)
    content = buffer.getvalue().encode("utf-8-sig" if mark else "utf-8")
    ends = ends_of(content)
    assert len(ends) == len(rows_of(content))
    assert not ends or ends[-1] == len(content)
    for number, end in enumerate(ends, start=1):
        assert rows_of(content[:end]) == rows_of(content)[:number]


@given(st.lists(st.lists(CELLS, min_size=2, max_size=3), min_size=1, max_size=5), st.data())
def test_a_torn_record_has_no_end(rows, data):
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(rows)
    content = buffer.getvalue().encode()
    length = data.draw(st.integers(0, len(content)))
    assert ends_of(content[:length]) == [end for end in ends_of(content) if end <= length]


@given(st.binary(max_size=60))
def test_any_bytes_have_record_ends_in_order_and_within_them(content):
    ends = ends_of(content)
    assert ends == sorted(set(ends))
    assert not ends or 0 < ends[-1] <= len(content)
