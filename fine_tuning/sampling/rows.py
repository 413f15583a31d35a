"""The rows that are decoded together: their state in tensors of fixed size, and the step that adds a token to each.

A step reads and writes nothing but these tensors, so it can be recorded as a CUDA graph and replayed. Rows that have
ended stay as they are until the host looks, and another prompt may then take their place.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache

from fine_tuning.sampling.batches import Task
from fine_tuning.sampling.row_cache import RowCache
from fine_tuning.sampling.streams import draw, random_numbers


class ReadPrompt(NamedTuple):
    """What a model has computed for a prompt: [heads, tokens, width] for each layer, and the scores of the next token,
    [vocabulary] of float32.
    """

    layers: list[tuple[Tensor, Tensor]]
    scores: Tensor


@torch.inference_mode()
def read_prompts(model: Any, prompts: Sequence[Sequence[int]]) -> list[ReadPrompt]:
    """Read several prompts together. Padding stands behind a prompt, where causal attention never sees it."""
    longest = max(map(len, prompts))
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=model.device)
    ends, which = (lengths - 1).unique(return_inverse=True)
    ids = torch.tensor([[*prompt, *[0] * (longest - len(prompt))] for prompt in prompts], device=model.device)
    cache: Any = DynamicCache()
    scores = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=ends).logits
    read = []
    for row, (prompt, end) in enumerate(zip(prompts, which, strict=True)):
        layers = [(layer.keys[row, :, : len(prompt)], layer.values[row, :, : len(prompt)]) for layer in cache.layers]
        read.append(ReadPrompt(layers, scores[row, end].float()))
    return read


class Rows:
    """Up to `size` rows of `length` positions each. Answers have up to `most_new` tokens.

    model   from `merge_for_generation`
    stop    the tokens that end an answer
    example a prompt that the model has read: it gives the sizes of the cache
    """

    @torch.inference_mode()
    def __init__(
        self, model: Any, stop: Sequence[int], example: ReadPrompt, size: int, length: int, most_new: int
    ) -> None:
        device = model.device

        def zeros(*shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        self.model, self.size, self.length, self.most_new = model, size, length, most_new
        self.tokens, self.places, self.counts, self.limits = zeros(size), zeros(size), zeros(size), zeros(size)
        self.ended = ~zeros(size, dtype=torch.bool)
        self.is_greedy = ~zeros(size, dtype=torch.bool)
        # One column more than is used, for rows that have ended at their limit.
        self.numbers = zeros(size, most_new + 1, dtype=torch.float64)
        self.answers = zeros(size, most_new + 1)
        self.temperature = torch.ones((), device=device)
        self.scores = zeros(size, len(example.scores), dtype=torch.float32)
        self.keeps_scores = False
        self._stop = torch.tensor(list(stop), device=device)
        self._positions = torch.arange(length, device=device)
        example_layers = [(keys[None], values[None]) for keys, values in example.layers]
        self.cache = RowCache(example_layers, self.places, length)
        self._masked = torch.finfo(example.layers[0][0].dtype).min
        self._dtype = example.layers[0][0].dtype
        self.are_half = self._dtype in (torch.float16, torch.bfloat16)
        self.tasks: list[int | None] = [None] * size  # the key of each row's task; None: the row is free
        self._host_places = [0] * size  # no less than the place of the row
        self.are_sampled = True

    @property
    def active(self) -> int:
        """How many rows have a task."""
        return sum(task is not None for task in self.tasks)

    @property
    def free(self) -> list[int]:
        """The rows without a task."""
        return [row for row, task in enumerate(self.tasks) if task is None]

    @property
    def furthest(self) -> int:
        """The largest place of a row with a task, or a little more."""
        return max(
            (place for place, task in zip(self._host_places, self.tasks, strict=True) if task is not None), default=0
        )

    @torch.inference_mode()
    def admit(
        self, rows: Sequence[int], keys: Sequence[int], tasks: Sequence[Task], read: ReadPrompt, seed: int
    ) -> None:
        """Give the tasks of one prompt, which the model has read, to free rows, and decide their first tokens."""
        self.cache.fill(rows, read.layers)
        device, length = self.tokens.device, len(tasks[0].prompt)
        at = torch.tensor(rows, device=device)
        limits = [task.limit for task in tasks]
        numbers = torch.zeros(len(tasks), self.most_new + 1, dtype=torch.float64)
        for k, task in enumerate(tasks):
            if task.sample is not None:
                drawn = random_numbers(seed, task.prompt, task.sample, task.limit)
                numbers[k, : task.limit] = torch.tensor(drawn, dtype=torch.float64)
        self.numbers[at] = numbers.to(device)
        self.is_greedy[at] = torch.tensor([task.sample is None for task in tasks], device=device)
        self.limits[at] = torch.tensor(limits, device=device)
        self.places[at] = length
        scores = read.scores.expand(len(tasks), -1)
        tokens = self._choose(scores, self.is_greedy[at], self.numbers[at, 0], sampled=True)
        self.tokens[at], self.answers[at, 0], self.counts[at] = tokens, tokens, 1
        self.ended[at] = self._ends(tokens) | (self.limits[at] <= 1)
        for row, key in zip(rows, keys, strict=True):
            self.tasks[row], self._host_places[row] = key, length

    def step(self, count: int, length: int, sampled: bool) -> None:
        """Add a token to each of the first `count` rows that has not ended. The model reads `length` positions.

        Without `sampled`, all rows are greedy. Every row sees at least its own place, so no row of the mask is empty,
        which would give NaN.
        """
        tokens, places, counts = self.tokens[:count], self.places[:count], self.counts[:count]
        ended, answers = self.ended[:count], self.answers[:count]
        self.cache.open_to(count, length)
        is_hidden = self._positions[:length] > places[:, None]
        mask = is_hidden[:, None, None].to(self._dtype) * self._masked
        scores = (
            self.model(
                input_ids=tokens[:, None],
                position_ids=places[:, None],
                attention_mask=mask,
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=1,
            )
            .logits[:, -1]
            .float()
        )
        if self.keeps_scores:
            self.scores[:count].copy_(scores)
        numbers = self.numbers[:count].gather(1, counts[:, None])[:, 0]
        chosen = torch.where(ended, tokens, self._choose(scores, self.is_greedy[:count], numbers, sampled))
        answers.scatter_(1, counts[:, None], chosen[:, None])
        going = (~ended).long()
        counts.add_(going)
        places.add_(going)
        tokens.copy_(chosen)
        ended.logical_or_(self._ends(chosen) | (counts >= self.limits[:count]))

    def advance(self, steps: int) -> None:
        """Tell the host's copy of the places that `steps` steps were made."""
        self._host_places = [place + steps for place in self._host_places]

    @torch.inference_mode()
    def collect(self) -> list[tuple[int, list[int]]]:
        """The keys and token ids of the answers that have ended. Their rows are free afterwards."""
        ended, counts, places = torch.stack([self.ended.long(), self.counts, self.places]).tolist()
        self._host_places = places
        rows = [row for row, task in enumerate(self.tasks) if task is not None and ended[row]]
        answers = self.answers[rows].tolist() if rows else []
        found = []
        for row, answer in zip(rows, answers, strict=True):
            key = self.tasks[row]
            assert key is not None
            found.append((key, answer[: counts[row]]))
            self.tasks[row] = None
        return found

    def so_far(self) -> dict[int, list[int]]:
        """The token ids so far of the answers at work, by their keys."""
        counts, answers = self.counts.tolist(), self.answers.tolist()
        return {key: answers[row][: counts[row]] for row, key in enumerate(self.tasks) if key is not None}

    @torch.inference_mode()
    def gather_in(self, count: int) -> None:
        """Move the rows that have a task into the first `count` rows."""
        sources = [row for row in range(count, self.size) if self.tasks[row] is not None]
        if not sources:
            return
        targets = self.free[: len(sources)]
        self.cache.move(sources, targets, min(self.furthest + 1, self.length))
        for state in self.state_tensors():
            state[targets] = state[sources]
        for source, target in zip(sources, targets, strict=True):
            self.tasks[target], self.tasks[source] = self.tasks[source], None
            self._host_places[target] = self._host_places[source]
        self.ended[sources] = True

    @torch.inference_mode()
    def begin(self, temperature: float, are_sampled: bool) -> None:
        """Free all rows. The tasks that follow are sampled at `temperature`, or are all greedy."""
        self.tasks = [None] * self.size
        self.ended.fill_(True)
        self.temperature.fill_(temperature or 1.0)
        self.are_sampled = are_sampled

    def state_tensors(self) -> list[Tensor]:
        """All that a row consists of, except its cache."""
        return [
            self.tokens, self.places, self.counts, self.limits, self.ended, self.is_greedy, self.numbers, self.answers
        ]  # fmt: skip

    def _choose(self, scores: Tensor, is_greedy: Tensor, numbers: Tensor, sampled: bool) -> Tensor:
        best = scores.argmax(-1)
        return torch.where(is_greedy, best, draw(scores / self.temperature, numbers)) if sampled else best

    def _ends(self, tokens: Tensor) -> Tensor:
        return (tokens[:, None] == self._stop).any(-1)
