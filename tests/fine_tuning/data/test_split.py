"""The split by prompt: every prompt on one side, every family in proportion, no training on a held-out prompt."""

from collections import Counter

import pytest
from helpers import ROOT
from hypothesis import given
from hypothesis import strategies as st

from fine_tuning.data.csv_rows import Row, read_rows
from fine_tuning.data.split import held_out_rows, limit_prompts, split_prompts
from fine_tuning.run.errors import UserError

FOLDER = ROOT / "create_dataset"


def row(prompt: str, family: str = "diagram", answer: str = "") -> Row:
    return Row(prompt, answer, 1.0, family, {})


ROWS = st.lists(
    st.builds(row, st.sampled_from("abcdefghijkl"), st.sampled_from(["dl_model", "flowchart"]), st.sampled_from("xyz")),
    max_size=60,
)


def prompts_of(rows: list[Row]) -> set[str]:
    return {row.prompt for row in rows}


@pytest.mark.parametrize(
    ("name", "train", "validation"),
    [
        ("sft_dataset_llm.csv", {"dl_model": 224, "flowchart": 336}, {"dl_model": 56, "flowchart": 84}),
        ("orpo_dataset_llm.csv", {"dl_model": 64, "flowchart": 96}, {"dl_model": 16, "flowchart": 24}),
    ],
)
def test_the_committed_files_are_split_80_to_20_within_each_family(name, train, validation):
    rows = read_rows(FOLDER / name, "orpo" in name, remedy="")
    sides = split_prompts(rows, 2025)
    counts = [Counter(row.family for row in rows if row.prompt in side) for side in sides]
    assert counts == [train, validation]


def test_a_seed_decides_the_split():
    rows = [row(f"prompt {k}") for k in range(100)]
    assert split_prompts(rows, 1) == split_prompts(rows, 1)
    assert split_prompts(rows, 1) != split_prompts(rows, 2)


@given(ROWS, st.integers())
def test_every_prompt_is_on_exactly_one_side_and_no_side_is_empty(rows, seed):
    if len(prompts_of(rows)) < 2:
        with pytest.raises(UserError, match="at least 2"):
            split_prompts(rows, seed)
        return
    train, validation = split_prompts(rows, seed)
    assert train and validation
    assert not train & validation
    assert train | validation == prompts_of(rows)
    assert len(validation) == max(1, round(0.2 * len(prompts_of(rows))))


@pytest.mark.parametrize("size", [1, 2])
def test_with_many_small_families_the_seed_decides_which_are_held_out(size):
    rows = [row(f"prompt {k}", f"family {k // size}") for k in range(100)]
    held_out = [split_prompts(rows, seed)[1] for seed in range(20)]
    assert all(len(prompts) == 20 for prompts in held_out)
    assert len(set.union(*held_out)) > 90


@given(ROWS, st.integers(0, 9))
def test_appended_samples_do_not_change_the_split(rows, seed):
    if len(prompts_of(rows)) >= 2:
        assert split_prompts(rows, seed) == split_prompts([*rows, *(row(r.prompt, "other", "s") for r in rows)], seed)


@given(ROWS, st.none() | st.integers(1, 20))
def test_a_limit_keeps_all_rows_of_that_many_prompts_in_order(rows, limit):
    kept = limit_prompts(rows, limit)
    prompts = prompts_of(kept)
    assert len(prompts) == min(len(prompts_of(rows)), 99 if limit is None else limit)
    assert kept == [row for row in rows if row.prompt in prompts]


def test_a_limit_takes_each_family_in_proportion():
    rows = [row(f"n{k}", "dl_model") for k in range(40)] + [row(f"f{k}", "flowchart") for k in range(60)]
    assert Counter(row.family for row in limit_prompts(rows, 10)) == {"dl_model": 4, "flowchart": 6}
    assert Counter(row.family for row in limit_prompts(rows, 2)) == {"dl_model": 1, "flowchart": 1}


def test_no_step_trains_on_a_held_out_prompt_even_if_both_files_have_it():
    names = [f"prompt {k}" for k in range(60)]
    sft = [row(name, "a") for name in names[:40]]
    orpo = [row(name, "a") for name in names[20:]] + [Row(names[-1], "a sample", 0.5, "a", {})]
    (sft_train, sft_held_out), (orpo_train, orpo_held_out) = split_prompts(sft, 3), split_prompts(orpo, 3)
    held_out = [r.prompt for r in held_out_rows([*sft, *orpo], sft_train | orpo_train)]
    assert set(held_out) == (sft_held_out | orpo_held_out) - sft_train - orpo_train
    assert sft_held_out & orpo_train and orpo_held_out & sft_train  # the files do share such prompts
    assert len(held_out) == len(set(held_out)) and held_out == sorted(held_out, key=names.index)
