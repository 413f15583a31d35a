"""A step on several examples is the same, whether one process works through them or several share them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.data_loader import SeedableRandomSampler
from hypothesis import given
from hypothesis import strategies as st
from launching import launch
from torch import nn

from fine_tuning.run.processes import Processes
from fine_tuning.training.adapter_gradients import AdapterGradients
from fine_tuning.training.global_batch import PLAIN, GlobalBatch, SharedOrder, Sharing, draw_for, several_examples

SFT = ["sft", "5", "2", "1", "0.1"]  # 5 examples, 2 in a step, 1 epoch, dropout 0.1
SIZES = st.tuples(st.integers(1, 40), st.integers(1, 4), st.integers(1, 4))  # examples, processes, micro-steps of each


def order_of(examples: int) -> SeedableRandomSampler:
    return SeedableRandomSampler(range(examples), generator=torch.Generator(), data_seed=7)


def taken(examples: int, count: int, in_step: int) -> list[list[list[int]]]:
    """The examples of each optimiser step of an epoch, for each process."""
    steps = []
    sharings = [Sharing(examples, count * in_step, Processes(rank, count, rank, count)) for rank in range(count)]
    orders = [list(SharedOrder(order_of(examples), sharing)) for sharing in sharings]
    for step in range(sharings[0].optimiser_steps):
        own = []
        for sharing, order in zip(sharings, orders, strict=True):
            numbers = order[step * in_step : (step + 1) * in_step]
            own.append([example for k, example in enumerate(numbers) if sharing.is_there(step, k)])
        steps.append(own)
    return steps


@given(SIZES)
def test_no_example_is_taken_twice_and_none_is_left_out(sizes):
    examples, *_ = sizes
    everything = [example for step in taken(*sizes) for own in step for example in own]
    assert sorted(everything) == list(range(examples))


@given(SIZES)
def test_every_number_of_processes_takes_the_same_examples_in_a_step(sizes):
    examples, count, in_step = sizes
    order = list(order_of(examples))
    size = count * in_step
    expected = [sorted(order[first : first + size]) for first in range(0, examples, size)]
    assert [sorted(sum(step, [])) for step in taken(*sizes)] == expected


@given(SIZES)
def test_all_processes_make_the_same_number_of_steps(sizes):
    examples, count, in_step = sizes
    lengths = {
        len(list(SharedOrder(order_of(examples), Sharing(examples, count * in_step, Processes(rank, count)))))
        for rank in range(count)
    }
    assert len(lengths) == 1


def test_the_order_of_another_epoch_is_another():
    order = SharedOrder(order_of(20), Sharing(20, 2, Processes(0, 2)))
    first = list(order)
    order.set_epoch(1)
    assert list(order) != first
    order.set_epoch(0)
    assert list(order) == first


def test_the_gradient_is_the_mean_over_all_tokens_of_the_batch():
    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    first, second = torch.randn(3, 2), torch.randn(5, 2)  # two rows of tokens
    batch = GlobalBatch(AdapterGradients([weight]), ["accuracy"])
    for row, accuracy in ((first, 1.0), (second, 0.0)):
        batch.gradients.attach()
        loss = (row @ weight).square().mean()
        loss.backward()
        batch.add(len(row), loss.detach(), torch.tensor(accuracy))
    batch.reduce(is_plain=True)
    together = (torch.cat([first, second]) @ weight).square().mean()
    assert torch.allclose(weight.grad, torch.autograd.grad(together, weight)[0])
    loss, accuracy = batch.figures["loss", "accuracy"].tolist()
    assert loss == pytest.approx(together.item()) and accuracy == pytest.approx(3 / 8)
    assert batch.figures[PLAIN,].item() == 1


def test_the_next_batch_begins_at_zero():
    weight = nn.Parameter(torch.ones(1))
    batch = GlobalBatch(AdapterGradients([weight]), [])
    for factor in (3.0, 5.0):
        batch.gradients.attach()
        (factor * weight).backward()
        batch.add(1, factor * weight.detach(), torch.empty(0))
        batch.reduce(is_plain=False)
        assert (weight.grad.item(), batch.figures["loss",].item()) == (factor, factor)
        batch.gradients.zero()


def test_dropout_depends_on_seed_step_and_example_and_on_nothing_else():
    drawn = set()
    for numbers in ((1, 2, 3), (1, 2, 4), (1, 3, 3), (2, 2, 3)):
        draw_for(*numbers)
        value = torch.rand(1).item()
        torch.rand(10)
        draw_for(*numbers)
        assert torch.rand(1).item() == value
        drawn.add(value)
    assert len(drawn) == 4


def test_the_printed_line_says_who_works_on_the_examples():
    assert several_examples(4, 1) == "each step trains on 4 examples, one after another (a global batch of 4)"
    assert several_examples(2, 2) == "each step trains on 2 examples in 2 processes, one each (a global batch of 2)"
    assert "in 2 processes, 3 each, one after another (a global batch of 6)" in several_examples(6, 2)


def trained(count: int, words: list[str], folder: Path) -> dict[str, Any]:
    (status, output, errors), *others = launch(count, "tests/train_step.py", *words, folder)
    assert status == 0, errors
    assert [other[:2] for other in others] == [(0, "")] * (count - 1)
    result: dict[str, Any] = json.loads(output.splitlines()[-1])
    return result


@pytest.fixture(scope="module")
def sft_of_two(tmp_path_factory) -> dict[str, Any]:
    """Step 1 with two processes."""
    return trained(2, SFT, tmp_path_factory.mktemp("together"))


def assert_same(alone: dict[str, Any], together: dict[str, Any]) -> None:
    assert len(alone["gradients"]) == len(together["gradients"]) == 3
    for one, two in zip(alone["gradients"], together["gradients"], strict=True):
        one, two = torch.tensor(one), torch.tensor(two)
        assert one.norm() > 0.01
        assert (one - two).norm() <= 1e-6 * one.norm()
    for one, two in zip(alone["history"], together["history"], strict=True):
        assert one == pytest.approx(two, rel=1e-6)
    assert any("eval_loss" in entry for entry in alone["history"])


def test_two_processes_make_the_steps_of_one_with_accumulation_in_step_1(sft_of_two, tmp_path):
    """With dropout, and with an incomplete batch at the end of the epoch."""
    assert_same(trained(1, SFT, tmp_path), sft_of_two)


def test_two_processes_make_the_steps_of_one_with_accumulation_in_step_3(tmp_path):
    alone, together = (trained(count, ["orpo", "5", "2", "1", "0"], tmp_path / str(count)) for count in (1, 2))
    assert_same(alone, together)


def test_a_training_goes_on_as_undisturbed_when_a_process_was_killed(sft_of_two, tmp_path):
    words = ["tests/train_step.py", *SFT, tmp_path]
    (status, _, errors), (killed, *_) = launch(2, *words, KILLED_AT="3")
    assert (status, killed) == (2, -9)
    assert "error: process 0: another process has ended or does not answer" in errors
    assert (tmp_path / "checkpoint-2" / "whole.json").exists()
    (status, output, errors), _ = launch(2, *words)
    assert status == 0, errors
    assert "continuing from" in output
    continued = json.loads(output.splitlines()[-1])
    assert continued["adapter"] == sft_of_two["adapter"]
    assert continued["history"][:-1] == sft_of_two["history"][:-1]
