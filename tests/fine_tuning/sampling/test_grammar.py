"""Answers held to the diagram language parse without a problem and end within their limit, whatever the model."""

import pytest
import torch
from families import FAMILIES, tiny_model, tiny_tokenizer
from helpers import ROOT, SFT_CSV, problems_of, rows_of
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from diagram import parse
from fine_tuning.data.tokens import encode_completion, encode_prompt
from fine_tuning.sampling import generation
from fine_tuning.sampling.generation import generate_batch
from fine_tuning.sampling.grammar import DiagramGrammar

REAL = ROOT.parent / "shared" / "deepseek-coder-1.3b-instruct"
REQUEST = "Draw two boxes."


@pytest.fixture(scope="module")
def grammar(tokenizer):
    return DiagramGrammar(tokenizer)


def references(count):
    answers = [row["output_data"] for row in rows_of(SFT_CSV)]
    return answers[:: len(answers) // count]


def check(answers, most):
    for answer in answers:
        diagram = parse(answer.text)
        assert diagram.problems == () and diagram.nodes, answer.text
        assert answer.ended and answer.tokens <= most


def check_takes_training_rows(tokenizer, grammar, count):
    for answer in references(count):
        state = grammar.start
        for token in encode_completion(tokenizer, answer):
            choice = grammar.choice(state)
            assert token in choice.tokens or token in choice.ordinary
            state = grammar.after(state, token)
        assert state is None


@pytest.mark.parametrize("family", FAMILIES)
def test_a_random_model_of_any_family_answers_with_diagrams_that_end_within_a_tiny_limit(tmp_path, family):
    folder = tiny_model(tmp_path / family, family)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    grammar = DiagramGrammar(tokenizer)
    check_takes_training_rows(tokenizer, grammar, 2)
    least = int(grammar.needs(grammar.start))
    prompts = [encode_prompt(tokenizer, REQUEST), encode_prompt(tokenizer, f"{REQUEST} And a circle.")]
    for limit in (least, 2 * least + 3):
        check(generate_batch(model, tokenizer, prompts, limit, 1.0, 1, grammar=grammar), limit)
    assert [
        p
        for p in problems_of(generate_batch, model, tokenizer, prompts, least - 1, 0, 1, grammar=grammar)
        if "room" in p
    ]


@pytest.mark.skipif(not REAL.is_dir(), reason="the real tokenizer is not here")
def test_a_random_model_with_the_real_tokenizer_answers_with_diagrams():
    tokenizer = AutoTokenizer.from_pretrained(REAL)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32256, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2
    )
    model, grammar = LlamaForCausalLM(config).eval(), DiagramGrammar(tokenizer)
    check_takes_training_rows(tokenizer, grammar, 4)
    check(generate_batch(model, tokenizer, [encode_prompt(tokenizer, REQUEST)] * 4, 300, 1.0, 1, grammar=grammar), 300)


@pytest.mark.parametrize("temperature", [0.0, 1.0, 5.0])
def test_the_embedded_model_without_training_answers_with_diagrams(model, tokenizer, grammar, temperature):
    prompts = [encode_prompt(tokenizer, text) for text in (REQUEST, "x", "A chain of 12 boxes, twice.")]
    check(generate_batch(model, tokenizer, prompts, 150, temperature, 3, grammar=grammar), 150)


def test_the_tokens_of_every_reference_are_allowed(tokenizer, grammar):
    check_takes_training_rows(tokenizer, grammar, 20)


def test_a_flawless_answer_stays_as_it_is(tokenizer, grammar):
    answer = references(2)[1]
    ids = encode_completion(tokenizer, answer)
    processor = grammar.processor(0, [len(ids) + 40])
    written: list[int] = []
    for token in ids:
        scores = torch.zeros(1, len(tokenizer))
        scores[0, token] = 1.0
        held = processor(torch.tensor([written], dtype=torch.int64), scores)
        written.append(int(held.argmax()))
    assert written == ids


