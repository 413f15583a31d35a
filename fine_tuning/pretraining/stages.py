"""The stages of the embedded model's pre-training, and the rows of each stage."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random

from create_dataset.graphs import MAX_SHAPES
from fine_tuning.pretraining.rows import Mix, PretrainingRow, pretraining_row

SEED = 2025
BATCH_SIZE = 32
GROUP = 16  # batches are made in groups of this many: rows of similar length can then share a batch
EASY_SHAPES = 4
MORE_LISTS = 0.6  # share of lists in the easy part of a stage and in its last part: fine-tuning teaches to draw
LAST = 0.9  # share of the steps after which the last part begins


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of pre-training with its own rows and its own learning rate schedule, from the peak to almost zero.

    `easy_until` is a share of the steps: until then, the limit on shapes rises from EASY_SHAPES to MAX_SHAPES.
    `heads` maps each linear head to the number of layers below it, and `pointers` maps each attention loss to the layer
    and the head in it that it trains (auxiliary_heads.py).
    """

    name: str
    steps: int
    mix: Mix
    muon_lr: float
    adam_lr: float
    easy_until: float
    heads: Mapping[str, int]
    pointers: Mapping[str, tuple[int, int]]


_POINTERS = {"again": (2, 0), "grouped": (5, 0), "copies": (5, 1), "linked": (6, 0)}
_HEADS = {"firsts": 4, "shapes": 5, "starts": 5, "lines": 5, "edges": 6, "kinds": 6}
STAGES = (
    Stage("first", 4500, Mix(flows=10, lists=0.15, large=0.3), 3e-3, 2e-3, 0.25, _HEADS, _POINTERS),
    Stage("more", 2200, Mix(flows=16, lists=0.15, large=0.4, more_forms=True), 2e-3, 1.5e-3, 0.0, _HEADS, _POINTERS),
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
