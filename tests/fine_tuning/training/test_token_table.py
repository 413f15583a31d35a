"""Token ids lie on disk: what comes back, what is left behind, and how much memory it takes."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import contents, problems_of

from fine_tuning.run.errors import UserError
from fine_tuning.training.token_table import EXAMPLES_PER_BATCH, token_counts, write_tokens

PARTS = ("input_ids", "labels")


def example(number: int) -> dict[str, list[int]]:
    ids = [number, *range(number % 7)]
    return {"input_ids": ids, "labels": [-100, *ids[1:]]}


def encoded(count: int):
    return ((SimpleNamespace(prompt=f"prompt {number % 5}"), example(number)) for number in range(count))


@pytest.mark.parametrize("count", [1, 12, 2 * EXAMPLES_PER_BATCH + 3])
def test_examples_come_back_as_they_were_written_and_nothing_is_left_behind(tmp_path, count):
    table = write_tokens(encoded(count), PARTS, PARTS[:1], tmp_path)
    assert len(table) == count and contents(tmp_path) == {}
    assert list(table.examples) == [example(number) for number in range(count)]
    assert table.lengths == [len(example(number)["input_ids"]) for number in range(count)]
    assert table.longest == max(map(example, range(count)), key=lambda one: len(one["input_ids"]))


def test_examples_are_divided_by_the_prompts_of_their_sources(tmp_path):
    table = write_tokens(encoded(12), PARTS, PARTS[:1], tmp_path)
    train, validation = table.divide({"prompt 0", "prompt 3"})
    assert [one["input_ids"][0] for one in train] == [0, 3, 5, 8, 10]
    assert [one["input_ids"][0] for one in validation] == [1, 2, 4, 6, 7, 9, 11]
    assert table.tokens_of({"prompt 0"}) == sum(len(example(number)["input_ids"]) for number in (0, 5, 10))


def test_token_ids_are_counted_part_by_part_without_being_read(tmp_path):
    train, _ = write_tokens(encoded(12), PARTS, PARTS[:1], tmp_path).divide({"prompt 0", "prompt 3"})
    expected = [[len(one[part]) for one in train] for part in PARTS]
    assert token_counts(train, PARTS) == expected
    assert token_counts(list(train), PARTS) == expected


def test_a_table_without_examples_is_empty(tmp_path):
    table = write_tokens(encoded(0), PARTS, PARTS[:1], tmp_path)
    assert [len(side) for side in table.divide({"prompt 0"})] == [0, 0]


def test_a_problem_found_while_encoding_is_raised(tmp_path):
    def failing():
        yield from encoded(3)
        raise UserError("row 4: too long")

    assert problems_of(write_tokens, failing(), PARTS, PARTS[:1], tmp_path) == ("row 4: too long",)
    assert contents(tmp_path) == {}


MEASURE = """
import sys
from pathlib import Path
from types import SimpleNamespace
from fine_tuning.training.token_table import write_tokens

def anonymous():  # KiB that the process itself holds; mapped files do not count
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon"))

def encoded():
    for number in range(int(sys.argv[1])):
        ids = list(range(number, number + 700))
        yield SimpleNamespace(prompt=str(number)), {"input_ids": ids, "labels": ids}

before = anonymous()
table = write_tokens(encoded(), ("input_ids", "labels"), ("input_ids",), Path(sys.argv[2]))
print(anonymous() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to measure memory")
def test_many_rows_need_hardly_more_memory_than_a_few(tmp_path):
    few, many = (
        int(subprocess.check_output([sys.executable, "-c", MEASURE, str(count), str(tmp_path)]))
        for count in (4 * EXAMPLES_PER_BATCH, 44 * EXAMPLES_PER_BATCH)
    )
    as_lists = 40 * EXAMPLES_PER_BATCH * 700 * (8 + 28 + 8) / 1024  # KiB: a pointer to each id and label, an int object
    assert many - few < as_lists / 10
