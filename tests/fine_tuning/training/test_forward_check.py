"""ORPO's loss computes what the model's own forward computes, for families unlike Llama too; or it refuses."""

from dataclasses import replace
from random import Random

import pytest
import torch
from families import tiny_model
from helpers import problems_of
from torch import nn
from transformers import AutoModelForCausalLM

from fine_tuning.run.presets import LoraSettings
from fine_tuning.training import forward_check, orpo_loss
from fine_tuning.training.adapter import add_adapter, base_of
from fine_tuning.training.forward_check import check_pair_forward
from fine_tuning.training.output_layer import OutputLayer
from fine_tuning.training.pair_batch import EncodedPair

FAMILIES = (
    *("llama", "tinyllama", "smollm2", "qwen2", "qwen3", "mistral", "gemma", "gemma3_text", "granite", "cohere"),
    *("qwen3_moe", "mixtral", "olmo2"),
)


def long_pair(vocabulary: int) -> EncodedPair:
    """A pair longer than the sliding windows below; both answers in the window's reach of the prompt and beyond it."""
    rng = Random(1)
    return {part: [rng.randrange(vocabulary) for _ in range(n)] for part, n in zip(PARTS, (70, 130, 90), strict=True)}


PARTS = ("prompt", "chosen", "rejected")


def adapted(folder, family, dtype=torch.float32, **changes):
    """A tiny model of a family with an adapter that changes its output, and logits that are far from uniform."""
    tiny_model(folder, family, **changes)
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa")
    model = add_adapter(base, replace(LoraSettings(), dropout=0.0), seed=1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.05)
        base_of(model).get_output_embeddings().weight.mul_(20)
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_computes_what_the_model_computes(tmp_path, family):
    model = adapted(tmp_path, family)
    pair = long_pair(model.config.vocab_size)
    assert check_pair_forward(model, pair, torch.float32, family) < 1e-4


@pytest.mark.parametrize("window", [16, 64, 500])
def test_a_sliding_window_hides_what_lies_before_it(tmp_path, window):
    model = adapted(tmp_path, "mistral", sliding_window=window)
    pair = long_pair(model.config.vocab_size)
    assert check_pair_forward(model, pair, torch.float32, "mistral") < 1e-4


def test_rounding_to_bfloat16_is_no_difference(tmp_path):
    model = adapted(tmp_path, "llama", torch.bfloat16)
    assert check_pair_forward(model, long_pair(model.config.vocab_size), torch.bfloat16, "llama") > 0


def test_the_check_leaves_the_model_ready_for_training(tmp_path):
    model = adapted(tmp_path, "llama").train()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    check_pair_forward(model, long_pair(model.config.vocab_size), torch.float32, "llama")
    assert model.training and all(weight.grad is None for weight in model.parameters())
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())


@pytest.mark.parametrize("family", ["granite", "cohere"])
def test_logits_that_the_family_scales_are_not_taken_for_the_output_layers(tmp_path, monkeypatch, family):
    model = adapted(tmp_path, family)
    monkeypatch.setattr(orpo_loss, "output_layer_of", lambda model: OutputLayer(model.get_output_embeddings()))
    (problem,) = problems_of(check_pair_forward, model, long_pair(model.config.vocab_size), torch.float32, "a model")
    assert problem.startswith("--model a model: step 3 cannot train this family of models.")


def test_a_window_that_the_loss_does_not_know_is_noticed(tmp_path, monkeypatch):
    model = adapted(tmp_path, "gemma3_text")
    for module in model.modules():
        if getattr(module, "sliding_window", None):
            monkeypatch.setattr(module, "sliding_window", None)  # the masks of the model's own forward keep it
    (problem,) = problems_of(check_pair_forward, model, long_pair(model.config.vocab_size), torch.float32, "a model")
    assert "the model's own forward gives" in problem


def test_a_forward_that_is_not_finite_is_refused(tmp_path):
    model = adapted(tmp_path, "llama")
    with torch.no_grad():
        base_of(model).get_output_embeddings().weight.fill_(float("nan"))
    (problem,) = problems_of(check_pair_forward, model, long_pair(model.config.vocab_size), torch.float32, "a model")
    assert "nan" in problem


def test_a_family_whose_attention_cannot_take_pairs_is_refused_in_one_line(tmp_path):
    model = adapted(tmp_path, "stablelm")
    (problem,) = problems_of(check_pair_forward, model, long_pair(model.config.vocab_size), torch.float32, "a model")
    assert problem.startswith("--model a model: step 3 cannot train this family of models: the forward pass of its ")
    assert "pair_lengths" in problem and "\n" not in problem


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_layers_that_pass_on_what_they_have_read_are_noticed(tmp_path, dtype):
    model = adapted(tmp_path, "llama", dtype)
    mlp = base_of(model).base_model.layers[0].mlp
    mlp.forward = lambda hidden, forward=mlp.forward: forward(hidden + 0.02 * hidden.cumsum(1))
    (problem,) = problems_of(check_pair_forward, model, long_pair(model.config.vocab_size), dtype, "a model")
    assert "step 3 cannot train this family of models" in problem


def test_a_scale_of_logits_that_is_no_number_is_refused_in_one_line(tmp_path):
    model = adapted(tmp_path, "granite")
    base_of(model).config.logits_scaling = 0
    (problem,) = problems_of(check_pair_forward, model, long_pair(model.config.vocab_size), torch.float32, "a model")
    assert "ZeroDivisionError" in problem


def test_only_as_many_tokens_are_compared_as_the_memory_of_a_chunk_allows(tmp_path, monkeypatch):
    model = adapted(tmp_path, "llama")
    kept = []
    forward = type(base_of(model)).forward

    def recording(self, *arguments, logits_to_keep, **named):
        kept.append(logits_to_keep)
        return forward(self, *arguments, logits_to_keep=logits_to_keep, **named)

    monkeypatch.setattr(type(base_of(model)), "forward", recording)
    monkeypatch.setattr(forward_check, "CHUNK_LOGITS", 10 * model.config.vocab_size)
    check_pair_forward(model, long_pair(model.config.vocab_size), torch.float32, "llama")
    assert kept == [11, 11]


def test_gemma_2_caps_its_logits():
    layer = nn.Linear(4, 9, bias=False)
    hidden = torch.randn(3, 4) * 30
    logits = OutputLayer(layer, scale=0.5, cap=5.0).logits(hidden)
    assert torch.allclose(logits, 5 * torch.tanh(layer(hidden) * 0.5 / 5)) and logits.abs().max() <= 5
