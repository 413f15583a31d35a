"""The samples of step 2: whether they ended is in a column, and the figures come from it."""

import json

import pytest

from diagram import score_diagram
from fine_tuning.data.csv_rows import Row
from fine_tuning.sampling.generation import Answer
from fine_tuning.sampling.samples import sample_figures, sample_row

LINE = "[0, 100, 300, 'circle', 80, 80, 'solid arrow', (255, 228, 196), (0, 0, 0), []]"
INFO = json.dumps({"task_name": "flowchart"})


def reference(**fields: str) -> Row:
    fields = {"input_data": "p", "output_data": LINE, "score": "1.0", "dest_shape_info": INFO} | fields
    return Row("p", LINE, 1.0, "flowchart", fields)


@pytest.mark.parametrize("ended", [True, False])
def test_a_sample_says_in_its_column_whether_it_ended_and_nowhere_else(ended):
    columns = ["input_data", "output_data", "score", "dest_shape_info", "ended"]
    row = sample_row(reference(), Answer("[0", ended, 3), score_diagram, columns)
    assert row["ended"] == ("true" if ended else "false") and row["dest_shape_info"] == INFO
    assert row["output_data"] == "[0" and list(row) == columns


@pytest.mark.parametrize("ended", [True, False])
def test_sampling_of_an_earlier_version_goes_on_with_its_own_columns(ended):
    row = sample_row(reference(), Answer("[0", ended, 3), score_diagram, list(reference().fields))
    assert json.loads(row["dest_shape_info"]) == {"task_name": "flowchart", "ended": ended}
    assert list(row) == list(reference().fields)


def sample(fields: dict[str, str], ended: bool = True) -> Row:
    return Row("p", LINE, 0.5, "flowchart", fields, ended=ended)


def test_the_share_that_ended_is_counted_from_the_column():
    samples = [sample({"ended": "true"}), sample({"ended": "false"}, ended=False), sample({"ended": "true"})]
    assert sample_figures(samples, samples)["ended by itself"] == 0.6667


def test_the_share_that_ended_is_counted_in_older_workspaces_and_left_out_if_unknown():
    older = [sample({"dest_shape_info": json.dumps({"ended": ended})}) for ended in (True, False)]
    assert sample_figures(older, older)["ended by itself"] == 0.5
    unknown = [sample({})]
    assert "ended by itself" not in sample_figures(unknown, unknown)
