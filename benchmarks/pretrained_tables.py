"""The tables of benchmarks/pretrained_model.py, and their figures as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean
from typing import Any

from benchmarks.paired import Figures, Interval, differences_by_prompt, paired_interval
from fine_tuning.run.markdown import table

TUNED = BASE, SFT, ON_BEST, ORPO = "base", "SFT", "SFT on the best samples", "ORPO"
ROUND_2 = "ORPO, round 2"
YARDSTICKS = EXAMPLES, GRAPH, LAID_OUT = (
    "base, 3 examples", "base, 3 graphs, laid out by Graphviz", "SFT, laid out by Graphviz",
)  # fmt: skip
MODELS = (BASE, EXAMPLES, GRAPH, SFT, LAID_OUT, ON_BEST, ORPO, ROUND_2)
SETS = HELD_OUT, FRESH = "held-out", "fresh"
WAYS = {"greedy": 0.0, "sampled": 1.0}  # temperature
GREEDY = {"greedy": 0.0}  # for examples in the prompt: nobody would sample a model that is not tuned
# "labels right" only where references have labels
FIGURES = (
    "score", "graph exactly right", "labels right", "layout flawless", "flawless answers", "ended by itself",
)  # fmt: skip
COMPARISONS = ((SFT, ORPO), (ON_BEST, ORPO), (ORPO, ROUND_2))
WITH_YARDSTICKS = (
    (BASE, EXAMPLES), (EXAMPLES, SFT), (EXAMPLES, ORPO), (GRAPH, SFT), (GRAPH, ORPO), (SFT, LAID_OUT), (LAID_OUT, ORPO),
)  # fmt: skip
ALL = "all seeds"
MISSING = "not measured"


@dataclass(frozen=True, slots=True)
class SeedRun:
    """What one seed came to.

    prompts    of each of SETS
    answers    the figures of each answer, by model, set and way; without the models that were not trained or measured
    trainings  the figures of the steps and of the training on the best samples
    """

    prompts: Mapping[str, Sequence[str]]
    answers: Mapping[tuple[str, str, str], Sequence[Figures]]
    trainings: Mapping[str, Any]

    def mean(self, model: str, prompts: str, way: str, figure: str) -> float | None:
        """The mean over all answers that have the figure; None if none has."""
        values = [answer[figure] for answer in self.answers.get((model, prompts, way), ()) if figure in answer]
        return fmean(values) if values else None


Runs = Mapping[int, SeedRun]


def tables(runs: Runs) -> str:
    """All tables in markdown."""
    seeds = ", ".join(map(str, runs))
    measured = next(iter(runs.values()))
    counts = " and ".join(f"{len(measured.prompts[name])} {name}" for name in SETS)
    parts = [
        f"Means over {counts} prompts, answered greedily and sampled once at temperature 1. "
        + (f"The figures in a cell belong to the seeds {seeds}, in this order." if len(runs) > 1 else f"Seed {seeds}."),
        _means(runs),
        "The trainings. Losses are in nats per token; ORPO's loss includes the odds ratio, so it cannot be compared "
        "with the others.",
        _trainings(runs),
    ]
    for first, second in _compared(runs, COMPARISONS):
        parts += [
            f"{second} minus {first}: the mean difference on the same prompts, with its 95 % interval in brackets "
            "(paired bootstrap over the prompts, with a fixed seed; one interval at a time, and only for these seeds). "
            "Where all three are 0, no answer differed.",
            _differences(runs, first, second),
        ]
    if compared := _compared(runs, WITH_YARDSTICKS):
        parts += [
            f"The yardsticks, over {'all seeds' if len(runs) > 1 else 'this seed'}: mean differences with their 95 % "
            "intervals, as above. Nothing is tuned for a yardstick. With examples in its prompt, a model answers "
            "greedily only. What Graphviz has laid out of SFT's answers differs from them in its places alone; a graph "
            "of the base model is always drawn in well-formed lines.",
            _with_yardsticks(runs, compared),
        ]
    parts += [f"What was hoped for, on {FRESH} prompts and greedily. A negative result is a result.", _hopes(runs)]
    return "\n\n".join(part for part in parts if part)


def as_json(runs: Runs) -> dict[str, Any]:
    """Means and trainings of each seed, and the intervals of each comparison."""
    return {
        "seeds": {
            str(seed): {
                "trainings": dict(run.trainings),
                "means": {
                    f"{model}, {_named(figure, prompts, way)}": mean
                    for model in MODELS
                    for figure, prompts, way in _rows(runs)
                    if (mean := run.mean(model, prompts, way, figure)) is not None
                },
            }
            for seed, run in runs.items()
        },
        "differences": {
            f"{second} - {first}, {_named(figure, prompts, way)}": {
                str(name): interval
                for name, interval in _intervals(runs, first, second, figure, prompts, way).items()
                if interval is not None
            }
            for first, second in _compared(runs, (*COMPARISONS, *WITH_YARDSTICKS))
            for figure, prompts, way in _rows(runs)
        },
    }


def _is_measured(runs: Runs, model: str) -> bool:
    return model in TUNED or any(measured == model for run in runs.values() for measured, _, _ in run.answers)


def _compared(runs: Runs, pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The pairs of models that are in the tables."""
    return [pair for pair in pairs if all(_is_measured(runs, model) for model in pair)]


