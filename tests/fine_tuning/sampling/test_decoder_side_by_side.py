"""A decoder on a CPU that works on two batches at once: the same answers, no more memory, and an orderly end."""

import threading
import weakref

import pytest
import torch

from fine_tuning.sampling import decoder as decoder_module
from fine_tuning.sampling import row_decoder
from fine_tuning.sampling.decoder import Decoder
from fine_tuning.sampling.rows import Rows

pytestmark = pytest.mark.usefixtures("short_comparison", "two_processors")


@pytest.fixture
def two_processors(monkeypatch):
    """As on a machine of two processors, where torch uses one."""
    monkeypatch.setattr(decoder_module, "usable_processors", lambda: 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)


def test_batches_are_answered_side_by_side_where_a_processor_is_idle(model, tokenizer, tasks, plain, monkeypatch):
    threads, ids = set(), row_decoder.RowDecoder.ids

    def watched(self, *arguments, **named):
        threads.add(threading.get_ident())
        return ids(self, *arguments, **named)

    monkeypatch.setattr(row_decoder.RowDecoder, "ids", watched)
    decoder = Decoder(model, tokenizer, 3)
    for _ in range(2):
        batches = [tasks[k : k + 3] for k in range(0, len(tasks), 3)]
        assert [answer for batch in decoder.answer_batches(batches, 1.0, seed=3) for answer in batch] == plain
        assert decoder.answers(tasks[:2], 1.0, seed=3) == plain[:2]
    assert len(threads - {threading.get_ident()}) >= 2


@pytest.mark.parametrize("is_reversed", [False, True], ids=["short first", "long first"])
def test_two_caches_need_no_more_memory_than_one_may(model, tokenizer, tasks, plain, monkeypatch, is_reversed):
    room, made, most, threads = 6 * 160, [], [], set()  # room: rows times their length

    def counted(*arguments):
        rows = original(*arguments)
        made.append(weakref.ref(rows))
        most.append(sum(kept.size * kept.length for one in made if (kept := one())))
        threads.add(threading.get_ident())
        return rows

    original = row_decoder.Rows
    monkeypatch.setattr(row_decoder, "Rows", counted)
    monkeypatch.setattr(row_decoder, "rows_that_fit", lambda model, length: room // length)
    order = sorted(range(len(tasks)), key=lambda k: len(tasks[k].prompt) + tasks[k].limit, reverse=is_reversed)
    batches = [order[k : k + 3] for k in range(0, len(order), 3)]
    decoder = Decoder(model, tokenizer, 3)
    answers = decoder.answer_batches([[tasks[k] for k in batch] for batch in batches], 1.0, seed=3)
    assert list(answers) == [[plain[k] for k in batch] for batch in batches]
    assert max(most) <= room and len(threads) > 1


def test_an_error_in_a_thread_ends_the_others_soon(model, tokenizer, tasks, monkeypatch):
    decoder = Decoder(model, tokenizer, 3)
    decoder.answers(tasks[:1], 1.0, seed=3)
    step, calls = Rows.step, []

    def fails(self, count, length, sampled):
        calls.append(count)
        if len(calls) == 30:
            raise ValueError("no such layer")
        step(self, count, length, sampled)

    monkeypatch.setattr(Rows, "step", fails)
    batches = [tasks[k : k + 3] for k in range(0, 12, 3)] * 3
    with pytest.raises(ValueError, match="no such layer"):
        list(decoder.answer_batches(batches, 1.0, seed=3))
    assert len(calls) < 400  # all batches have about 700 steps
    monkeypatch.setattr(Rows, "step", step)
    assert len(list(decoder.answer_batches(batches[:2], 1.0, seed=3))) == 2
