"""The crash-safe store: complete batches survive a crash at any byte, and a continued run ends in the same file."""

import csv
import io
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tuning.run.csv_bytes import add_column, columns_of, record_ends
from fine_tuning.run.errors import UserError
from fine_tuning.run.sample_store import (
    append,
    begin,
    drop_samples,
    read_state,
    recover,
    reference_size,
    resume,
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
    """A CSV that holds only references. To save time, fsync does nothing."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    path = tmp_path / "orpo_dataset_llm.csv"
    path.write_bytes(REFERENCES)
    return path


def append_the_rest(path, done: int = 0) -> bytes:
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
    content = append_the_rest(path)
    assert content.startswith(REFERENCES)
    assert rows_of(content)[4:] == [list(row.values()) for batch in BATCHES for row in batch]


@pytest.mark.parametrize("done", range(len(BATCHES) + 1))
def test_complete_batches_survive_a_restart(path, done):
    state = begin(path, SETTINGS, SIZES)
    for batch in BATCHES[:done]:
        append(path, COLUMNS, batch)
    before = path.read_bytes()
    assert recover(path, state) == (done, 0)
    assert path.read_bytes() == before


def test_after_a_crash_at_any_byte_complete_batches_are_kept_and_the_run_ends_in_the_same_file(path):
    state = begin(path, SETTINGS, SIZES)
    batch_ends = [len(REFERENCES)]
    for batch in BATCHES:
        append(path, COLUMNS, batch)
        batch_ends.append(path.stat().st_size)
    uninterrupted = path.read_bytes()
    for length in range(len(REFERENCES), len(uninterrupted) + 1):
        path.write_bytes(uninterrupted[:length])
        done = sum(end <= length for end in batch_ends) - 1
        assert recover(path, read_state(path)) == (done, length - batch_ends[done])
        assert path.read_bytes() == uninterrupted[: batch_ends[done]]
        assert reference_bytes(path) == REFERENCES
        assert append_the_rest(path, done) == uninterrupted
    assert read_state(path) == state


def test_recovering_again_changes_nothing(path):
    state = begin(path, SETTINGS, SIZES)
    path.write_bytes(append_the_rest(path)[:-3])
    assert recover(path, state)[1] > 0
    assert recover(path, state) == (2, 0)


def test_rows_after_the_planned_samples_are_never_cut_off(path):
    state = begin(path, SETTINGS, SIZES)
    append_the_rest(path)
    append(path, COLUMNS, BATCHES[1])
    content = path.read_bytes()
    for undo in (lambda: recover(path, state), lambda: drop_samples(path)):
        with pytest.raises(UserError, match=rf"would be lost \(rows: {len(BATCHES[1])}\)"):
            undo()
    assert path.read_bytes() == content
    assert read_state(path) == state


@pytest.mark.parametrize("ending", [b"", b"\n\n", b"\r\n", b"\n\n\r\n\n"], ids=["none", "blank", "windows", "several"])
def test_samples_start_on_a_new_line_however_the_csv_ends(path, ending):
    path.write_bytes(REFERENCES.removesuffix(b"\n") + ending)
    state = begin(path, SETTINGS, SIZES)
    assert state.reference_rows == 3
    references = path.read_bytes()
    assert recover(path, state) == (0, 0)
    content = append_the_rest(path)
    assert len(rows_of(content)) == 1 + 3 + sum(SIZES)
    assert recover(path, state) == (len(BATCHES), 0)
    assert reference_bytes(path) == references


def test_a_quote_inside_an_unquoted_cell_is_plain_text(path):
    path.write_bytes(b'input_data,output_data,score\na 5" box,x,1.0\nb,y,1.0\n')
    state = begin(path, SETTINGS, SIZES)
    append_the_rest(path)
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
    ids=["a cell", "references missing", "one byte missing", "header cut off", "empty"],
)
def test_changed_references_are_refused_and_the_file_is_not_changed(path, change):
    state = begin(path, SETTINGS, SIZES)
    changed = change(append_the_rest(path))
    path.write_bytes(changed)
    with pytest.raises(UserError, match="first 3 rows have changed"):
        recover(path, state)
    with pytest.raises(UserError, match="first 3 rows have changed"):
        drop_samples(path)
    assert path.read_bytes() == changed


def test_a_file_with_missing_references_counts_as_references_only(path):
    begin(path, SETTINGS, SIZES)
    shortened = b"input_data,output_data,score\na,x,1.0\n"
    path.write_bytes(shortened)
    assert reference_bytes(path) == shortened


def test_dropping_the_samples_restores_the_csv_as_it_was_before_sampling(path):
    begin(path, SETTINGS, SIZES)
    append_the_rest(path)
    drop_samples(path)
    assert path.read_bytes() == REFERENCES
    assert list(path.parent.iterdir()) == [path]


def test_dropping_without_samples_changes_nothing(path):
    drop_samples(path)
    assert path.read_bytes() == REFERENCES


def test_the_references_are_the_whole_file_before_sampling_and_the_same_bytes_after(path):
    assert reference_bytes(path) == REFERENCES
    begin(path, SETTINGS, SIZES)
    append_the_rest(path)
    assert reference_bytes(path) == REFERENCES


def test_the_state_is_a_json_file_beside_the_csv_and_no_temporary_file_is_left(path):
    begin(path, SETTINGS, SIZES)
    assert state_path(path).name == "orpo_dataset_llm.sampling.json"
    assert json.loads(state_path(path).read_text())["settings"] == SETTINGS
    assert sorted(path.parent.iterdir()) == sorted([path, state_path(path)])


WITH_ENDED = (
    "input_data,output_data,score,ended\n"
    '"Draw ""this"",\nplease.","[0, 1]\n[1, 2]",1.0,\n'
    "fünf → sechs,plain,1.0,\n"
    '"third","x",1.0,\n'
).encode()


def test_before_the_first_sample_the_csv_gets_the_column_ended(path):
    state, done = resume(path, SETTINGS, SIZES)
    assert (path.read_bytes(), done, state.reference_rows) == (WITH_ENDED, 0, 3)
    assert columns_of(path) == [*COLUMNS, "ended"]
    assert resume(path, SETTINGS, SIZES) == (state, 0) and path.read_bytes() == WITH_ENDED


def test_a_csv_with_the_column_ended_stays_as_it_is(path):
    content = b"ended,input_data,output_data,score\ntrue,a,x,1.0\n,b,x,1.0\n"
    path.write_bytes(content)
    resume(path, SETTINGS, SIZES)
    assert path.read_bytes() == content


def test_sampling_that_began_without_the_column_goes_on_without_it(path):
    state = begin(path, SETTINGS, SIZES)
    append(path, COLUMNS, BATCHES[0])
    before = path.read_bytes()
    assert resume(path, SETTINGS, SIZES) == (state, 1)
    assert path.read_bytes() == before


def test_dropping_the_samples_keeps_the_column_and_sampling_begins_again(path):
    resume(path, SETTINGS, SIZES)
    append(path, [*COLUMNS, "ended"], [{**BATCHES[1][0], "ended": "false"}])
    drop_samples(path)
    assert path.read_bytes() == WITH_ENDED
    assert resume(path, SETTINGS, SIZES)[1] == 0 and path.read_bytes() == WITH_ENDED


def test_a_csv_keeps_its_permissions_when_it_gets_the_column(path):
    path.chmod(0o640)
    resume(path, SETTINGS, SIZES)
    assert path.stat().st_mode & 0o777 == 0o640


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12) | st.text(
    '",\r\n ab', max_size=12
)


@given(
    st.lists(st.lists(CELLS, min_size=2, max_size=3), max_size=6),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.booleans(),
)
def test_records_end_where_the_csv_module_ends_them(rows, line_end, quoting, mark):
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator=line_end, quoting=quoting).writerows(rows)
    content = buffer.getvalue().encode("utf-8-sig" if mark else "utf-8")
    ends = ends_of(content)
    assert len(ends) == len(rows_of(content))
    assert not ends or ends[-1] == len(content)
    for number, end in enumerate(ends, start=1):
        assert rows_of(content[:end]) == rows_of(content)[:number]


@given(
    st.lists(st.lists(CELLS, min_size=2, max_size=2), max_size=6),
    st.sampled_from(["\n", "\r\n", "\r", "\n\n", "\r\n\r\n"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.booleans(),
)
def test_an_added_column_is_empty_in_every_row_and_changes_nothing_else(
    tmp_path_factory, rows, line_end, quoting, mark
):
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator=line_end, quoting=quoting).writerows([["a", "b"], *rows])
    path = tmp_path_factory.mktemp("csv") / "rows.csv"
    path.write_bytes(buffer.getvalue().encode("utf-8-sig" if mark else "utf-8"))
    before = path.read_bytes()
    add_column(path, "ended")
    assert rows_of(path.read_bytes()) == [["a", "b", "ended"], *([*row, ""] for row in rows_of(before)[1:])]
    assert len(path.read_bytes()) == len(before) + len(",ended") + len(rows_of(before)) - 1
    assert path.read_bytes().startswith(before[:3])


@given(st.lists(st.lists(CELLS, min_size=2, max_size=3), min_size=1, max_size=5), st.data())
def test_an_incomplete_record_has_no_end(rows, data):
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(rows)
    content = buffer.getvalue().encode()
    length = data.draw(st.integers(0, len(content)))
    assert ends_of(content[:length]) == [end for end in ends_of(content) if end <= length]


@given(st.binary(max_size=60))
def test_record_ends_of_any_bytes_are_in_order_and_inside_the_file(content):
    ends = ends_of(content)
    assert ends == sorted(set(ends))
    assert not ends or 0 < ends[-1] <= len(content)
