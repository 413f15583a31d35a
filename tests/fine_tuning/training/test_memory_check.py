"""What training says before its first step, and how it ends where the GPU is too small."""

import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fine_tuning.common import add_adapter, load_base_model
from fine_tuning.run.options import Options
from fine_tuning.run.presets import EMBEDDED
from fine_tuning.run.workspace import Workspace
from fine_tuning.training import memory_check
from fine_tuning.training.memory_check import (
    announce,
    longest_pair_loss,
    longest_row_loss,
    trl_loss,
    try_on_gpu,
    try_step,
)

OPTIONS = Options("embedded", None, Workspace(Path("nowhere")), 2025, None, "auto", False, False)
ROWS = [{"input_ids": [0, *[7] * n, 1], "labels": [-100] * 5 + [7] * (n - 4) + [1]} for n in (20, 300, 40)]
PAIRS = [{"prompt": [0, 5, 6], "chosen": [7] * n + [1], "rejected": [8] * n + [1]} for n in (20, 300, 40)]


def model():
    return add_adapter(load_base_model(OPTIONS), OPTIONS, replace(EMBEDDED, lora_dropout=0.3))


@pytest.fixture
def small_gpu(monkeypatch):
    monkeypatch.setattr(memory_check, "device_name", lambda: "cuda")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tiny 1")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (2**29, 2**30))

    for name in ("empty_cache", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)


def does_not_fit(_):
    raise torch.OutOfMemoryError("CUDA out of memory")


def test_the_need_of_the_longest_example_and_the_dtype_are_announced(capsys):
    figures = announce(OPTIONS, EMBEDDED, longest_row_loss(ROWS), "row")
    printed = capsys.readouterr().out
    assert figures["dtype"] == "float32" and "float32 on" in printed
    assert "longest row needs 0." in printed and "GiB of it weights" in printed
    short = memory_check._count(OPTIONS, EMBEDDED, longest_row_loss(ROWS[:1]))
    assert memory_check._count(OPTIONS, EMBEDDED, longest_row_loss(ROWS)).peak > short.peak > short.weights


def test_a_step_that_does_not_fit_ends_with_the_figure_the_size_and_the_flag(small_gpu, capsys):
    on_the_gpu, counted = iter([does_not_fit]), longest_pair_loss(PAIRS, EMBEDDED)

    with pytest.raises(SystemExit) as stopped:
        try_on_gpu(model, OPTIONS, EMBEDDED, lambda model: next(on_the_gpu, counted)(model), "pair")
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and "longest pair does not fit" in error
    assert "Tiny 1 has 1.00 GiB, of which 0.50 GiB are free" in error and "--load-in-4bit, which needs 0." in error


def test_a_model_that_does_not_fit_ends_in_the_same_way(small_gpu, capsys):
    with pytest.raises(SystemExit) as stopped:
        try_on_gpu(lambda: does_not_fit(None), OPTIONS, EMBEDDED, longest_row_loss(ROWS), "row")
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and "does not fit" in error and "Traceback" not in error


def test_flags_that_were_given_are_not_advised(small_gpu, capsys):
    given = replace(OPTIONS, load_in_4bit=True, dtype="float32")
    with pytest.raises(SystemExit):
        try_on_gpu(lambda: does_not_fit(None), given, EMBEDDED, longest_row_loss(ROWS), "row")
    error = capsys.readouterr().err
    assert "--load-in-4bit" not in error and "--dtype auto" in error


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("loss_of", [longest_row_loss(ROWS), longest_pair_loss(PAIRS, EMBEDDED)])
def test_the_trial_leaves_no_trace(dtype, loss_of):
    tuned = model()
    before = {name: weight.clone() for name, weight in tuned.named_parameters()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    try_step(tuned, loss_of, dtype, gradient_checkpointing=True)
    assert torch.equal(torch.rand(3), expected)
    for name, weight in tuned.named_parameters():
        assert torch.equal(weight, before[name]) and weight.grad is None, name


def test_the_loss_that_is_tried_on_a_gpu_is_the_one_that_is_counted():
    tuned, longest = model(), ROWS[1]
    for module in tuned.modules():
        module.training = False  # no dropout
    with torch.no_grad():
        counted = longest_row_loss(ROWS)(tuned)
        ids, labels = (torch.tensor([longest[name]]) for name in ("input_ids", "labels"))
        tried = trl_loss(tuned.get_base_model(), ids, labels)
    assert torch.allclose(counted, tried, atol=1e-5)


def test_the_trial_computes_every_gradient():
    tuned, reached = model(), set()
    for name, weight in tuned.named_parameters():
        if weight.requires_grad:
            weight.register_hook(lambda gradient, name=name: reached.add(name))
    try_step(tuned, longest_pair_loss(PAIRS, EMBEDDED), torch.float32, gradient_checkpointing=True)
    assert reached == {name for name, weight in tuned.named_parameters() if weight.requires_grad}


def test_on_a_gpu_the_tried_model_is_freed(small_gpu):
    made = []

    def make():
        tuned = model()
        made.append(weakref.ref(tuned))
        return tuned

    try_on_gpu(make, OPTIONS, EMBEDDED, longest_row_loss(ROWS), "row")
    assert len(made) == 1 and made[0]() is None


def test_on_a_cpu_nothing_is_tried():
    try_on_gpu(lambda: does_not_fit(None), OPTIONS, EMBEDDED, does_not_fit, "row")
