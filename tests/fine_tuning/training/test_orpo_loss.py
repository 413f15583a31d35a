"""The chunked loss on shared prompts equals TRL's ORPO loss, and so do its gradients."""

import pytest
import torch
from helpers import ROOT
from torch.nn.functional import cross_entropy, logsigmoid
from transformers import LlamaConfig

from benchmarks import loss_equality
from benchmarks.loss_equality import (
    LAMBDA,
    LENGTHS,
    NARROW,
    TOLERANCE,
    differences,
    embedded_model,
    encoded_pairs,
    gradients_of,
    random_model,
    stock_outcome,
    with_adapter,
)
from fine_tuning.sampling.generation import merge_for_generation
from fine_tuning.training.orpo_loss import log1mexp, pair_loss, token_log_probs
from fine_tuning.training.output_layer import OutputLayer
from fine_tuning.training.pair_batch import attend_within_pairs, collate_pairs

REAL = ROOT.parent / "shared" / "deepseek-coder-1.3b-instruct"


def real_model(**changes):
    if not REAL.is_dir():
        pytest.skip(f"the real configuration is not at {REAL}")
    return random_model(LlamaConfig.from_pretrained(REAL).to_dict() | changes)


@pytest.fixture(scope="module", params=["embedded float64", "real float32", "real float64"])
def model(request):
    name, dtype = request.param.split()
    base = embedded_model() if name == "embedded" else real_model(**NARROW)
    return with_adapter(base).to(getattr(torch, dtype)).eval()


def tolerance(model):
    return TOLERANCE[next(model.parameters()).dtype]


def assert_same_gradients(found, expected, tolerance):
    assert found.keys() == expected.keys() and len(found) > 0
    for name, gradient in expected.items():
        assert gradient.abs().max() > 0, name
        assert (found[name] - gradient).abs().max() <= tolerance * gradient.abs().max(), name


@pytest.mark.parametrize("lengths", LENGTHS)
def test_with_the_nll_over_the_prompt_the_loss_equals_trls(model, lengths):
    assert differences(model, encoded_pairs(LENGTHS[lengths])).largest <= tolerance(model)


def test_a_slightly_different_loss_is_noticed(model, monkeypatch):
    monkeypatch.setattr(loss_equality, "LAMBDA", LAMBDA)
    stock = stock_outcome(model, encoded_pairs(LENGTHS["equal"]))
    monkeypatch.setattr(loss_equality, "LAMBDA", 1.001 * LAMBDA)
    monkeypatch.setattr(loss_equality, "stock_outcome", lambda *_: stock)
    assert differences(model, encoded_pairs(LENGTHS["equal"])).largest > tolerance(model)


@pytest.mark.slow
@pytest.mark.parametrize("lengths", LENGTHS)
def test_the_loss_equals_trls_on_the_real_architecture_at_full_width(lengths):
    model = with_adapter(real_model()).eval()
    assert differences(model, encoded_pairs(LENGTHS[lengths], 32000)).largest <= tolerance(model)


@pytest.mark.parametrize("lengths", LENGTHS)
def test_by_default_the_nll_is_over_the_chosen_answer_only(model, lengths):
    pairs = encoded_pairs(LENGTHS[lengths])
    model.get_base_model().set_attn_implementation("sdpa")
    nll, terms = [], []
    for pair in pairs:  # each answer in a row of its own, from the definition
        log_probs = {}
        for side in ("chosen", "rejected"):
            ids = torch.tensor([pair["prompt"] + pair[side]])
            logits = model(input_ids=ids, use_cache=False).logits[0, len(pair["prompt"]) - 1 : -1]
            log_probs[side] = -cross_entropy(logits, torch.tensor(pair[side]), reduction="none")
        nll.append(-log_probs["chosen"])
        odds = [log_probs[side].mean().exp() for side in ("chosen", "rejected")]
        odds = [p / (1 - p) for p in odds]
        terms.append(-logsigmoid(torch.log(odds[0] / odds[1])))
    loss = torch.cat(nll).mean() + LAMBDA * torch.stack(terms).mean()
    ours = pair_loss(model.get_base_model(), collate_pairs(pairs), LAMBDA)
    torch.testing.assert_close(ours.loss, loss, rtol=0, atol=tolerance(model))
    assert_same_gradients(gradients_of(model, ours.loss), gradients_of(model, loss), tolerance(model))


