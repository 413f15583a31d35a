"""The fast way of decoding gives the answers of `generate`, whatever the rows, their order and the memory."""

import pytest
import torch
from families import FAMILIES, tiny_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from fine_tuning.data.tokens import answer_length, encode_prompt
from fine_tuning.sampling import fast_check
from fine_tuning.sampling import row_decoder as module
from fine_tuning.sampling.batches import Task
from fine_tuning.sampling.decoder import Decoder
from fine_tuning.sampling.generation import answer_tasks
from fine_tuning.sampling.grammar import DiagramGrammar
from fine_tuning.sampling.pace import Pace
from fine_tuning.sampling.rows import Rows

pytestmark = pytest.mark.usefixtures("short_comparison")
AS_ON_A_GPU = Pace(steps=4, bucket=64, doubles=True, queue=2, most=1)
PLAIN = "transformers' generate"


@pytest.mark.parametrize(("size", "pace"), [(1, None), (3, None), (64, None), (3, AS_ON_A_GPU), (8, AS_ON_A_GPU)])
def test_any_number_of_rows_gives_the_answers_of_generate(model, tokenizer, tasks, plain, size, pace):
    decoder = Decoder(model, tokenizer, size, pace=pace)
    assert decoder.answers(tasks, 1.0, seed=3) == plain
    assert decoder.way.startswith("static cache")


def test_the_order_of_the_tasks_does_not_matter(model, tokenizer, tasks, plain):
    order = torch.randperm(len(tasks), generator=torch.Generator().manual_seed(1)).tolist()
    answers = Decoder(model, tokenizer, 4, pace=AS_ON_A_GPU).answers([tasks[k] for k in order], 1.0, seed=3)
    assert answers == [plain[k] for k in order]


def test_a_decoder_can_be_used_again_with_longer_and_shorter_tasks_and_another_temperature(
    model, tokenizer, tasks, plain
):
    decoder = Decoder(model, tokenizer, 4)
    assert decoder.answers(tasks[:3], 1.0, seed=3) == plain[:3]
    assert decoder.answers(tasks, 1.0, seed=3) == plain
    other = answer_tasks(model, tokenizer, tasks[1:3], 0.5, seed=3)
    assert decoder.answers(tasks[1:3], 0.5, seed=3) == other != plain[1:3]
    assert decoder.answers(tasks, 1.0, seed=3) == plain


@pytest.mark.parametrize("pace", [None, AS_ON_A_GPU], ids=["CPU", "as on a GPU"])
def test_batches_are_answered_in_order_wherever_the_work_begins(model, tokenizer, tasks, plain, pace):
    batches = [tasks[:5], tasks[5:6], tasks[6:12], tasks[12:]]
    expected = [plain[:5], plain[5:6], plain[6:12], plain[12:]]
    for first in (0, 1, 2):
        decoder = Decoder(model, tokenizer, 3, pace=pace)
        assert list(decoder.answer_batches(batches[first:], 1.0, seed=3)) == expected[first:]


def test_a_batch_is_given_as_soon_as_it_is_done_not_after_all(model, tokenizer, tasks):
    limited = [Task(task.prompt, 10 + 12 * (k % 3), task.sample) for k, task in enumerate(tasks)]
    batches = [limited[k : k + 3] for k in range(0, 12, 3)]
    decoder = Decoder(model, tokenizer, 3, pace=Pace(4, 64, True, queue=4, most=1))
    answered = decoder.answer_batches(batches, 1.0, seed=3)
    next(answered)
    assert decoder._crew[0].rows.active  # other batches are being worked on
    assert len(list(answered)) == 3


def test_each_prompt_is_read_once_for_all_its_samples(model, tokenizer, tasks, monkeypatch):
    decoder = Decoder(model, tokenizer, 2)
    decoder.answers(tasks[:1], 1.0, seed=3)  # the comparison reads prompts too
    read, original = [], module.read_prompts

    def counted(model, prompts):
        read.extend(prompts)
        return original(model, prompts)

    monkeypatch.setattr(module, "read_prompts", counted)
    decoder.answers(tasks[:12], 1.0, seed=3)
    assert read == list(dict.fromkeys(tuple(task.prompt) for task in tasks[:12]))


