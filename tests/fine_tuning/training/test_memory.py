"""The counted peak memory of training stays within its goals and does not grow unnoticed."""

import pytest
import torch
from peft import LoraConfig
from transformers import LlamaConfig

from benchmarks.memory import CONFIG, count, orpo_loss
from fine_tuning.run.presets import REAL
from fine_tuning.training.adapter import lora_config
from fine_tuning.training.memory import GIB, count_step

RECORDED = {"SFT": 2.927, "ORPO": 3.159, "SFT, 4-bit (computed)": 1.250, "ORPO, 4-bit (computed)": 1.481}  # GiB
LORA = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj"])
SMALL = LlamaConfig(
    hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128, vocab_size=100,
    tie_word_embeddings=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def counted():
    return {name: count(name) for name in RECORDED}


@pytest.mark.parametrize("name", RECORDED)
def test_peak_memory_has_not_grown_by_more_than_3_percent(counted, name):
    assert counted[name].peak / GIB < 1.03 * RECORDED[name]


def test_peak_memory_meets_its_goals(counted):
    assert counted["ORPO"].ratio <= 1.25 and counted["SFT"].ratio <= 1.2
    assert counted["ORPO, 4-bit (computed)"].peak < 2 * GIB and counted["SFT, 4-bit (computed)"].peak < 2 * GIB


def test_the_counted_weights_are_the_real_model_and_its_adapter(counted):
    adapter = 24 * 4 * 2 * 2048 * REAL.lora.rank
    inverse_frequencies = 2 * 64 * 4
    assert counted["ORPO"].weights == 2 * 1_346_471_936 + 4 * adapter + inverse_frequencies


def test_4_bit_linear_layers_count_a_quarter_and_their_scales(counted):
    linear = 24 * (4 * 2048**2 + 3 * 2048 * 5504)
    saved = counted["ORPO"].weights - counted["ORPO, 4-bit (computed)"].weights
    assert saved == pytest.approx(linear * (2 - 0.5 - 1 / 64 - 4 / 64 / 256), rel=1e-6)


def test_validation_needs_less_memory_than_training(counted):
    evaluation = count_step(CONFIG, lora_config(REAL.lora), orpo_loss, torch.bfloat16, backward=False)
    assert evaluation.weights < evaluation.peak < counted["ORPO"].peak


def test_a_tensor_counts_until_it_is_freed():
    def loss_of(model):
        first = torch.zeros(1000, dtype=torch.float64)
        del first
        second = torch.zeros(250, 4)
        return sum(weight.sum() for weight in model.parameters() if weight.requires_grad) + second.view(-1).sum()

    found = count_step(SMALL, LORA, loss_of, torch.float32, backward=False)
    assert found.peak - found.weights == pytest.approx(8000, abs=200)


def test_gradients_moments_and_tied_weights_are_counted():
    def loss_of(model):
        return sum(weight.sum() for weight in model.parameters() if weight.requires_grad)

    adapter = 2 * (4 * 64 + 64 * 4) * 4
    found = count_step(SMALL, LORA, loss_of, torch.float32)
    assert found.peak - found.weights == pytest.approx(3 * adapter, abs=1000)
    tied = LlamaConfig.from_dict(SMALL.to_dict() | {"tie_word_embeddings": True})
    assert found.weights - count_step(tied, LORA, loss_of, torch.float32).weights == 100 * 64 * 4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_halves_the_base_model_and_not_the_adapter(dtype):
    def loss_of(model):
        return model(input_ids=torch.ones(1, 8, dtype=torch.long), use_cache=False).logits.float().sum()

    adapter = 2 * (4 * 64 + 64 * 4) * 4
    whole, half = (count_step(SMALL, LORA, loss_of, kind).weights for kind in (torch.float32, dtype))
    assert half - adapter == pytest.approx((whole - adapter) / 2, rel=0.01)


def test_a_loss_that_holds_all_logits_would_be_noticed():
    def loss_of(model):
        return (
            model(input_ids=torch.ones(1, 64, dtype=torch.long), use_cache=False).logits.float().log_softmax(-1).sum()
        )

    wide = LlamaConfig.from_dict(SMALL.to_dict() | {"vocab_size": 50_000})
    found = count_step(wide, LORA, loss_of, torch.bfloat16)
    assert found.peak - found.weights > 64 * 50_000 * (4 + 2)
