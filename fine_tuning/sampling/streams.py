"""Greedy answers and samples in one batch, each sample from its own stream of random numbers.

A row of the batch has the number of its stream, or None for greedy decoding. A stream depends on the seed and its
number alone. So the samples of a prompt do not depend on what else is in the batch, or on how it is split; and the
first four of eight samples are those that four samples would be.
"""

from collections.abc import Sequence

import torch
from transformers import LogitsProcessor


class Streams(LogitsProcessor):
    """Adds noise to the scores, so that the token with the highest score is a sample at `temperature`.

    The noise is -log(E) with E from an exponential distribution (the Gumbel-max trick; Gumbel, 1954). Rows of the batch
    with the same stream get the same noise.
    """

    def __init__(
        self, streams: Sequence[int | None], temperature: float, seed: int, device: torch.device | str
    ) -> None:
        self._temperature = temperature
        self._rows = {
            stream: [row for row, other in enumerate(streams) if other == stream]
            for stream in sorted({stream for stream in streams if stream is not None})
        }
        self._generators = {
            stream: torch.Generator(device).manual_seed(seed * 100_003 + stream) for stream in self._rows
        }

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """`scores` has the shape (rows, vocabulary). Scores of minus infinity stay so: such a token is never drawn."""
        scores = scores.clone()
        for stream, rows in self._rows.items():
            noise = torch.empty(scores.shape[1], dtype=torch.float32, device=scores.device)
            noise.exponential_(generator=self._generators[stream])
            noise = -noise.clamp_min(torch.finfo(torch.float32).tiny).log()  # finite, whatever was drawn
            scores[rows] = scores[rows] / self._temperature + noise
        return scores