def test_rows_that_have_ended_make_room_and_then_the_rows_become_fewer(model, tokenizer, tasks, monkeypatch):
    sizes, step = [], Rows.step

    def counted(self, count, length, sampled):
        sizes.append((count, length))
        step(self, count, length, sampled)

    decoder = Decoder(model, tokenizer, 4)
    decoder.answers(tasks[:1], 1.0, seed=3)
    monkeypatch.setattr(Rows, "step", counted)
    decoder.answers(tasks, 1.0, seed=3)
    counts = [count for count, _ in sizes]
    assert counts == sorted(counts, reverse=True) and counts[0] == 4 > counts[-1]
    lengths = {length for _, length in sizes}
    assert len(lengths) > 1 and all(length % 32 == 0 for length in lengths)


@pytest.mark.parametrize("most", [1, 5])
def test_out_of_memory_half_as_many_rows_go_on(model, tokenizer, tasks, plain, monkeypatch, most):
    step, sizes = Rows.step, []

    def small_gpu(self, count, length, sampled):
        sizes.append(self.size)
        if self.size > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        step(self, count, length, sampled)

    monkeypatch.setattr(Rows, "step", small_gpu)
    decoder = Decoder(model, tokenizer, 8)
    assert decoder.answers(tasks, 1.0, seed=3) == plain
    assert decoder.way.startswith("static cache")
    assert sorted(set(sizes), reverse=True) == [size for size in (8, 4, 2, 1) if size >= min(most, 4)]


def test_out_of_memory_in_the_middle_keeps_what_has_been_answered(model, tokenizer, tasks, plain, monkeypatch):
    decoder = Decoder(model, tokenizer, 6)
    decoder.answers(tasks[:1], 1.0, seed=3)
    step, left = Rows.step, [30]

    def fails_once(self, count, length, sampled):
        left[0] -= 1
        if left[0] == 0:
            raise torch.OutOfMemoryError("CUDA out of memory")
        step(self, count, length, sampled)

    monkeypatch.setattr(Rows, "step", fails_once)
    assert decoder.answers(tasks, 1.0, seed=3) == plain


def test_a_single_row_that_does_not_fit_is_an_error(model, tokenizer, tasks, monkeypatch):
    def fail(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Rows, "step", fail)
    with pytest.raises(torch.OutOfMemoryError):
        Decoder(model, tokenizer, 4).answers(tasks, 1.0, seed=3)


def test_where_memory_is_short_longer_answers_get_fewer_rows(model, tokenizer, tasks, plain, monkeypatch):
    monkeypatch.setattr(module, "SEGMENT", 32)
    monkeypatch.setattr(module, "rows_that_fit", lambda model, length: 600 // length)
    made, original = [], module.Rows

    def counted(model, stop, example, size, length, most_new):
        made.append((size, length))
        return original(model, stop, example, size, length, most_new)

    monkeypatch.setattr(module, "Rows", counted)
    order = sorted(range(len(tasks)), key=lambda k: len(tasks[k].prompt) + tasks[k].limit)
    decoder = Decoder(model, tokenizer, 8)
    assert decoder.answers([tasks[k] for k in order], 1.0, seed=3) == [plain[k] for k in order]
    sizes = [size for size, _ in made[1:]]  # the first are those of the comparison
    assert len(sizes) > 1 and sizes == sorted(sizes, reverse=True)
    assert all(size * length <= 600 for size, length in made)


def test_plain_is_generate_alone(model, tokenizer, tasks, plain, monkeypatch):
    monkeypatch.setattr(module, "read_prompts", None)
    decoder = Decoder(model, tokenizer, 4, plain=True)
    assert decoder.answers(tasks, 1.0, seed=3) == plain and decoder.way == PLAIN


def test_answers_held_to_the_grammar_are_generated_plainly(model, tokenizer, tasks, monkeypatch):
    monkeypatch.setattr(module, "read_prompts", None)
    grammar = DiagramGrammar(tokenizer)
    answers = Decoder(model, tokenizer, 4).answers(tasks[:4], 1.0, 3, grammar)
    assert answers == answer_tasks(model, tokenizer, tasks[:4], 1.0, 3, grammar)
    assert all(answer.ended for answer in answers)


def test_no_tasks_have_no_answers(model, tokenizer):
    assert Decoder(model, tokenizer, 4).answers([], 1.0, 1) == []
    assert list(Decoder(model, tokenizer, 4).answer_batches([[]], 1.0, 1)) == [[]]


@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in ("gemma2", "gemma3_text")])
def test_every_family_with_an_ordinary_cache_is_decoded_fast(tmp_path, family, capsys):
    folder = tiny_model(tmp_path / family, family)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    prompts = [encode_prompt(tokenizer, text) for text in ("Draw two boxes.", "A circle and a longer request, twice.")]
    tasks = [Task(prompt, 40, sample) for prompt in prompts for sample in (None, 0)]
    decoder = Decoder(model, tokenizer, 3, pace=AS_ON_A_GPU)
    assert decoder.answers(tasks, 1.0, 1) == answer_tasks(model, tokenizer, tasks, 1.0, 1)
    assert decoder.way == "static cache" and capsys.readouterr().err == ""


