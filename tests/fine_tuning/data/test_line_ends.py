"""Line ends inside cells. A checkout of a CSV on Windows may have \\r\\n everywhere; a model must not learn that."""

import csv
import io
from pathlib import Path

import pytest
from helpers import ROOT

from fine_tuning.data.csv_rows import read_rows
from fine_tuning.run import sample_store

COMMITTED = ROOT / "create_dataset" / "orpo_dataset_llm.csv"


def first_rows(path: Path, line_end: str) -> Path:
    """A CSV of the first committed references, whose prompts and answers have several lines, with other line ends."""
    rows = read_rows(COMMITTED, True, "")[:5]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, rows[0].fields, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(row.fields for row in rows)
    path.write_bytes(buffer.getvalue().replace("\n", line_end).encode())
    return path


@pytest.mark.parametrize("line_end", ["\r\n", "\r"], ids=["Windows", "old Macs"])
def test_line_ends_inside_cells_are_read_as_newlines(tmp_path, line_end):
    expected = read_rows(first_rows(tmp_path / "unix.csv", "\n"), True, "")
    found = read_rows(first_rows(tmp_path / "other.csv", line_end), True, "")
    assert found == expected and all("\n" in row.prompt and "\n" in row.answer for row in found)
    assert "\r" not in "".join(cell for row in found for cell in row.fields.values())


def test_samples_are_appended_to_such_a_file_and_its_references_stay_as_they_are(tmp_path):
    path = first_rows(tmp_path / "orpo.csv", "\r\n")
    before = path.read_bytes()
    references = read_rows(path, True, "", unique=True)
    state = sample_store.begin(path, {}, [5])
    sample_store.append(path, list(references[0].fields), [row.fields | {"score": "0.5"} for row in references])
    assert path.read_bytes().startswith(before)
    sample_store.check_references(path, state)
    assert sample_store.is_complete(path, state) and state.reference_rows == 5
    rows = read_rows(path, True, "")
    assert [(row.prompt, row.answer) for row in rows[5:]] == [(row.prompt, row.answer) for row in rows[:5]]
    assert sample_store.recover(path, state) == (1, 0)
    sample_store.drop_samples(path)
    assert path.read_bytes() == before
