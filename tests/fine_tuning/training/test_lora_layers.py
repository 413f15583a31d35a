"""The LoRA layers for training compute the same as PEFT's own."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.helpers import disable_input_dtype_casting
from peft.tuners.lora import LoraLayer
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM

from fine_tuning.run.options import EMBEDDED_FOLDER
from fine_tuning.run.presets import EMBEDDED
from fine_tuning.training.lora_layers import lean_adapters

IDS = torch.arange(10, 70).view(2, 30)


def make_model(dtype: torch.dtype, dropout: float = 0.0) -> PeftModel:
    """The embedded model with an adapter whose B is not zero, so that the adapter changes the output."""
    torch.manual_seed(1)
    base = AutoModelForCausalLM.from_pretrained(EMBEDDED_FOLDER, dtype=dtype)
    lora = LoraConfig(r=4, lora_alpha=12, lora_dropout=dropout, target_modules=list(EMBEDDED.lora.modules))
    model = get_peft_model(base, lora, autocast_adapter_dtype=dtype is not torch.float64)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    return model.train()


def loss_and_gradients(model: PeftModel) -> tuple[Tensor, Tensor]:
    torch.manual_seed(2)  # of dropout
    loss = model(input_ids=IDS, labels=IDS).loss
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    return loss, torch.cat([gradient.flatten() for gradient in torch.autograd.grad(loss, trained)])


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_loss_and_gradients_equal_those_of_peft(dropout):
    model = make_model(torch.float64, dropout)
    loss, gradients = loss_and_gradients(model)
    with lean_adapters(model):
        lean_loss, lean_gradients = loss_and_gradients(model)
    # Llama's norms always compute in float32, which can enlarge a difference in the last bit of float64.
    assert abs(lean_loss - loss) < 1e-6 * loss
    assert (lean_gradients - gradients).norm() < 1e-5 * gradients.norm()


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_with_autocast_and_gradient_checkpointing_they_round_no_worse_than_pefts(dropout):
    def result(
        dtype: torch.dtype, forward: Callable[[PeftModel], AbstractContextManager[None]]
    ) -> tuple[Tensor, Tensor]:
        model = make_model(dtype, dropout)
        model.activation_checkpointing_enable({"use_reentrant": True})
        model.enable_input_require_grads()
        torch.manual_seed(2)
        with forward(model):
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16):
                loss = model(input_ids=IDS, labels=IDS).loss
            loss.backward()  # a reentrant checkpoint does not support torch.autograd.grad
        return loss, torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])

    loss, exact = result(torch.float32, disable_input_dtype_casting)
    _, peft_gradients = result(torch.bfloat16, disable_input_dtype_casting)
    lean_loss, lean_gradients = result(torch.bfloat16, lean_adapters)
    assert abs(lean_loss - loss) < 0.01 * loss
    assert (lean_gradients - exact).norm() < 1.2 * (peft_gradients - exact).norm()


def test_layers_of_two_dtypes_without_autocast_use_pefts_forward():
    model = make_model(torch.bfloat16)
    loss, gradients = loss_and_gradients(model)
    with lean_adapters(model):
        same_loss, same_gradients = loss_and_gradients(model)
    assert loss == same_loss and torch.equal(gradients, same_gradients)


def test_a_disabled_or_merged_adapter_is_not_added():
    model = make_model(torch.float32)
    with torch.no_grad(), lean_adapters(model):
        loss = model(input_ids=IDS, labels=IDS).loss
        with model.disable_adapter():
            assert abs(model(input_ids=IDS, labels=IDS).loss - loss) > 0.1
        model.merge_adapter()
        torch.testing.assert_close(model(input_ids=IDS, labels=IDS).loss, loss)


def test_pefts_forward_is_restored_even_after_an_error():
    model = make_model(torch.float32)
    with pytest.raises(KeyError), lean_adapters(model):
        assert any("forward" in vars(module) for module in model.modules())
        raise KeyError
    assert not any("forward" in vars(module) for module in model.modules())


class Multiplied(TorchDispatchMode):
    """Counts the numbers that elementwise products make; matrix products do not count."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket is torch.ops.aten.mul:
            self.count += result.numel()
        return result


def test_no_operation_scales_the_outputs_of_the_layers():
    model = make_model(torch.float32)
    with Multiplied() as of_peft:
        loss_and_gradients(model)
    with lean_adapters(model), Multiplied() as lean:
        loss_and_gradients(model)
    outputs = sum(layer.out_features for layer in model.modules() if isinstance(layer, LoraLayer))
    assert of_peft.count - lean.count > outputs * IDS.numel()
