"""Generation in batches gives the same answers as one by one, and stops."""

from types import SimpleNamespace

import pytest
import torch
from helpers import SFT_CSV, problems_of, rows_of
from transformers import LlamaConfig

from benchmarks.architecture import REAL_ARCHITECTURE
from fine_tuning.data.tokens import encode_prompt
from fine_tuning.run.presets import REAL
from fine_tuning.sampling import generation
from fine_tuning.sampling.batches import plan_batches, token_limit
from fine_tuning.sampling.generation import (
    CPU_CACHE,
    cache_bytes_per_token,
    generate_batch,
    merge_for_generation,
    rows_that_fit,
)
from fine_tuning.training.adapter import add_adapter


@pytest.fixture(scope="module")
def prompts(tokenizer):
    return [encode_prompt(tokenizer, row["input_data"]) for row in rows_of(SFT_CSV)[:4]]


def test_prompts_of_different_lengths_get_the_same_answers_in_a_batch_as_alone(model, tokenizer, prompts):
    assert len(set(map(len, prompts))) > 1
    together = generate_batch(model, tokenizer, prompts, 60, temperature=0, seed=1)
    alone = [generate_batch(model, tokenizer, [prompt], 60, temperature=0, seed=1)[0] for prompt in prompts]
    assert together == alone


def test_the_same_seed_gives_the_same_samples_and_another_seed_others(model, tokenizer, prompts):
    def sample(seed):
        return generate_batch(model, tokenizer, prompts, 40, temperature=1.0, seed=seed)

    assert sample(1) == sample(1) != sample(2)


def test_samples_of_one_prompt_in_a_batch_differ(model, tokenizer, prompts):
    answers = generate_batch(model, tokenizer, prompts[:1] * 6, 40, temperature=1.0, seed=1)
    assert len({answer.text for answer in answers}) > 1


def test_answers_stop_at_eos_and_unfinished_ones_are_marked(model, tokenizer, prompts):
    ended = generate_batch(model, tokenizer, prompts, 600, temperature=0, seed=1)
    assert any(answer.ended for answer in ended)
    assert all(tokenizer.eos_token not in answer.text and tokenizer.pad_token not in answer.text for answer in ended)
    cut = generate_batch(model, tokenizer, prompts, 10, temperature=0, seed=1)
    assert [(answer.ended, answer.tokens) for answer in cut] == [(False, 10)] * 4


def test_answers_end_where_the_models_positions_end(load_model, tokenizer, prompts):
    model = load_model()
    longest = max(map(len, prompts))
    whole = generate_batch(model, tokenizer, prompts, 600, temperature=0, seed=1)
    model.config.max_position_embeddings = longest + 10
    answers = generate_batch(model, tokenizer, prompts, 600, temperature=0, seed=1)
    rooms = [longest + 10 - len(prompt) for prompt in prompts]
    assert [answer.tokens for answer in answers] == [min(w.tokens, room) for w, room in zip(whole, rooms, strict=True)]
    assert (10, False) in [(answer.tokens, answer.ended) for answer in answers]
    model.config.max_position_embeddings = longest
    (problem,) = problems_of(generate_batch, model, tokenizer, prompts, 600, 0, 1)
    assert problem.startswith(f"the prompt has {longest} tokens, and this model takes {longest}")


def test_batches_contain_every_index_once_grouped_by_length():
    lengths = [30, 10, 20, 10, 40]
    assert plan_batches(lengths, 2) == [[1, 3], [2, 0], [4]]


def test_the_token_limit_leaves_room_above_the_reference():
    assert token_limit(100) == 166


def test_merging_the_adapter_does_not_change_predictions(load_model, model):
    tuned = add_adapter(load_model(), REAL.lora, seed=2025).eval()
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.05)
        ids = torch.arange(5, 60)[None]
        unmerged = tuned(ids).logits
        merged = merge_for_generation(tuned)(ids).logits
        base = model(ids).logits
    assert torch.allclose(unmerged, merged, atol=1e-3)
    assert not torch.allclose(unmerged, base, atol=1e-1)


