"""Paired comparison of two models that have answered the same prompts."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

RESAMPLES = 10_000
SEED = 2025

Figures = Mapping[str, float]  # of one answer, by name


class Interval(NamedTuple):
    """A mean difference and the bounds of its 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.3f} ({self.low:+.3f} to {self.high:+.3f})"


def paired_interval(differences: Sequence[float]) -> Interval:
    """The mean of paired differences with its 95 % interval: percentiles of a bootstrap with a fixed seed.

    Raises ValueError if there are none.
    """
    import torch

    if not differences:
        raise ValueError("there are no differences")
    values = torch.tensor(differences, dtype=torch.float64)
    generator = torch.Generator().manual_seed(SEED)
    draws = torch.randint(len(values), (RESAMPLES, len(values)), generator=generator)
    low, high = values[draws].mean(1).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Interval(fmean(differences), low, high)


def differences_by_prompt(
    runs: Iterable[tuple[Sequence[str], Sequence[Figures], Sequence[Figures]]], figure: str
) -> list[float]:
    """For each prompt, how much higher a figure of the second model's answer is than the first's: the mean over runs.

    Each run has its prompts and, in the same order, the figures of both models' answers. An answer that lacks the
    figure, such as the labels of a diagram without labels, does not count.
    """
    found: dict[str, list[float]] = {}
    for prompts, before, after in runs:
        for prompt, first, second in zip(prompts, before, after, strict=True):
            if figure in first and figure in second:
                found.setdefault(prompt, []).append(second[figure] - first[figure])
    return [fmean(values) for values in found.values()]