def _rows(runs: Runs) -> list[tuple[str, str, str]]:
    """Figure, set and way of every row; only figures that some answer has."""
    return [
        (figure, prompts, way)
        for figure in FIGURES
        for prompts in SETS
        for way in WAYS
        if any(run.mean(BASE, prompts, way, figure) is not None for run in runs.values())
    ]


def _named(figure: str, prompts: str, way: str) -> str:
    return f"{figure}, {prompts}, {way}"


def _means(runs: Runs) -> str:
    models = [model for model in MODELS if _is_measured(runs, model)]
    rows = []
    for figure, prompts, way in _rows(runs):
        cells = [_of_seeds([run.mean(model, prompts, way, figure) for run in runs.values()]) for model in models]
        rows.append([_named(figure, prompts, way), *cells])
    return table(["", *models], rows)


def _of_seeds(values: Sequence[float | None]) -> str:
    return " ".join("-" if value is None else f"{value:.3f}" for value in values)


def _trainings(runs: Runs) -> str:
    names = dict.fromkeys(name for run in runs.values() for name in run.trainings)
    return table(
        ["", *(f"seed {seed}" for seed in runs)],
        [[name, *(run.trainings.get(name, MISSING) for run in runs.values())] for name in names],
    )


def _intervals(
    runs: Runs, first: str, second: str, figure: str, prompts: str, way: str
) -> dict[int | str, Interval | None]:
    """The interval of each seed and, if there are several, of all; None where a model was not measured."""
    compared = {
        seed: (run.prompts[prompts], run.answers[first, prompts, way], run.answers[second, prompts, way])
        for seed, run in runs.items()
        if {(first, prompts, way), (second, prompts, way)} <= run.answers.keys()
    }
    groups: dict[int | str, list[int]] = {seed: [seed] for seed in runs}
    if len(runs) > 1:
        groups[ALL] = [*runs]
    found: dict[int | str, Interval | None] = {}
    for name, seeds in groups.items():
        differences = differences_by_prompt([compared[seed] for seed in seeds if seed in compared], figure)
        found[name] = _interval(tuple(differences)) if differences else None
    return found


_interval = lru_cache(maxsize=None)(paired_interval)  # the tables and the JSON need the same ones


def _differences(runs: Runs, first: str, second: str) -> str:
    rows = []
    for figure, prompts, way in _rows(runs):
        intervals = _intervals(runs, first, second, figure, prompts, way).values()
        rows.append([_named(figure, prompts, way), *(MISSING if i is None else str(i) for i in intervals)])
    columns = [f"seed {seed}" for seed in runs] + ([ALL] if len(runs) > 1 else [])
    return table(["", *columns], rows)


def _with_yardsticks(runs: Runs, compared: Sequence[tuple[str, str]]) -> str:
    """A row for each figure, a column for each pair of models; over all seeds."""
    rows = []
    for figure, prompts, way in _rows(runs):
        whole = [[*_intervals(runs, *pair, figure, prompts, way).values()][-1] for pair in compared]
        if any(whole):
            rows.append([_named(figure, prompts, way), *("-" if i is None else str(i) for i in whole)])
    return table(["", *(f"{second} minus {first}" for first, second in compared)], rows)


def _hopes(runs: Runs) -> str:
    def cells(model: str, figure: str, than: str | float) -> list[str]:
        found = []
        for run in runs.values():
            value = run.mean(model, FRESH, "greedy", figure)
            goal = than if isinstance(than, float) else run.mean(than, FRESH, "greedy", figure)
            if value is None or goal is None:
                found.append(MISSING)
                continue
            is_reached = value > goal if isinstance(than, str) else value >= goal
            found.append(f"{'yes' if is_reached else 'no'}: {value:.3f} and {goal:.3f}")
        return found

    rows = [
        ["the score of SFT is at least 0.85", *cells(SFT, "score", 0.85)],
        ["the score of ORPO is higher than that of SFT", *cells(ORPO, "score", SFT)],
        [f"the score of ORPO is higher than that of {ON_BEST}", *cells(ORPO, "score", ON_BEST)],
        *(
            [f"the score of {better} is higher than that of {model}", *cells(better, "score", model)]
            for better, model in ((ROUND_2, ORPO), (ORPO, EXAMPLES), (ORPO, GRAPH))
            if _compared(runs, [(model, better)])
        ),
        ["after ORPO, 95 % of the layouts are flawless", *cells(ORPO, "layout flawless", 0.95)],
        ["after ORPO, every answer ends by itself", *cells(ORPO, "ended by itself", 1.0)],
    ]
    return table(["", *(f"seed {seed}" for seed in runs)], rows)
