"""Several answers to a prompt: the greedy one and samples, which depend on seed, prompt and number alone."""

import pytest
from helpers import SFT_CSV, rows_of

from fine_tuning.data.tokens import encode_prompt
from fine_tuning.sampling import generation, row_decoder
from fine_tuning.sampling.decoder import Decoder
from fine_tuning.sampling.generation import generate_batch
from fine_tuning.sampling.several import several_answers

LIMIT = 40


@pytest.fixture(scope="module", params=[False, True], ids=["fast", "plain"])
def decoder(request, model, tokenizer):
    return Decoder(model, tokenizer, 8, plain=request.param)


@pytest.fixture(scope="module")
def prompts(tokenizer):
    return [encode_prompt(tokenizer, row["input_data"]) for row in rows_of(SFT_CSV)[:2]]


@pytest.fixture(scope="module")
def answers(decoder, prompts):
    return several_answers(decoder, prompts, samples=3, max_new_tokens=LIMIT, seed=1)


def test_the_first_answer_is_the_greedy_one(model, tokenizer, prompts, answers):
    assert [of_prompt[0] for of_prompt in answers] == generate_batch(model, tokenizer, prompts, LIMIT, 0, seed=1)


def test_the_samples_differ_from_each_other(answers):
    assert all(len({answer.text for answer in of_prompt[1:]}) > 1 for of_prompt in answers)


def test_another_seed_gives_other_samples(decoder, prompts, answers):
    other = several_answers(decoder, prompts, samples=3, max_new_tokens=LIMIT, seed=2)
    assert [a[0] for a in other] == [a[0] for a in answers]
    assert [a[1:] for a in other] != [a[1:] for a in answers]


def test_a_prompt_has_the_same_samples_alone_and_beside_others(decoder, prompts, answers):
    assert several_answers(decoder, prompts[1:], samples=3, max_new_tokens=LIMIT, seed=1) == answers[1:]


def test_fewer_samples_are_the_first_ones_of_more(decoder, prompts, answers):
    (two,) = several_answers(decoder, prompts[:1], samples=1, max_new_tokens=LIMIT, seed=1)
    assert two == answers[0][:2]


@pytest.mark.parametrize("fitting", [1, 3])
def test_with_little_memory_fewer_answers_are_generated_together_and_they_are_the_same(
    model, tokenizer, decoder, prompts, answers, monkeypatch, fitting
):
    for module in (generation, row_decoder):
        monkeypatch.setattr(module, "rows_that_fit", lambda *_: fitting)
    decoder = Decoder(model, tokenizer, 8, decoder.way == "transformers' generate")
    assert several_answers(decoder, prompts, samples=3, max_new_tokens=LIMIT, seed=1) == answers


def test_without_samples_the_greedy_answer_is_the_only_one(decoder, prompts, answers):
    (only,) = several_answers(decoder, prompts[:1], samples=0, max_new_tokens=LIMIT, seed=1)
    assert only == answers[0][:1]
