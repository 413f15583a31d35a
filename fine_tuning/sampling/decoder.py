"""Generate the answers to many prompts with one model, as fast as the machine allows, and the same ones in every way.

The fast way (`rows`, `recorded`) reads each prompt once for all its samples, lets the next prompt take the place of an
answer that has ended, and on a GPU replays its steps as CUDA graphs. The plain way is transformers' `generate`. The
fast way is compared with it before the first answer, and given up with one line where it fails or differs.
"""

import gc
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, groupby, islice

import torch
from transformers import PreTrainedTokenizerBase

from fine_tuning.data.chat_format import chat_format
from fine_tuning.run.errors import explain, is_out_of_memory, reason_of
from fine_tuning.run.processes import processes
from fine_tuning.sampling.batches import Task
from fine_tuning.sampling.fast_check import CHECKED_PROMPTS, CHECKED_TOKENS, difference, obstacle_of
from fine_tuning.sampling.generation import Answer, Model, answer_tasks, as_answer, rows_that_fit, within_positions
from fine_tuning.sampling.grammar import DiagramGrammar
from fine_tuning.sampling.pace import CPU, GPU, Pace
from fine_tuning.sampling.recorded import CudaGraphs, NotAlikeError, Recorder, Steps
from fine_tuning.sampling.rows import ReadPrompt, Rows, read_prompts
from fine_tuning.sampling.watching import current_watcher, watching

Waiting = deque[tuple[int, Task]]  # the key of each task


READ_TOGETHER = 8  # prompts
READ_AHEAD = 64  # tasks among which they are found
SEGMENT = 512  # tokens: where memory is short, longer answers get fewer rows


