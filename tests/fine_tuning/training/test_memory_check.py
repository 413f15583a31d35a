"""What training prints before its first step, and how it fails if the GPU is too small."""

import weakref
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from helpers import problems_of
from peft import PeftModel
from trl.trainer.utils import add_fused_lm_head

from fine_tuning.run.options import Options
from fine_tuning.run.presets import EMBEDDED
from fine_tuning.training import memory_check
from fine_tuning.training.adapter import add_adapter, lora_config
from fine_tuning.training.base_model import load_base_model, load_config
from fine_tuning.training.memory_check import (
    LongestStep,
    memory_needs,
    preference_loss,
    row_loss,
    run_once,
    try_on_gpu,
)

OPTIONS = Options("embedded")
ROW = {"input_ids": [0, *[7] * 300, 1], "labels": [-100] * 5 + [7] * 296 + [1]}
SHORT_ROW = {"input_ids": [0, *[7] * 20, 1], "labels": [-100] * 5 + [7] * 16 + [1]}
PAIR = {"prompt": [0, 5, 6], "chosen": [7] * 300 + [1], "rejected": [8] * 300 + [1]}
ROW_LOSS, PAIR_LOSS = row_loss(ROW), preference_loss(PAIR, EMBEDDED.orpo)
STEP = LongestStep(
    "row",
    ROW_LOSS,
    load_config(OPTIONS),
    lora_config(EMBEDDED.lora),
    dtype=torch.float32,
    load_in_4bit=False,
    gradient_checkpointing=True,
)


def make_model() -> PeftModel:
    return add_adapter(load_base_model(OPTIONS), replace(EMBEDDED.lora, dropout=0.3), seed=2025)


@pytest.fixture
def small_gpu(monkeypatch):
    monkeypatch.setattr(memory_check, "device_name", lambda: "cuda")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tiny 1")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (2**29, 2**30))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)


def does_not_fit(*_):
    raise torch.OutOfMemoryError("CUDA out of memory")


def test_the_log_shows_the_dtype_and_what_a_step_needs():
    needs = memory_needs(STEP)
    assert needs["dtype"] == "float32" and needs["counted memory of a step"].startswith("0.")
    assert needs["counted memory of a step"].endswith("GiB of it weights")
    assert memory_needs(replace(STEP, load_in_4bit=True))["dtype"] == "4-bit and float32"


def test_a_family_whose_memory_cannot_be_counted_is_said_to_need_an_unknown_amount(capfd):
    def needs_numbers(model: PeftModel) -> torch.Tensor:
        return torch.zeros(int(torch.ones(1)))  # as a mixture of experts counts the tokens of each expert

    needs = memory_needs(replace(STEP, loss_of=needs_numbers))
    assert needs["counted memory of a step"].startswith("an unknown amount")
    assert capfd.readouterr().err == ""


def test_a_trial_that_the_family_fails_is_refused_in_one_line(small_gpu):
    def fails(model: PeftModel) -> torch.Tensor:
        raise TypeError("forward() got\nan unexpected argument")

    (problem,) = problems_of(try_on_gpu, replace(STEP, loss_of=fails), make_model)
    assert "fails for this family of models (TypeError: forward() got an unexpected argument)" in problem


def test_a_longer_example_needs_more_memory():
    short = replace(STEP, loss_of=row_loss(SHORT_ROW)).count()
    assert STEP.count().peak > short.peak > short.weights


def test_a_step_that_does_not_fit_is_refused_with_its_memory_the_gpus_and_the_flag(small_gpu):
    losses = iter([does_not_fit])  # on the GPU; afterwards the step is counted

    def loss_of(model):
        return next(losses, PAIR_LOSS)(model)

    (problem,) = problems_of(try_on_gpu, replace(STEP, example="pair", loss_of=loss_of), make_model)
    assert "longest pair does not fit" in problem
    assert "Tiny 1 has 1.00 GiB, of which 0.50 GiB are free" in problem and "--load-in-4bit, which needs 0." in problem


def test_a_model_that_does_not_fit_is_refused_in_the_same_way(small_gpu):
    (problem,) = problems_of(try_on_gpu, STEP, does_not_fit)
    assert "longest row does not fit" in problem and "Tiny 1 has 1.00 GiB" in problem


def test_flags_already_given_are_not_suggested(small_gpu):
    (problem,) = problems_of(try_on_gpu, replace(STEP, load_in_4bit=True), does_not_fit)
    assert "--load-in-4bit" not in problem and "--dtype auto" in problem
    (problem,) = problems_of(try_on_gpu, replace(STEP, dtype=torch.bfloat16), does_not_fit)
    assert "--load-in-4bit" in problem and "--dtype auto" not in problem
    assert "gradient_checkpointing" not in problem and "--set max_length" in problem


def test_gradient_checkpointing_is_suggested_where_it_is_off(small_gpu):
    (problem,) = problems_of(try_on_gpu, replace(STEP, gradient_checkpointing=False), does_not_fit)
    assert "use --set gradient_checkpointing=true" in problem


def test_an_error_that_is_not_about_memory_is_raised(small_gpu):
    def fails():
        raise RuntimeError("CUDA error: an illegal memory access")

    with pytest.raises(RuntimeError, match="illegal memory access"):
        try_on_gpu(STEP, fails)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("loss_of", [ROW_LOSS, PAIR_LOSS], ids=["row", "pair"])
def test_the_trial_changes_no_weights_and_no_random_state(dtype: torch.dtype, loss_of: Callable):
    model = make_model()
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run_once(replace(STEP, loss_of=loss_of, dtype=dtype), model)
    assert torch.equal(torch.rand(3), expected)
    for name, weight in model.named_parameters():
        assert torch.equal(weight, before[name]) and weight.grad is None, name


def test_the_loss_of_a_row_that_is_counted_and_tried_is_trls():
    model, longest = make_model(), ROW
    for module in model.modules():
        module.training = False  # no dropout
    with torch.no_grad():
        counted = ROW_LOSS(model)
        ids, labels = (torch.tensor([longest[name]]) for name in ("input_ids", "labels"))
        base = model.get_base_model()
        add_fused_lm_head(base)
        trained = base(input_ids=ids, labels=labels, use_cache=False, fused_lm_head=True).loss
    assert torch.allclose(counted, trained, atol=1e-5)


def test_the_trial_computes_every_gradient():
    model, reached = make_model(), set()
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            weight.register_hook(lambda gradient, name=name: reached.add(name))
    run_once(replace(STEP, loss_of=PAIR_LOSS), model)
    assert reached == {name for name, weight in model.named_parameters() if weight.requires_grad}


def test_the_model_of_the_trial_is_freed(small_gpu):
    made = []

    def make():
        model = make_model()
        made.append(weakref.ref(model))
        return model

    try_on_gpu(STEP, make)
    assert len(made) == 1 and made[0]() is None


def test_on_a_cpu_nothing_is_tried():
    try_on_gpu(replace(STEP, loss_of=does_not_fit), does_not_fit)