def test_a_models_own_generation_config_does_not_change_its_answers(load_model, tokenizer):
    answers = []
    for penalty in (1.0, 9.0):
        model = load_model()
        model.generation_config.repetition_penalty = penalty
        answers += generate_batch(merge_for_generation(model), tokenizer, [[5, 6, 7]], 40, temperature=0, seed=1)
    assert answers[0] == answers[1]


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
]


@pytest.mark.parametrize("most", [1, 2, 3])
@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["torch", "cuBLAS"])
def test_a_batch_that_runs_out_of_memory_is_split(model, tokenizer, prompts, monkeypatch, error, most):
    together = generate_batch(model, tokenizer, prompts, 30, temperature=0, seed=1)
    sizes, generate = [], generation._generate

    def small_gpu(model, tokenizer, tasks, *arguments):
        sizes.append(len(tasks))
        if len(tasks) > most:
            raise error
        return generate(model, tokenizer, tasks, *arguments)

    monkeypatch.setattr(generation, "_generate", small_gpu)
    assert generate_batch(model, tokenizer, prompts, 30, temperature=0, seed=1) == together
    assert sizes == {1: [4, 2, 1, 1, 2, 1, 1], 2: [4, 2, 2], 3: [4, 2, 2]}[most]


def test_samples_of_one_prompt_differ_even_if_the_batch_is_split(model, tokenizer, prompts, monkeypatch):
    monkeypatch.setattr(generation, "rows_that_fit", lambda model, length: 1)
    answers = generate_batch(model, tokenizer, prompts[:1] * 4, 60, temperature=1.0, seed=1)
    assert len({answer.text for answer in answers}) == 4


@pytest.mark.parametrize("error", [*OUT_OF_MEMORY, RuntimeError("CUDA error: an illegal memory access")])
def test_an_error_that_smaller_batches_do_not_fix_is_raised(model, tokenizer, prompts, monkeypatch, error):
    sizes = []

    def fail(model, tokenizer, tasks, *_):
        sizes.append(len(tasks))
        raise error

    monkeypatch.setattr(generation, "_generate", fail)
    with pytest.raises(type(error)) as raised:
        generate_batch(model, tokenizer, prompts, 30, temperature=0, seed=1)
    assert raised.value is error
    assert sizes == ([4, 2, 1] if error in OUT_OF_MEMORY else [4])


def test_on_a_gpu_the_largest_batch_fills_most_of_the_free_memory(monkeypatch):
    gib = 2**30
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (6 * gib, 12 * gib))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 5 * gib)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: 3 * gib)  # torch can use the 2 GiB between them
    real = SimpleNamespace(device=torch.device("cuda"), dtype=torch.bfloat16, config=LlamaConfig(**REAL_ARCHITECTURE))
    rows = rows_that_fit(real, 1024)
    row = 2 * 24 * 2048 * 2 * 1024  # keys and values, layers, width, bytes, tokens
    assert rows == int(0.8 * 8 * gib / row) == 34


def test_on_a_cpu_the_largest_batch_fills_a_fixed_amount_of_memory(model):
    assert rows_that_fit(model, 1536) * 1536 * cache_bytes_per_token(model) == pytest.approx(CPU_CACHE, rel=0.01)
    assert rows_that_fit(model, 1536) > 50  # the embedded model's batches are whole
    real = SimpleNamespace(device=torch.device("cpu"), dtype=torch.float32, config=LlamaConfig(**REAL_ARCHITECTURE))
    assert rows_that_fit(real, 1536) == 7 and rows_that_fit(real, 10**6) == 1


def test_the_bytes_of_a_cached_token_equal_those_of_transformers_cache(model, prompts):
    cache = model(torch.tensor([prompts[0]]), use_cache=True).past_key_values
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert held == cache_bytes_per_token(model) * len(prompts[0])