class Decoder:
    """Generates answers with a model from `merge_for_generation`.

    batch_size  answers that are generated together; on a GPU, more if its memory has room
    plain       use transformers' `generate`
    recorder    makes what records the steps of some rows; by default CUDA graphs on a GPU, and nothing on a CPU
    """

    def __init__(
        self,
        model: Model,
        tokenizer: PreTrainedTokenizerBase,
        batch_size: int,
        plain: bool = False,
        recorder: Callable[[], Recorder] | None = None,
        pace: Pace | None = None,
    ) -> None:
        self.model, self.tokenizer, self.batch_size = model, tokenizer, batch_size
        on_gpu = model.device.type == "cuda"
        self._pace = pace or (GPU if on_gpu else CPU)
        self._recorder = CudaGraphs if on_gpu and recorder is None else recorder
        self._is_checked, self._is_plain = plain, plain
        self._obstacle = ""  # in the tasks of the last call
        self._most = max(batch_size, self._pace.most)
        self._rows: Rows | None = None
        self._steps: Steps | None = None
        self._is_limited = False  # memory did not suffice for more rows
        self._ties = ""

    @property
    def way(self) -> str:
        """How answers are generated, for logs."""
        if self._is_plain or self._obstacle:
            return "transformers' generate"
        return f"static cache{', CUDA graphs' if self._recorder else ''}{self._ties}"

    def answers(
        self, tasks: Sequence[Task], temperature: float, seed: int, grammar: DiagramGrammar | None = None
    ) -> list[Answer]:
        """The answers to all tasks, in their order; see `answer_tasks`."""
        tasks = within_positions(self.model, tasks)
        if grammar is None and tasks and self._is_fast(tasks, seed):
            if watcher := current_watcher():
                watcher.begin(len(tasks))
            found = dict(self._answers(tasks, temperature, seed))
            return [found[key] for key in range(len(tasks))]
        size = self.batch_size
        return [
            answer
            for k in range(0, len(tasks), size)
            for answer in answer_tasks(self.model, self.tokenizer, tasks[k : k + size], temperature, seed, grammar)
        ]

    def answer_batches(
        self, batches: Iterable[Sequence[Task]], temperature: float, seed: int
    ) -> Iterator[list[Answer]]:
        """The answers to each batch, in order. On a GPU several batches are worked on at the same time."""
        for _, group in groupby(enumerate(batches), lambda pair: pair[0] // self._pace.queue):
            together = [batch for _, batch in group]
            tasks = [task for batch in together for task in batch]
            sizes = deque(map(len, together))
            if len(together) == 1 or self._is_plain or not self._is_fast(within_positions(self.model, tasks), seed):
                yield from (self.answers(batch, temperature, seed) for batch in together)
                continue
            found: dict[int, Answer] = {}
            first = 0
            for key, answer in self._answers(within_positions(self.model, tasks), temperature, seed):
                found[key] = answer
                while sizes and all(k in found for k in range(first, first + sizes[0])):
                    yield [found.pop(k) for k in range(first, first + sizes[0])]
                    first += sizes.popleft()

    def _is_fast(self, tasks: Sequence[Task], seed: int) -> bool:
        """Whether the fast way can be used. At the first call it is compared with the plain way."""
        if self._is_plain:
            return False
        obstacle = obstacle_of(self.model, max(len(task.prompt) + task.limit for task in tasks)) or ""
        if obstacle and not self._obstacle:
            _note_plain(obstacle)
        self._obstacle = obstacle
        if not obstacle and not self._is_checked:
            self._is_checked = True
            with watching(None):
                problem = self._problem(tasks, seed)
            if problem is not None:
                _note_plain(problem)
                self._release()
                self._is_plain = True
        return not obstacle and not self._is_plain

    def _problem(self, tasks: Sequence[Task], seed: int) -> str | None:
        """Why the fast way cannot be used: it fails, or a greedy answer is another one. None if it can."""
        prompts = list(dict.fromkeys(tuple(task.prompt) for task in tasks))[:CHECKED_PROMPTS]
        checked = [Task(prompt, min(CHECKED_TOKENS, tasks[0].limit)) for prompt in prompts]
        try:
            fast = dict(self._ids(checked, 1.0, seed, sized_for=tasks))
            problem, ties = difference(self.model, self.tokenizer, checked, [fast[k] for k in range(len(checked))])
        except Exception as error:
            if explain(error):  # the machine's fault
                raise
            return reason_of(error)
        self._ties = f"; {ties} of {len(checked)} greedy answers differ at a tie" if ties else ""
        return problem

    def _answers(self, tasks: Sequence[Task], temperature: float, seed: int) -> Iterator[tuple[int, Answer]]:
        for key, ids in self._ids(tasks, temperature, seed):
            yield key, as_answer(self.tokenizer, ids)

    def _ids(
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
                size = self._rows.size if self._rows else self._most
                if size == 1 or not is_out_of_memory(error):
                    raise
            if size:  # outside of the handler: its traceback keeps the failed step alive
                self._most = max(1, min(size, self._most) // 2)
                self._release()

    def _decoded(
        self, left: Mapping[int, Task], temperature: float, seed: int, sized_for: Sequence[Task]
    ) -> Iterator[tuple[int, list[int]]]:
        """Decode all tasks with one cache or, if memory is short, with one after the other: shorter answers first have
        more rows.
        """
        waiting = list(left.items())
        sizes = sized_for or list(left.values())
        longest = max(map(self._need, sizes))
        wanted = min(self._most, len(sizes))
        if not self._suffices(wanted, longest, max(task.limit for task in sizes)):
            self._release()
        size = self._rows.size if self._rows else rows_that_fit(self.model, longest)
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
                _note(f"sampling without CUDA graphs: a step cannot be recorded ({what})")
                self._recorder = steps.recorder = None
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
        wanted, most_new = min(self._most, len(sizes)), max(task.limit for task in sizes)
        length = max(map(self._need, sizes))
        if self._rows is None or self._steps is None or not self._suffices(wanted, length, most_new):
            self._release()
            size = min(self._size(wanted), rows_that_fit(self.model, length))
            stop = chat_format(self.tokenizer).stop
            self._rows = Rows(self.model, stop, example, size, length, self._round(most_new))
            self._steps = Steps(self._rows, self._recorder and self._recorder())
            self._is_limited = size < wanted
        return self._rows, self._steps

    def _suffices(self, wanted: int, length: int, most_new: int) -> bool:
        """Whether the rows of the last call suffice for `wanted` rows of `length` tokens, or more cannot be had."""
        rows = self._rows
        if rows is None or rows.length < length or rows.most_new < most_new:
            return False
        return rows.size >= wanted or (self._is_limited and rows.length == length)

    def _release(self) -> None:
        """Free the cache and the graphs."""
        self._rows = self._steps = None
        gc.collect()
        if self.model.device.type == "cuda":
            torch.cuda.empty_cache()

    def _need(self, task: Task) -> int:
        """The length of the cache that a task needs."""
        return self._round(len(task.prompt) + task.limit)

    def _round(self, length: int) -> int:
        return -(-length // self._pace.bucket) * self._pace.bucket

    def _size(self, count: int, most: int = sys.maxsize) -> int:
        """The number of rows that a step has for `count` answers, at most `most`."""
        count = max(1, count)
        return min(most, 1 << (count - 1).bit_length() if self._pace.doubles else count)


def _note_plain(reason: str) -> None:
    _note(f"answers are generated with transformers' generate: {reason}")


def _note(text: str) -> None:
    here = processes()
    print(f"note: {f'process {here.rank}: ' if here.are_several else ''}{text}", file=sys.stderr)
