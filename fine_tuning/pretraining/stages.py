"""The stages of the embedded model's pre-training, and the rows of each stage."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random

from fine_tuning.pretraining.batches import MAX_SHAPES
from fine_tuning.pretraining.rows import COMPLETE_STYLE, Mix, PretrainingRow, pretraining_row

SEED = 2025
BATCH_SIZE = 32
GROUP = 16  # batches are made in groups of this many: rows of similar length can then share a batch
EASY_SHAPES = 4
MORE_LISTS = 0.6  # share of lists in the easy part of a stage and in its last part
LAST = 0.9  # share of the steps after which the last part begins


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of pre-training with its own rows and its own learning rate schedule, from the peak to almost zero.

    `easy_until` is a share of the steps: until then, the limit on shapes rises from EASY_SHAPES to MAX_SHAPES.
    `new_layers` are inserted when the stage starts. Their positions are those in the larger model, counted from 0.
    `heads` maps each linear head to the number of layers below it, and `pointers` maps each attention loss to the layer
    that it trains (auxiliary_heads.py).
    """

    name: str
    steps: int
    mix: Mix
    muon_lr: float
    adam_lr: float
    easy_until: float
    new_layers: tuple[int, ...]
    heads: Mapping[str, int]
    pointers: Mapping[str, int]


_HEADS = {"firsts": 4, "shapes": 5, "starts": 5, "lines": 5, "edges": 6, "kinds": 6}
_POINTERS = {"again": 2, "grouped": 5, "linked": 6}
_NETWORKS = Mix(
    flows=6, lists=0.15, shuffled=True, more_wordings=True, more_networks=True, style=COMPLETE_STYLE, large=0.5
)
_COUNTING = Stage(
    "fourth",
    1472,
    _NETWORKS,
    2.5e-3,
    1e-3,
    easy_until=0.0,
    new_layers=(),
    heads=_HEADS,
    pointers=_POINTERS,
)
# Mostly lists at the end: it is fine-tuning that teaches the model to answer with a diagram.
_LISTS = Stage(
    "last",
    400,
    replace(_NETWORKS, lists=0.6),
    5e-4,
    2e-3,
    easy_until=0.0,
    new_layers=(),
    heads={},
    pointers=_POINTERS,
)
# From here on, lists begin with "[" as diagrams do: while only diagrams did, its probability was at most 0.9956.
_BRACKETED = replace(_NETWORKS, heading="[Shapes:")
_RUNS = replace(_BRACKETED, flows=8, more_runs=True)
STAGES = (
    Stage("first", 3000, Mix(flows=3, lists=0.25, shuffled=False), 3e-3, 2e-3, 0.25, (), {"shapes": 2, "edges": 3}, {}),
    Stage(
        "second",
        3000,
        Mix(flows=6, lists=0.2, shuffled=True),
        2e-3,
        1e-3,
        easy_until=0.0,
        new_layers=(2, 5),
        heads={"firsts": 4, "shapes": 5, "lines": 5, "edges": 6, "kinds": 6},
        pointers={"again": 2, "found": 5, "linked": 6},
    ),
    Stage(
        "third",
        900,
        Mix(flows=5, lists=0.2, shuffled=True, more_wordings=True),
        1.5e-3,
        1e-3,
        easy_until=0.0,
        new_layers=(),
        heads=_HEADS,
        pointers=_POINTERS,
    ),
    _COUNTING,
    _LISTS,
    replace(_COUNTING, name="again", steps=2600, muon_lr=2e-3),
    replace(_LISTS, name="last again", steps=300),
    replace(_COUNTING, name="bracketed", steps=2400, muon_lr=2e-3, mix=_BRACKETED),
    replace(_LISTS, name="last bracketed", steps=300, mix=replace(_BRACKETED, lists=0.6)),
    replace(_COUNTING, name="runs", steps=1200, muon_lr=2e-3, mix=_RUNS),
    replace(_LISTS, name="last runs", steps=300, mix=replace(_RUNS, lists=0.6)),
)


def rows_of(stage: Stage, group: int, steps: int) -> tuple[Random, list[PretrainingRow]]:
    """Return the rows of a group of GROUP steps, and the random generator they came from, which also shuffles batches.

    The rows depend only on the stage, its number of steps and the group's number: resuming needs no saved state.
    """
    rng = Random(f"{SEED} rows {group}" if stage.name == "first" else f"{SEED} {stage.name} rows {group}")
    done = group * GROUP / steps
    limit = MAX_SHAPES
    if done < stage.easy_until:
        limit = round(EASY_SHAPES + (MAX_SHAPES - EASY_SHAPES) * done / stage.easy_until)
    mix = replace(stage.mix, lists=MORE_LISTS) if done < stage.easy_until or done >= LAST else stage.mix
    return rng, [pretraining_row(rng, limit, mix) for _ in range(GROUP * BATCH_SIZE)]
