"""Masks of dropout are drawn before a step, and both computations of a checkpointed layer use the same one."""

import torch
from tiny_llama import adapter_of, gradients, ids_of, pair_of, tiny_llama
from torch import nn

from fine_tuning.training.dropout_masks import DropoutMasks, has_other_dropout, without_lora_dropout
from fine_tuning.training.graphed_steps import capturable_checkpointing
from fine_tuning.training.length_buckets import Lengths
from fine_tuning.training.lora_layers import lean_adapters
from fine_tuning.training.sft_loss import row_loss

IDS = torch.tensor([ids_of(pair_of(Lengths(20, 44, 0)))])


def loss_and_gradients(model, masks):
    with lean_adapters(model), masks.applied(IDS.shape[1]), capturable_checkpointing(model):
        loss, _ = row_loss(model.get_base_model(), IDS, 20)
        return [loss, *gradients(model, loss)]


def test_a_checkpointed_layer_is_computed_again_with_the_forwards_mask():
    model = tiny_llama(dropout=0.5).train()
    masks = DropoutMasks(model, tokens=64)
    masks.draw(64)
    kept = loss_and_gradients(model, masks)
    model.activation_checkpointing_enable({"use_reentrant": False})
    calls = []
    for layer in model.get_base_model().model.layers:
        layer.self_attn.register_forward_hook(lambda *_: calls.append(1))
    computed_again = loss_and_gradients(model, masks)
    assert len(calls) == 4  # two layers, twice
    for one, other in zip(computed_again, kept, strict=True):
        torch.testing.assert_close(one, other)
    masks.draw(64)
    assert not torch.allclose(loss_and_gradients(model, masks)[1], kept[1])  # so the masks do matter


def test_masks_keep_the_share_that_dropout_keeps_and_scale_it():
    torch.manual_seed(0)
    model = tiny_llama(dropout=0.25, hidden_size=64).train()
    masks = DropoutMasks(model, tokens=200)
    masks.draw(200)
    drawn = []
    with masks.applied(200):
        for name, module in model.named_modules():
            if name.endswith("lora_dropout.default"):
                drawn.append(module(torch.ones(1, 200, 64)))
    assert len(drawn) == 8  # four modules of each of two layers
    for values in drawn:
        assert set(values.unique().tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
        assert abs(float((values > 0).float().mean()) - 0.75) < 0.03
    agreement = float(((drawn[0] > 0) == (drawn[1] > 0)).float().mean())
    assert abs(agreement - (0.75**2 + 0.25**2)) < 0.03  # masks of two layers are independent


def test_masks_that_keep_all_are_no_dropout():
    model = tiny_llama(dropout=0.25).train()
    masks = DropoutMasks(model, tokens=100)
    masks.draw(100)
    masks.keep_all()
    found = loss_and_gradients(model, masks)
    with lean_adapters(model), without_lora_dropout(model):
        loss, _ = row_loss(model.get_base_model(), IDS, 20)
        for one, other in zip(found, [loss, *gradients(model, loss)], strict=True):
            torch.testing.assert_close(one, other)
    dropouts = [module for module in model.modules() if isinstance(module, nn.Dropout)]
    assert {dropout.p for dropout in dropouts} == {0.25}  # as before


def test_dropout_outside_of_the_adapter_is_noticed():
    assert not has_other_dropout(tiny_llama(dropout=0.25))
    assert has_other_dropout(tiny_llama(attention_dropout=0.1))
    assert adapter_of(tiny_llama())