def test_a_target_is_named_only_if_there_is_room_for_its_line(tokenizer, grammar):
    before = "[0, 440, 300, 'circle', 80, 80, 'dashed line', (222, 235, 247), (49, 130, 189), ["
    state = grammar.start
    for token in tokenizer(before, add_special_tokens=False).input_ids:
        state = grammar.after(state, token)
    choice = grammar.choice(state)
    needs = {tokenizer.decode([token]): need for token, need in zip(choice.tokens.tolist(), choice.needs, strict=True)}
    assert needs["9"] > needs["2"] > needs["1"] > needs["]]"]


def test_a_row_that_has_ended_is_not_masked(tokenizer, grammar):
    ids = encode_completion(tokenizer, references(2)[0])
    processor = grammar.processor(0, [10_000])
    for k in range(len(ids) + 1):
        held = processor(torch.tensor([ids[:k]], dtype=torch.int64), torch.zeros(1, len(tokenizer)))
    assert torch.isfinite(held).all()


def test_a_batch_that_runs_out_of_memory_is_held_to_the_grammar_too(model, tokenizer, grammar, monkeypatch):
    generate = generation._generate

    def small_gpu(model, tokenizer, tasks, *arguments):
        if len(tasks) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return generate(model, tokenizer, tasks, *arguments)

    monkeypatch.setattr(generation, "_generate", small_gpu)
    check(generate_batch(model, tokenizer, [encode_prompt(tokenizer, REQUEST)] * 3, 60, 5.0, 1, grammar=grammar), 60)


def test_answers_without_a_grammar_are_as_before(model, tokenizer, grammar):
    prompt = [encode_prompt(tokenizer, REQUEST)]
    plain = generate_batch(model, tokenizer, prompt, 40, 1.0, 1)
    assert plain == generate_batch(model, tokenizer, prompt, 40, 1.0, 1, grammar=None)


def test_a_tokenizer_that_cannot_spell_the_language_is_refused(monkeypatch):
    tokenizer = tiny_tokenizer(FAMILIES["mistral"])
    texts = {token: "x" for token in range(len(tokenizer))}
    monkeypatch.setattr("fine_tuning.sampling.grammar.token_texts", lambda *_: texts)
    (problem,) = problems_of(DiagramGrammar, tokenizer)
    assert "Leave out --grammar" in problem


LABELLED = "[{}, {}, 440, 300, 'circle', 80, 80, 'dashed line', (222, 235, 247), (49, 130, 189), []]"
LABELS = ["Sales data", "it's", "both ' and \"", "C:\\dir", "데이터 수집", "é\U0001f600", "", "x" * 48]


@pytest.mark.parametrize("family", ["embedded", *FAMILIES])
def test_the_tokens_of_every_label_are_allowed_also_where_they_hold_parts_of_characters(tokenizer, family):
    tokenizer = tokenizer if family == "embedded" else tiny_tokenizer(FAMILIES[family])
    grammar, state = DiagramGrammar(tokenizer), None
    answer = "\n".join(LABELLED.format(k, repr(label)) for k, label in enumerate(LABELS))
    state = grammar.start
    for token in encode_completion(tokenizer, answer):
        choice = grammar.choice(state)
        assert token in choice.tokens or token in choice.ordinary
        state = grammar.after(state, token)
    assert state is None


def test_an_answer_that_wants_only_labels_is_held_to_their_length_and_ends_within_its_limit(tokenizer, grammar):
    (quote,) = (token for token in range(len(tokenizer)) if tokenizer.decode([token]) == ", '")
    for seed, limit in ((1, 60), (2, 150), (3, 150)):
        processor, random, written = grammar.processor(0, [limit]), torch.Generator().manual_seed(seed), []
        while not written or written[-1] != grammar._end:
            scores = torch.randn(1, len(tokenizer), generator=random)
            line = tokenizer.decode(written).rpartition("\n")[2]
            scores[0, quote] += 9 * ("'" not in line)  # a label begins
            held = processor(torch.tensor([written], dtype=torch.int64), scores)
            written.append(int(held.argmax()))
        diagram = parse(tokenizer.decode(written[:-1]))
        assert len(written) <= limit and diagram.problems == ()
        assert any(node.label is not None for node in diagram.nodes)
