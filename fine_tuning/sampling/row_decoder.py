"""Decode many answers in rows of one cache: a prompt is read once for all its samples, and the next one takes the place
of an answer that has ended.
"""

import gc
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate, groupby, islice

import torch
from transformers import PreTrainedTokenizerBase

from fine_tuning.data.chat_format import chat_format
from fine_tuning.run.errors import is_out_of_memory, reason_of
from fine_tuning.run.processes import processes
from fine_tuning.sampling.batches import Task
from fine_tuning.sampling.generation import Model, rows_that_fit
from fine_tuning.sampling.pace import Pace
from fine_tuning.sampling.recorded import NotAlikeError, Recorder, Steps
from fine_tuning.sampling.rows import ReadPrompt, Rows, read_prompts
from fine_tuning.sampling.watching import current_watcher

Waiting = deque[tuple[int, Task]]  # the key of each task

READ_TOGETHER = 8  # prompts
READ_AHEAD = 64  # tasks among which they are found
SEGMENT = 512  # tokens: where memory is short, longer answers get fewer rows


class Stopped(Exception):
    """The answers are not wanted any more."""


class RowDecoder:
    """Decodes with a model from `merge_for_generation`, at most `most` answers at once. It keeps its cache.

    recorder    makes what records the steps of some rows; None: nothing is recorded
    is_stopped  while it is set, which another thread may do, decoding ends with Stopped
    """

    def __init__(
        self,
        model: Model,
        tokenizer: PreTrainedTokenizerBase,
        most: int,
        pace: Pace,
        recorder: Callable[[], Recorder] | None = None,
    ) -> None:
        self.model, self.tokenizer, self.recorder = model, tokenizer, recorder
        self.rows: Rows | None = None
        self.is_stopped = False
        self.most, self._pace = most, pace
        self._steps: Steps | None = None
        self._is_limited = False  # memory did not suffice for more rows

    def ids(
        self, tasks: Sequence[Task], temperature: float, seed: int, sized_for: Sequence[Task] = ()
    ) -> Iterator[tuple[int, list[int]]]:
        """The token ids of the answers, as they end, with the numbers of their tasks. Rows are made for `sized_for`.

        Out of memory, half as many rows go on with what is left.
        """
        left = dict(enumerate(tasks))
        while left:
            size = 0
            try:
                for key, ids in self._decoded(left, temperature, seed, sized_for):
                    del left[key]
                    yield key, ids
            except (RuntimeError, MemoryError) as error:
                size = self.rows.size if self.rows else self.most
                if size == 1 or not is_out_of_memory(error):
                    raise
            if size:  # outside of the handler: its traceback keeps the failed step alive
                self.most = max(1, min(size, self.most) // 2)
                self.release()

    def _decoded(
        self, left: Mapping[int, Task], temperature: float, seed: int, sized_for: Sequence[Task]
    ) -> Iterator[tuple[int, list[int]]]:
        """Decode all tasks with one cache or, if memory is short, with one after the other: shorter answers first have
        more rows.
        """
        waiting = list(left.items())
        sizes = sized_for or list(left.values())
        longest = max(map(self._need, sizes))
        wanted = min(self.most, len(sizes))
        if not self._suffices(wanted, longest, max(task.limit for task in sizes)):
            self.release()
        size = self.rows.size if self.rows else rows_that_fit(self.model, longest)
        if sized_for or 2 * size >= wanted:
            yield from self._segment(deque(waiting), sizes, temperature, seed, is_check=bool(sized_for))
            return
        lengths = accumulate((-(-self._need(task) // SEGMENT) for _, task in waiting), max)
        for _, group in groupby(zip(lengths, waiting, strict=True), lambda pair: pair[0]):
            part = [pair for _, pair in group]
            yield from self._segment(deque(part), [task for _, task in part], temperature, seed)

    def _segment(
        self, waiting: Waiting, sizes: Sequence[Task], temperature: float, seed: int, is_check: bool = False
    ) -> Iterator[tuple[int, list[int]]]:
        """Decode with one cache, made for the tasks `sizes`."""
        watcher = current_watcher()
        read: dict[tuple[int, ...], ReadPrompt] = {}
        rows, steps = self._made(sizes, self._read(read, waiting))
        rows.begin(temperature, any(task.sample is not None for _, task in waiting))
        keeps_size = is_check and steps.recorder is not None  # what is checked is then what is used
        count = self._size(len(sizes if keeps_size else waiting), rows.size)
        while waiting or rows.active:
            if self.is_stopped:
                raise Stopped
            while waiting and (free := [row for row in rows.free if row < count]):
                self._admit(rows, free, waiting, read, seed)
            if not waiting and not keeps_size and (smaller := self._size(rows.active, rows.size)) < count:
                rows.gather_in(smaller)
                count = smaller
            times = self._pace.steps
            try:
                steps.run(count, min(self._round(rows.furthest + times), rows.length), times)
            except Exception as error:
                if steps.recorder is None or is_out_of_memory(error):
                    raise
                what = str(error) if isinstance(error, NotAlikeError) else reason_of(error)
                note(f"sampling without CUDA graphs: a step cannot be recorded ({what})")
                self.recorder = steps.recorder = None
            if watcher and not is_check:
                watcher.progress(rows.so_far())
            yield from rows.collect()

    def _admit(
        self,
        rows: Rows,
        free: list[int],
        waiting: Waiting,
        read: dict[tuple[int, ...], ReadPrompt],
        seed: int,
    ) -> None:
        """Give the next tasks to free rows, those of one prompt. It is read once for all its tasks in a row."""
        prompt = tuple(waiting[0][1].prompt)
        example = self._read(read, waiting)
        keys: list[int] = []
        tasks: list[Task] = []
        while waiting and len(tasks) < len(free) and tuple(waiting[0][1].prompt) == prompt:
            key, task = waiting.popleft()
            keys.append(key)
            tasks.append(task)
        rows.admit(free[: len(tasks)], keys, tasks, example, seed)
        if not waiting or tuple(waiting[0][1].prompt) != prompt:
            del read[prompt]

    def _read(self, read: dict[tuple[int, ...], ReadPrompt], waiting: Waiting) -> ReadPrompt:
        """The prompt of the next task as the model has read it. Several prompts are read together, and kept in `read`:
        that takes a GPU as long as reading one.
        """
        following = tuple(waiting[0][1].prompt)
        if following not in read:
            prompts = dict.fromkeys(tuple(task.prompt) for _, task in islice(waiting, READ_AHEAD))
            new = [prompt for prompt in prompts if prompt not in read][:READ_TOGETHER]
            read.update(zip(new, read_prompts(self.model, new), strict=True))
        return read[following]

    def _made(self, sizes: Sequence[Task], example: ReadPrompt) -> tuple[Rows, Steps]:
        """Rows for the tasks `sizes`: those of the last call, if they suffice."""
        wanted, most_new = min(self.most, len(sizes)), max(task.limit for task in sizes)
        length = max(map(self._need, sizes))
        if self.rows is None or self._steps is None or not self._suffices(wanted, length, most_new):
            self.release()
            size = min(self._size(wanted), rows_that_fit(self.model, length))
            stop = chat_format(self.tokenizer).stop
            self.rows = Rows(self.model, stop, example, size, length, self._round(most_new))
            self._steps = Steps(self.rows, self.recorder and self.recorder())
            self._is_limited = size < wanted
        return self.rows, self._steps

    def _suffices(self, wanted: int, length: int, most_new: int) -> bool:
        """Whether the rows of the last call suffice for `wanted` rows of `length` tokens, or more cannot be had."""
        rows = self.rows
        if rows is None or rows.length < length or rows.most_new < most_new:
            return False
        return rows.size >= wanted or (self._is_limited and rows.length == length)

    def release(self) -> None:
        """Free the cache and the graphs."""
        self.rows = self._steps = None
        gc.collect()
        if self.model.device.type == "cuda":
            torch.cuda.empty_cache()

    def batches_that_fit(self, tasks: Sequence[Task]) -> int:
        """How many batches of the size of `tasks` there is memory for, each with a cache of its own."""
        return rows_that_fit(self.model, max(map(self._need, tasks))) // len(tasks)

    def _need(self, task: Task) -> int:
        """The length of the cache that a task needs."""
        return self._round(len(task.prompt) + task.limit)

    def _round(self, length: int) -> int:
        return -(-length // self._pace.bucket) * self._pace.bucket

    def _size(self, count: int, most: int = sys.maxsize) -> int:
        """The number of rows that a step has for `count` answers, at most `most`."""
        count = max(1, count)
        return min(most, 1 << (count - 1).bit_length() if self._pace.doubles else count)


def note(text: str) -> None:
    """Print a note, to stderr. One of several processes says its number."""
    here = processes()
    print(f"note: {f'process {here.rank}: ' if here.are_several else ''}{text}", file=sys.stderr)