@pytest.mark.parametrize("chunk", [1, 7, 64, 1000])
def test_the_chunk_size_does_not_change_the_result(chunk):
    torch.manual_seed(0)
    layer = torch.nn.Linear(16, 50, bias=False).double()
    hidden = torch.randn(64, 16, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(0, 50, (64,))
    whole = -cross_entropy(layer(hidden), targets, reduction="none")
    chunked = token_log_probs(hidden, targets, OutputLayer(layer), chunk)
    torch.testing.assert_close(chunked, whole)
    weights = torch.randn(64, dtype=torch.float64)
    expected = torch.autograd.grad(whole @ weights, hidden)
    torch.testing.assert_close(torch.autograd.grad(chunked @ weights, hidden), expected)


def test_no_logits_are_kept_beyond_their_chunk():
    layer = torch.nn.Linear(16, 5000, bias=False)
    hidden = torch.randn(64, 16, requires_grad=True)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor.numel()) or tensor, lambda t: t):
        token_log_probs(hidden, torch.zeros(64, dtype=torch.long), OutputLayer(layer), chunk=8)
    assert sum(saved) < 64 * 100


def test_bfloat16_hidden_states_give_float32_log_probabilities():
    layer = torch.nn.Linear(16, 50, bias=False, dtype=torch.bfloat16)
    hidden = torch.randn(9, 16, dtype=torch.bfloat16)
    targets = torch.arange(9)
    found = token_log_probs(hidden, targets, OutputLayer(layer), chunk=4)
    assert found.dtype is torch.float32
    torch.testing.assert_close(found, -cross_entropy(layer(hidden).float(), targets, reduction="none"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log1mexp_and_its_gradient_are_finite_and_accurate(dtype):
    x = torch.tensor([0.0, -1e-9, -1e-7, -1e-3, -0.5, -0.7, -3.0, -30.0, -1000.0], dtype=dtype, requires_grad=True)
    y = log1mexp(x)
    y.sum().backward()
    assert y.isfinite().all() and x.grad.isfinite().all()
    exact = torch.log(-torch.expm1(x.detach().double()[3:]))
    torch.testing.assert_close(y.detach().double()[3:], exact, rtol=1e-6, atol=1e-7)


def test_an_answer_attends_to_the_prompt_and_itself_only(model):
    def hidden(pairs):
        batch = collate_pairs(pairs)
        names = ("input_ids", "position_ids", "pair_lengths")
        base = model.get_base_model()
        attend_within_pairs(base)
        with torch.no_grad():
            return base.base_model(**{name: batch[name] for name in names}, use_cache=False).last_hidden_state

    (pair, longer) = encoded_pairs([(6, 5, 7), (9, 20, 20)])
    alone = hidden([pair])[0]
    changed = hidden([pair | {"chosen": [9] * 5}])[0]
    assert torch.equal(changed[:6], alone[:6]) and torch.equal(changed[11:], alone[11:])
    assert not torch.allclose(changed[6:11], alone[6:11], atol=1e-3)
    torch.testing.assert_close(hidden([pair, longer])[0, :18], alone, rtol=0, atol=tolerance(model))


def test_generation_restores_ordinary_attention():
    model = with_adapter(embedded_model().float())
    ids = torch.arange(5, 60)[None]
    expected = model(ids).logits
    pair_loss(model.get_base_model(), collate_pairs(encoded_pairs([(3, 2, 4)])), LAMBDA)
    with pytest.raises(TypeError, match="pair_lengths"):
        model(ids)
    torch.testing.assert_close(merge_for_generation(model)(ids).logits, expected, rtol=0, atol=1e-3)


def test_both_answers_continue_the_prompts_positions_and_all_but_bos_is_predicted():
    (pair,) = encoded_pairs([(3, 2, 4)])
    batch = collate_pairs([pair])
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 4, 3, 4, 5, 6]]
    assert batch["predictors"].tolist() == [0, 1, 2, 3, 2, 5, 6, 7]
    assert batch["targets"].tolist() == pair["prompt"][1:] + pair["chosen"] + pair["rejected"]
    assert batch["pair_lengths"] == [(3, 2, 4)]
