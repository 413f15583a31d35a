"""The token ids of all examples, on disk instead of in memory.

A row of 700 tokens takes about 50 KB as Python lists, so 100,000 rows would need 5 GB. Here the ids are written to an
Arrow file, and memory-mapped: the operating system keeps in memory what is used and drops it when memory is short.

The file has no name. It disappears with the process, however that ends, and leaves nothing behind.
"""

import mmap
import tempfile
import uuid
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeVar

import pyarrow
import pyarrow.compute
from datasets import Dataset
from datasets.table import InMemoryTable

from fine_tuning.data.split import HasPrompt

EXAMPLES_PER_BATCH = 200  # held in memory while writing
EXAMPLES_PER_COUNT = 10_000

Source = TypeVar("Source", bound=HasPrompt)
Example = Mapping[str, Sequence[int]]


@dataclass(frozen=True, slots=True)
class TokenTable(Generic[Source]):
    """Examples and what they were made of, in the same order.

    sources   the rows or the preference pairs
    examples  a dataset with one column of token ids for each part of an example
    lengths   the tokens of each example, over all parts named in `counted`
    """

    sources: list[Source]
    examples: Dataset
    lengths: list[int]

    def __len__(self) -> int:
        return len(self.sources)

    @property
    def longest(self) -> dict[str, list[int]]:
        """The example with the most tokens; the first of several."""
        example: dict[str, list[int]] = self.examples[self.lengths.index(max(self.lengths))]
        return example

    def divide(self, train_prompts: Container[str]) -> tuple[Dataset, Dataset]:
        """The examples to train on and those to validate with, by the prompts of their sources."""
        train = [k for k, source in enumerate(self.sources) if source.prompt in train_prompts]
        others = [k for k, source in enumerate(self.sources) if source.prompt not in train_prompts]
        return self.examples.select(train), self.examples.select(others)

    def tokens_of(self, prompts: Container[str]) -> int:
        """The number of tokens of all examples with these prompts."""
        lengths = zip(self.sources, self.lengths, strict=True)
        return sum(length for source, length in lengths if source.prompt in prompts)


def write_tokens(
    encoded: Iterable[tuple[Source, Example]], columns: Sequence[str], counted: Sequence[str], folder: Path
) -> TokenTable[Source]:
    """Write examples to a nameless file in `folder` as they are made, and map the file into memory.

    `columns` are the parts of an example; `counted` are those whose tokens make up its length.
    """
    schema = pyarrow.schema([(name, pyarrow.list_(pyarrow.int32())) for name in columns])
    sources: list[Source] = []
    lengths: list[int] = []
    with tempfile.TemporaryFile(dir=folder) as file:
        with pyarrow.ipc.new_stream(file, schema) as writer:
            encoded = iter(encoded)
            while batch := list(islice(encoded, EXAMPLES_PER_BATCH)):
                sources += [source for source, _ in batch]
                examples = [example for _, example in batch]
                lengths += [sum(len(example[name]) for name in counted) for example in examples]
                writer.write_batch(pyarrow.RecordBatch.from_pylist([dict(example) for example in examples], schema))
        file.flush()
        mapped: Any = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # stays valid when the file is closed
    table = pyarrow.ipc.open_stream(pyarrow.py_buffer(mapped)).read_all()
    # Without a fingerprint, datasets would make one from all the ids.
    return TokenTable(sources, Dataset(InMemoryTable(table), fingerprint=uuid.uuid4().hex), lengths)


def token_counts(examples: Any, columns: Sequence[str]) -> list[list[int]]:
    """For each column, the number of token ids of every example, in order. Reads no ids of a dataset."""
    if not isinstance(examples, Dataset):
        return [[len(example[name]) for example in examples] for name in columns]
    counts: list[list[int]] = [[] for _ in columns]
    for table in examples.with_format("arrow").iter(EXAMPLES_PER_COUNT):
        for name, column in zip(columns, counts, strict=True):
            column += pyarrow.compute.list_value_length(table[name]).to_pylist()
    return counts
