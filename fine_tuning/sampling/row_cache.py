"""A KV cache of fixed size in which every row has its own place to write to.

transformers' StaticCache has one place for all rows. Here a row can begin while others are in the middle of their
answers: the position, the row of the mask, and `places` say where each row is.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin


class RowCache(Cache):
    """The first `count` rows are in use, and the model reads the first `length` positions of them.

    `read` and `open_to` keep the addresses of all tensors, as a recorded CUDA graph needs it.

    example  keys and values of each layer, [any, heads, any, width], which give the sizes, dtype and device
    places   [rows] of int64: the position of each row at which the next token is written
    """

    def __init__(self, example: Sequence[tuple[Tensor, Tensor]], places: Tensor, length: int) -> None:
        self.numbers = torch.arange(len(places), device=places.device)
        self.places, self.max_length = places, length
        self.open_to(len(places), length)
        self.rows = [RowLayer(self, keys, values) for keys, values in example]
        super().__init__(layers=list(self.rows))

    def open_to(self, count: int, length: int) -> None:
        """Use the first `count` rows and let the model read `length` positions."""
        self.count, self.length = count, length

    def fill(self, rows: Sequence[int], prompt: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Put a prompt into each of `rows`. `prompt` has each layer's keys and values, [heads, tokens, width]."""
        for layer, (keys, values) in zip(self.rows, prompt, strict=True):
            for row in rows:
                layer.keys[row, :, : keys.shape[1]] = keys
                layer.values[row, :, : values.shape[1]] = values

    def move(self, sources: Sequence[int], targets: Sequence[int], length: int) -> None:
        """Copy the first `length` positions of some rows to others."""
        for layer in self.rows:
            layer.keys[targets, :, :length] = layer.keys[sources, :, :length]
            layer.values[targets, :, :length] = layer.values[sources, :, :length]


class RowLayer(CacheLayerMixin):
    """Keys and values of one layer, [rows, heads, length, width]. They begin as zeros: what is masked must be finite,
    or attention would give NaN.
    """

    keys: Tensor
    values: Tensor
    is_compileable = True
    is_sliding = False

    def __init__(self, cache: RowCache, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self._cache = cache
        self.lazy_initialization(keys, values)

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        rows, length = len(self._cache.places), self._cache.max_length
        self.keys, self.values = (
            states.new_zeros(rows, states.shape[1], length, states.shape[3]) for states in (key_states, value_states)
        )
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write one token of each row, [count, heads, 1, width]. Returns the positions that the model reads."""
        cache = self._cache
        rows, places = cache.numbers[: cache.count], cache.places[: cache.count]
        read = []
        for stored, states in ((self.keys, key_states), (self.values, value_states)):
            stored[rows, :, places] = states[:, :, 0]
            read.append(stored[: cache.count, :, : cache.length])
        return read[0], read[1]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._cache.length, 0

    def get_seq_length(self) -> int:
        """Never what a model needs: rows differ. Positions and mask are given to the model."""
        return 0

    def get_max_length(self) -> int:
        return self._cache.max_length
