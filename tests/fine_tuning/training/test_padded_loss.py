"""Padding hides exactly: losses and gradients of padded examples equal those of the examples alone."""

import pytest
import torch
from tiny_llama import gradients, ids_of, pair_of, tiny_llama
from transformers import MistralConfig, MistralForCausalLM
from trl.trainer.utils import add_fused_lm_head

from fine_tuning.training import orpo_loss, sft_loss
from fine_tuning.training.length_buckets import Bucket, Lengths, bucket_of
from fine_tuning.training.orpo_loss import pair_loss
from fine_tuning.training.padded_example import PaddedExample
from fine_tuning.training.padded_loss import attending_to_padded, padded_pair_loss, padded_row_loss
from fine_tuning.training.pair_batch import collate_pairs
from fine_tuning.training.sft_loss import row_loss

LENGTHS = [Lengths(40, 70, 30), Lengths(5, 187, 128), Lengths(200, 3, 140), Lengths(2, 1, 1), Lengths(257, 20, 60)]


def assert_equal(found, expected):
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("nll_over_prompt", [False, True])
def test_the_loss_of_a_padded_pair_and_its_gradients_are_those_of_the_pair(lengths, nll_over_prompt, monkeypatch):
    monkeypatch.setattr(orpo_loss, "CHUNK_LOGITS", 300 * 100)  # several chunks
    model, pair = tiny_llama(), pair_of(lengths)
    base = model.get_base_model()
    expected = pair_loss(base, collate_pairs([pair]), 0.5, nll_over_prompt)
    plain = gradients(model, expected.loss)
    example = PaddedExample(bucket_of(lengths), torch.device("cpu"))
    example.fill(ids_of(pair), lengths, nll_over_prompt)
    with attending_to_padded(base):
        found = padded_pair_loss(base, example, 0.5)
        assert_equal(gradients(model, found.loss), plain)
    figures = ("loss", "nll", "chosen_log_probs", "rejected_log_probs", "log_odds_ratios")
    assert_equal([getattr(found, name) for name in figures], [getattr(expected, name) for name in figures])


def test_what_stood_in_the_buffers_before_changes_nothing():
    model, pair = tiny_llama(), pair_of(LENGTHS[0])
    used, new = (PaddedExample(Bucket(192, 128, 512), torch.device("cpu")) for _ in range(2))
    used.fill(ids_of(pair_of(LENGTHS[1])), LENGTHS[1], nll_over_prompt=True)
    base = model.get_base_model()
    with attending_to_padded(base):
        losses = []
        for example in (used, new):
            example.fill(ids_of(pair), LENGTHS[0])
            losses.append(padded_pair_loss(base, example, 0.5).loss)
    assert torch.equal(*losses)


@pytest.mark.parametrize("lengths", [Lengths(40, 70), Lengths(100, 92), Lengths(2, 1)])
def test_the_loss_of_a_padded_row_and_its_gradients_are_those_of_the_row(lengths, monkeypatch):
    monkeypatch.setattr(sft_loss, "CHUNK_LOGITS", 300 * 50)
    model, pair = tiny_llama(), pair_of(Lengths(*lengths[:2], 0))
    base, ids = model.get_base_model(), ids_of(pair)
    loss, accuracy = row_loss(base, torch.tensor([ids]), lengths.prompt)
    plain = gradients(model, loss)
    example = PaddedExample(bucket_of(lengths), torch.device("cpu"))
    example.fill(ids, lengths)
    with attending_to_padded(base):
        found, found_accuracy = padded_row_loss(base, example)
        assert_equal(gradients(model, found), plain)
    assert_equal([found, found_accuracy.double()], [loss, accuracy.double()])


def test_sliding_windows_are_kept():
    torch.manual_seed(1)
    config = MistralConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        vocab_size=300, sliding_window=16,
    )  # fmt: skip
    base, pair = MistralForCausalLM(config).double(), pair_of(LENGTHS[0])
    expected = pair_loss(base, collate_pairs([pair]), 0.5).loss
    example = PaddedExample(bucket_of(LENGTHS[0]), torch.device("cpu"))
    example.fill(ids_of(pair), LENGTHS[0])
    with attending_to_padded(base):
        torch.testing.assert_close(padded_pair_loss(base, example, 0.5).loss, expected)


def test_the_loss_of_a_row_is_trls_loss(monkeypatch):
    monkeypatch.setattr(sft_loss, "CHUNK_LOGITS", 300 * 50)
    model, pair = tiny_llama(), pair_of(Lengths(40, 110, 0))
    base, ids = model.get_base_model(), torch.tensor([ids_of(pair)])
    base.set_attn_implementation("sdpa")
    loss, _ = row_loss(base, ids, 40)
    ours = gradients(model, loss)
    labels = ids.clone()
    labels[:, :40] = -100
    add_fused_lm_head(base)
    of_trl = base(input_ids=ids, labels=labels, use_cache=False, fused_lm_head=True).loss
    torch.testing.assert_close(loss.float(), of_trl, rtol=1e-4, atol=0)
    for one, other in zip(ours, gradients(model, of_trl), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
