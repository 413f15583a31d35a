"""Rows are answered batch by batch, and an answer does not depend on its batch."""

import pytest
import torch
from helpers import ROOT
from transformers import AutoModelForCausalLM, AutoTokenizer

from fine_tuning.data.csv_rows import Row
from fine_tuning.data.tokens import encode_completion
from fine_tuning.sampling.answer_rows import answer_rows
from fine_tuning.sampling.batches import token_limit
from fine_tuning.sampling.decoder import Decoder

FOLDER = ROOT / "fine_tuning" / "embedded_model"


@pytest.fixture(scope="module", params=[False, True], ids=["fast", "plain"])
def decoder(request):
    model = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval()
    return Decoder(model, AutoTokenizer.from_pretrained(FOLDER), 9, plain=request.param)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_leaving_out_batches_does_not_change_the_others(decoder, temperature):
    rows = [Row(f"draw {k} circles", "[0]", 1.0, "diagram", {}) for k in range(5)]
    batches = [[3, 1], [0, 4], [2]]
    every = list(answer_rows(decoder, rows, batches, temperature, seed=7))
    assert [batch for batch, _ in every] == batches and [len(answers) for _, answers in every] == [2, 2, 1]
    assert list(answer_rows(decoder, rows, batches[1:], temperature, seed=7)) == every[1:]
    assert list(answer_rows(decoder, rows, batches[::2], temperature, seed=7)) == every[::2]


def test_each_answer_is_limited_by_its_own_reference(decoder):
    rows = [Row("draw a circle", answer, 1.0, "diagram", {}) for answer in ("[0]", "[0, 1, 2, 3, 4, 5, 6, 7]")]
    ((_, answers),) = answer_rows(decoder, rows, [[0, 1]], temperature=3.0, seed=1)
    limits = [token_limit(len(encode_completion(decoder.tokenizer, row.answer))) for row in rows]
    assert limits[0] < limits[1]
    assert [(answer.ended, answer.tokens) for answer in answers] == [(False, limit) for limit in limits]


def test_samples_are_the_same_in_batches_of_any_size_and_order(decoder):
    answer = "x" * 40
    rows = [Row(prompt, answer, 1.0, "diagram", {}) for prompt in ("two boxes", "a circle", "three boxes") * 3]

    def samples(batches):
        found = {}
        for batch, answers in answer_rows(decoder, rows, batches, temperature=1.0, seed=7):
            found |= dict(zip(batch, answers, strict=True))
        return [found[k] for k in range(len(rows))]

    together = samples([list(range(9))])
    assert len({sample.text for sample in together}) > 6
    assert samples([[k] for k in range(9)]) == together
    assert samples([[8, 0, 4], [1, 7, 2], [6, 5, 3]]) == together
    assert samples([[3, 2, 1, 0, 8, 7, 6, 5], [4]]) == together


def test_the_samples_of_a_prompt_stay_when_other_rows_come_or_go(decoder):
    rows = [Row(prompt, "x" * 40, 1.0, "diagram", {}) for prompt in ("two boxes", "a circle", "two boxes")]

    def samples(rows):
        ((_, answers),) = answer_rows(decoder, rows, [list(range(len(rows)))], temperature=1.0, seed=7)
        return answers

    assert samples([rows[1], rows[0], rows[2]]) == [samples(rows)[k] for k in (1, 0, 2)]
    assert samples(rows[:2]) == samples(rows)[:2]