def test_rows_that_are_longer_than_a_window_over_attention_need_the_plain_way(tmp_path, capsys):
    folder = tiny_model(tmp_path, "gemma3_text")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    prompt = encode_prompt(tokenizer, "Two boxes.")
    decoder = Decoder(model, tokenizer, 3)
    for limit in (64 - len(prompt), 100, 10, 101):
        tasks = [Task(prompt, limit, 0)]
        assert decoder.answers(tasks, 1.0, 1) == answer_tasks(model, tokenizer, tasks, 1.0, 1)
        assert decoder.way == (PLAIN if limit >= 100 else "static cache")
    note = "note: answers are generated with transformers' generate: the model's attention has a window of 64 tokens"
    assert capsys.readouterr().err.splitlines() == [note] * 2


@pytest.mark.parametrize("fault", ["raises", "differs", "ends early"])
def test_a_fast_way_that_fails_or_differs_gives_way_in_one_line(
    model, tokenizer, tasks, plain, monkeypatch, capsys, fault
):
    step = Rows.step

    def faulty(self, count, length, sampled):
        if fault == "raises":
            raise ValueError("no such layer")
        if fault == "differs":
            self.places[:count] += 1  # a wrong position, and a token that is never written
        step(self, count, length, sampled)
        if fault == "ends early":
            self.ended[:count] |= self.counts[:count] > 7

    monkeypatch.setattr(Rows, "step", faulty)
    decoder = Decoder(model, tokenizer, 4)
    assert decoder.answers(tasks, 1.0, seed=3) == plain
    (note,) = capsys.readouterr().err.splitlines()
    assert note.startswith("note: answers are generated with transformers' generate: ")
    assert decoder.way == PLAIN


def test_answers_that_differ_at_a_tie_are_counted_and_no_fault(model, tokenizer, tasks, monkeypatch):
    greedy = [task for task in tasks if task.sample is None][:4]
    expected = fast_check.generated_ids(model, tokenizer, greedy, 1.0, 0, None)
    other = [ids[: answer_length(tokenizer, ids)] for ids in expected]
    other[1][5] += 1
    monkeypatch.setattr(fast_check, "TIE", {False: 10.0})
    assert fast_check.difference(model, tokenizer, greedy, other) == (None, 1)
    monkeypatch.setattr(fast_check, "TIE", {False: 0.0})
    problem, _ = fast_check.difference(model, tokenizer, greedy, other)
    assert problem is not None and problem.startswith("token 6 of a greedy answer")


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_positions_that_depend_on_the_length_need_the_plain_way(model, kind):
    config = model.config
    assert fast_check.obstacle_of(model, 500) is None
    kept = config.rope_parameters
    config.rope_parameters = {**kept, "rope_type": kind}
    try:
        assert "length" in str(fast_check.obstacle_of(model, 500))
    finally:
        config.rope_parameters = kept
