"""Generate the answers to many prompts with one model, as fast as the machine allows, and the same ones in every way.

The fast way (`rows`, `recorded`) reads each prompt once for all its samples, lets the next prompt take the place of an
answer that has ended, and on a GPU replays its steps as CUDA graphs. The plain way is transformers' `generate`. The
fast way is compared with it before the first answer, and given up with one line where it fails or differs.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby

import torch
from transformers import PreTrainedTokenizerBase

from fine_tuning.run.errors import explain, reason_of
from fine_tuning.run.processes import processes
from fine_tuning.run.processors import usable_processors
from fine_tuning.sampling.batches import Task
from fine_tuning.sampling.fast_check import CHECKED_PROMPTS, CHECKED_TOKENS, difference, obstacle_of
from fine_tuning.sampling.generation import Answer, Model, answer_tasks, as_answer, within_positions
from fine_tuning.sampling.grammar import DiagramGrammar
from fine_tuning.sampling.pace import CPU, GPU, Pace
from fine_tuning.sampling.recorded import CudaGraphs, Recorder
from fine_tuning.sampling.row_decoder import RowDecoder, note
from fine_tuning.sampling.side_by_side import side_by_side
from fine_tuning.sampling.watching import current_watcher, watching

MOST_THREADS = 2  # more have not been measured


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
        recorder = CudaGraphs if on_gpu and recorder is None else recorder
        # The first one decodes alone, but for batches that are decoded side by side.
        self._crew = [RowDecoder(model, tokenizer, max(batch_size, self._pace.most), self._pace, recorder)]
        self._is_checked, self._is_plain = plain, plain
        self._obstacle = ""  # in the tasks of the last call
        self._ties = ""

    @property
    def way(self) -> str:
        """How answers are generated, for logs."""
        if self._is_plain or self._obstacle:
            return "transformers' generate"
        return f"static cache{', CUDA graphs' if self._crew[0].recorder else ''}{self._ties}"

    @property
    def threads(self) -> int:
        """How many batches are decoded side by side. Several only if torch was told to use one thread, on a CPU with
        idle processors, and if nobody watches: a watcher follows one generation at a time.
        """
        if self.model.device.type != "cpu" or torch.get_num_threads() > 1 or current_watcher():
            return 1
        return min(MOST_THREADS, max(1, usable_processors() // processes().local_count))

    def answers(
        self, tasks: Sequence[Task], temperature: float, seed: int, grammar: DiagramGrammar | None = None
    ) -> list[Answer]:
        """The answers to all tasks, in their order; see `answer_tasks`."""
        tasks = within_positions(self.model, tasks)
        if grammar is None and tasks and self._is_fast(tasks, seed):
            return self._fast(self._crew[0], tasks, temperature, seed)
        return self._plainly(tasks, temperature, seed, grammar)

    def answer_batches(
        self, batches: Iterable[Sequence[Task]], temperature: float, seed: int
    ) -> Iterator[list[Answer]]:
        """The answers to each batch, in order. Several batches are worked on at the same time: on a GPU in one cache,
        on a CPU in threads. Until the iterator has ended or is closed, the decoder may not be used for anything else.
        """
        whole = (within_positions(self.model, tasks) for tasks in batches)
        if self._pace.queue > 1:
            yield from self._queued(whole, temperature, seed)
            return
        threads = self.threads
        while len(self._crew) < threads:
            self._crew.append(RowDecoder(self.model, self.tokenizer, self._crew[0].most, self._pace))
        work = partial(self._fast, temperature=temperature, seed=seed)

        def together(tasks: Sequence[Task]) -> int:
            """How many batches like this one are decoded side by side; 0: it is generated plainly."""
            if not tasks or not self._is_fast(tasks, seed):
                return 0
            return threads if self._crew[0].batches_that_fit(tasks) >= threads else 1

        for count, group in groupby(whole, together):
            if not count:
                yield from (self._plainly(tasks, temperature, seed) for tasks in group)
                continue
            yield from side_by_side(self._crew[:count], group, work)
            if threads > 1:  # others may follow that need the memory of these caches
                for rows in self._crew:
                    rows.release()

    def _queued(self, batches: Iterable[Sequence[Task]], temperature: float, seed: int) -> Iterator[list[Answer]]:
        """The answers to each batch, in order, with the tasks of several batches in one queue."""
        for _, group in groupby(enumerate(batches), lambda pair: pair[0] // self._pace.queue):
            together = [batch for _, batch in group]
            tasks = [task for batch in together for task in batch]
            if len(together) == 1 or not self._is_fast(tasks, seed):
                yield from (self.answers(batch, temperature, seed) for batch in together)
                continue
            sizes = deque(map(len, together))
            found: dict[int, Answer] = {}
            first = 0
            for key, ids in self._crew[0].ids(tasks, temperature, seed):
                found[key] = as_answer(self.tokenizer, ids)
                while sizes and all(k in found for k in range(first, first + sizes[0])):
                    yield [found.pop(k) for k in range(first, first + sizes[0])]
                    first += sizes.popleft()

    def _fast(self, decoder: RowDecoder, tasks: Sequence[Task], temperature: float, seed: int) -> list[Answer]:
        if watcher := current_watcher():
            watcher.begin(len(tasks))
        found = dict(decoder.ids(tasks, temperature, seed))
        return [as_answer(self.tokenizer, found[key]) for key in range(len(tasks))]

    def _plainly(
        self, tasks: Sequence[Task], temperature: float, seed: int, grammar: DiagramGrammar | None = None
    ) -> list[Answer]:
        size = self.batch_size
        return [
            answer
            for k in range(0, len(tasks), size)
            for answer in answer_tasks(self.model, self.tokenizer, tasks[k : k + size], temperature, seed, grammar)
        ]

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
                self._crew[0].release()
                self._is_plain = True
        return not obstacle and not self._is_plain

    def _problem(self, tasks: Sequence[Task], seed: int) -> str | None:
        """Why the fast way cannot be used: it fails, or a greedy answer is another one. None if it can."""
        prompts = list(dict.fromkeys(tuple(task.prompt) for task in tasks))[:CHECKED_PROMPTS]
        checked = [Task(prompt, min(CHECKED_TOKENS, tasks[0].limit)) for prompt in prompts]
        try:
            fast = dict(self._crew[0].ids(checked, 1.0, seed, sized_for=tasks))
            problem, ties = difference(self.model, self.tokenizer, checked, [fast[k] for k in range(len(checked))])
        except Exception as error:
            if explain(error):  # the machine's fault
                raise
            return reason_of(error)
        self._ties = f"; {ties} of {len(checked)} greedy answers differ at a tie" if ties else ""
        return problem


def _note_plain(reason: str) -> None:
    note(f"answers are generated with transformers' generate: {reason}")
