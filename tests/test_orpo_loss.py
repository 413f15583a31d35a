"""The chunked loss on shared prompts is TRL's ORPO loss, and so are its gradients."""

from pathlib import Path
from random import Random

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.nn.functional import cross_entropy, logsigmoid
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from benchmarks.baselines import ORPOConfig, StockOrpoTrainer, stock_pairs
from fine_tuning import orpo_loss
from fine_tuning.common import for_generation
from fine_tuning.orpo_loss import log1mexp, pair_loss, token_log_probs
from fine_tuning.pair_batch import attend_within_pairs, collate_pairs

PROJECT = Path(__file__).resolve().parent.parent
EMBEDDED = PROJECT / "fine_tuning" / "embedded_model"
REAL = PROJECT.parent / "shared" / "deepseek-coder-1.3b-instruct"
NARROW = {"hidden_size": 256, "intermediate_size": 688, "num_attention_heads": 4, "num_key_value_heads": 4}
LAMBDA = 0.5
LENGTHS = {"equal": [(20, 40, 40)], "very unequal": [(20, 90, 3)]}
LENGTHS |= {f"{name}, 3 pairs": [*lengths, (7, 12, 31), (33, 1, 60)] for name, lengths in LENGTHS.items()}


def with_adapter(model):
    """The model with a LoRA adapter that is not at its start, where half the gradients are zero."""
    torch.manual_seed(1)
    modules = ["q_proj", "k_proj", "v_proj", "o_proj"]
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=16, lora_dropout=0.0, target_modules=modules))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)
    return model


def real_model(**changes):
    if not REAL.is_dir():
        pytest.skip(f"the real configuration is not at {REAL}")
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig.from_pretrained(REAL, num_hidden_layers=2, dtype=torch.float32, **changes))


@pytest.fixture(scope="module", params=["embedded float64", "real float32", "real float64"])
def model(request):
    name, dtype = request.param.split()
    base = AutoModelForCausalLM.from_pretrained(EMBEDDED) if name == "embedded" else real_model(**NARROW)
    return with_adapter(base).to(getattr(torch, dtype)).eval()


def encoded_pairs(lengths, vocabulary=1500):
    rng = Random(0)
    return [
        {
            part: [rng.randrange(3, vocabulary) for _ in range(length)]
            for part, length in zip(("prompt", "chosen", "rejected"), pair, strict=True)
        }
        for pair in lengths
    ]


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.requires_grad}


def stock(model, pairs, folder):
    """TRL's loss, chosen and rejected log-probabilities, and gradients."""
    model.get_base_model().set_attn_implementation("sdpa")
    arguments = ORPOConfig(
        output_dir=str(folder), beta=LAMBDA, use_cpu=True, report_to="none", bf16=False, gradient_checkpointing=False,
        max_length=4096, remove_unused_columns=False, per_device_train_batch_size=len(pairs),
    )  # fmt: skip
    trainer = StockOrpoTrainer(
        model=model,
        args=arguments,
        train_dataset=stock_pairs(pairs),
        processing_class=AutoTokenizer.from_pretrained(EMBEDDED),
    )
    batch = trainer.data_collator([trainer.train_dataset[k] for k in range(len(pairs))])
    chosen, rejected, *_ = trainer.concatenated_forward(model, batch)
    loss, metrics = trainer.get_batch_loss_metrics(model, batch)
    return loss, chosen, rejected, metrics, gradients(model, loss)


def tolerance(model):
    return 1e-5 if next(model.parameters()).dtype is torch.float64 else 1e-4


def assert_same_gradients(found, expected, tolerance):
    assert found.keys() == expected.keys() and len(found) > 0
    for name, gradient in expected.items():
        assert gradient.abs().max() > 0, name
        assert (found[name] - gradient).abs().max() <= tolerance * gradient.abs().max(), name


