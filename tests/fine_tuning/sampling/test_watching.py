"""A watcher sees every token of a generation as it comes, changes nothing, and can end it."""

import pytest

from fine_tuning.data.tokens import decode_answer, encode_prompt
from fine_tuning.sampling import decoder as module
from fine_tuning.sampling.batches import Task
from fine_tuning.sampling.decoder import Decoder
from fine_tuning.sampling.generation import generate_batch
from fine_tuning.sampling.watching import current_watcher, watching

TOKENS = 24


class Recorder:
    """Keeps the tokens of each answer, and raises after `limit` of them."""

    def __init__(self, limit: int = 1000) -> None:
        self.limit = limit
        self.batches: list[int] = []
        self.ids: dict[int, list[int]] = {}

    def begin(self, answers: int) -> None:
        self.batches.append(answers)

    def progress(self, answers) -> None:
        for number, ids in answers.items():
            before = self.ids.get(number, [])
            assert len(ids) > len(before) and ids[: len(before)] == before
            self.ids[number] = list(ids)
        if len(self.ids[0]) >= self.limit:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def tuned(model, tokenizer):
    return model, tokenizer, [encode_prompt(tokenizer, text) for text in ("three circles in a row", "a -> b")]


def test_a_watcher_sees_the_tokens_of_every_answer_and_changes_none(tuned):
    model, tokenizer, prompts = tuned
    recorder = Recorder()
    plain = generate_batch(model, tokenizer, prompts, TOKENS, 1.0, 7)
    with watching(recorder):
        watched = generate_batch(model, tokenizer, prompts, TOKENS, 1.0, 7)
    assert watched == plain and recorder.batches == [2]
    for number, answer in enumerate(watched):
        assert decode_answer(tokenizer, recorder.ids[number]) == (answer.text, answer.ended)


def test_a_watcher_that_raises_ends_the_generation(tuned):
    model, tokenizer, prompts = tuned
    recorder = Recorder(limit=3)
    with pytest.raises(KeyboardInterrupt), watching(recorder):
        generate_batch(model, tokenizer, prompts, TOKENS, 0, 7)
    assert [len(ids) for ids in recorder.ids.values()] == [3, 3] and current_watcher() is None


@pytest.mark.parametrize("plain", [True, False])
def test_the_watcher_of_several_answers_sees_the_greedy_one_and_the_next_request_is_answered_as_ever(
    tuned, monkeypatch, plain
):
    monkeypatch.setattr(module, "CHECKED_TOKENS", 8)
    model, tokenizer, (prompt, _) = tuned
    tasks = [Task(prompt, TOKENS, number) for number in (None, 0, 1)]
    expected = Decoder(model, tokenizer, 8, plain).answers(tasks, 1.0, 7)
    decoder, recorder = Decoder(model, tokenizer, 8, plain), Recorder()
    with watching(recorder):
        assert decoder.answers(tasks, 1.0, 7) == expected
    assert recorder.batches == [3] and decode_answer(tokenizer, recorder.ids[0]) == (
        expected[0].text,
        expected[0].ended,
    )
    with pytest.raises(KeyboardInterrupt), watching(Recorder(limit=3)):
        decoder.answers(tasks, 1.0, 7)
    assert decoder.answers(tasks, 1.0, 7) == expected