def check_against_stock(model, pairs, folder):
    loss, chosen, rejected, metrics, expected = stock(model, pairs, folder)
    ours = pair_loss(model.get_base_model(), collate_pairs(pairs), LAMBDA, nll_over_prompt=True)
    close = {"rtol": 0, "atol": tolerance(model)}
    torch.testing.assert_close(ours.loss, loss, **close, check_dtype=False)
    torch.testing.assert_close(ours.chosen_log_probs, chosen.detach(), **close)
    torch.testing.assert_close(ours.rejected_log_probs, rejected.detach(), **close)
    assert abs(float(ours.nll) - metrics["nll_loss"]) < tolerance(model)
    assert abs(float(ours.log_odds_ratios.mean()) - metrics["log_odds_chosen"]) < tolerance(model)
    assert_same_gradients(gradients(model, ours.loss), expected, tolerance(model))


@pytest.mark.parametrize("lengths", LENGTHS)
def test_with_the_nll_over_the_prompt_it_is_trls_loss(model, tmp_path, lengths, monkeypatch):
    monkeypatch.setattr(orpo_loss, "CHUNK_LOGITS", 25 * model.config.vocab_size)  # several chunks, the last one short
    check_against_stock(model, encoded_pairs(LENGTHS[lengths]), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("lengths", LENGTHS)
def test_it_is_trls_loss_on_the_real_architecture_at_full_width(tmp_path, lengths):
    check_against_stock(with_adapter(real_model()).eval(), encoded_pairs(LENGTHS[lengths], 32000), tmp_path)


@pytest.mark.parametrize("lengths", LENGTHS)
def test_by_default_the_nll_is_over_the_chosen_answer_alone(model, lengths):
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
    assert_same_gradients(gradients(model, ours.loss), gradients(model, loss), tolerance(model))


@pytest.mark.parametrize("chunk", [1, 7, 64, 1000])
def test_the_size_of_a_chunk_does_not_matter(chunk):
    torch.manual_seed(0)
    layer = torch.nn.Linear(16, 50, bias=False).double()
    hidden = torch.randn(64, 16, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(0, 50, (64,))
    whole = -cross_entropy(layer(hidden), targets, reduction="none")
    chunked = token_log_probs(hidden, targets, layer, chunk)
    torch.testing.assert_close(chunked, whole)
    weights = torch.randn(64, dtype=torch.float64)
    expected = torch.autograd.grad(whole @ weights, hidden)
    torch.testing.assert_close(torch.autograd.grad(chunked @ weights, hidden), expected)


def test_no_logits_outlive_their_chunk():
    layer = torch.nn.Linear(16, 5000, bias=False)
    hidden = torch.randn(64, 16, requires_grad=True)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor.numel()) or tensor, lambda t: t):
        token_log_probs(hidden, torch.zeros(64, dtype=torch.long), layer, chunk=8)
    assert sum(saved) < 64 * 100


def test_bfloat16_hidden_states_give_float32_log_probabilities():
    layer = torch.nn.Linear(16, 50, bias=False, dtype=torch.bfloat16)
    hidden = torch.randn(9, 16, dtype=torch.bfloat16)
    targets = torch.arange(9)
    found = token_log_probs(hidden, targets, layer, chunk=4)
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


def test_an_answer_sees_the_prompt_and_itself_and_nothing_of_the_other_or_the_padding(model):
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


def test_generation_goes_back_to_ordinary_attention():
    model = with_adapter(AutoModelForCausalLM.from_pretrained(EMBEDDED, dtype=torch.float32))
    ids = torch.arange(5, 60)[None]
    expected = model(ids).logits
    pair_loss(model.get_base_model(), collate_pairs(encoded_pairs([(3, 2, 4)])), LAMBDA)
    with pytest.raises(TypeError, match="pair_lengths"):
        model(ids)
    torch.testing.assert_close(for_generation(model)(ids).logits, expected, rtol=0, atol=1e-3)


def test_both_answers_stand_right_after_the_prompt_and_every_token_but_bos_is_predicted():
    (pair,) = encoded_pairs([(3, 2, 4)])
    batch = collate_pairs([pair])
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 4, 3, 4, 5, 6]]
    assert batch["predictors"].tolist() == [0, 1, 2, 3, 2, 5, 6, 7]
    assert batch["targets"].tolist() == pair["prompt"][1:] + pair["chosen"] + pair["rejected"]
    assert batch["pair_lengths"] == [(3, 2, 4)]
