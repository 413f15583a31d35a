"""Recorded steps do what the steps themselves do; a recording that does something else is found before it is used.

Without a GPU, `make_fx` stands in for a CUDA graph. It too records the operations on tensors, with every Python value
as a constant.
"""

import pytest
import torch
from helpers import SFT_CSV, rows_of
from torch.fx.experimental.proxy_tensor import make_fx

from fine_tuning.data.tokens import encode_prompt
from fine_tuning.sampling.batches import Task
from fine_tuning.sampling.decoder import Decoder
from fine_tuning.sampling.generation import answer_tasks
from fine_tuning.sampling.pace import Pace
from fine_tuning.sampling.rows import Rows

pytestmark = pytest.mark.usefixtures("short_comparison")
PACE = Pace(steps=4, bucket=64, doubles=True, queue=1, most=1)


class Traces:
    """Records what a step computes, as CUDA graphs do."""

    def __init__(self):
        self.recorded = self.replayed = 0

    def run(self, step):
        step()

    def record(self, step):
        self.recorded += 1
        trace = make_fx(step)()

        def replay():
            self.replayed += 1
            trace()

        return replay


@pytest.fixture(scope="module")
def tasks(tokenizer):
    prompts = [encode_prompt(tokenizer, row["input_data"]) for row in rows_of(SFT_CSV)[:3]]
    return [Task(prompt, 30 + 5 * k, sample) for k, prompt in enumerate(prompts) for sample in (None, 0)]


def test_replayed_steps_give_the_answers_of_generate(model, tokenizer, tasks, capsys):
    traces = Traces()
    decoder = Decoder(model, tokenizer, 2, recorder=lambda: traces, pace=PACE)
    assert decoder.answers(tasks, 1.0, 3) == answer_tasks(model, tokenizer, tasks, 1.0, 3)
    assert decoder.way == "static cache, CUDA graphs" and capsys.readouterr().err == ""
    assert traces.replayed > 10 * traces.recorded
    recorded = traces.recorded
    other = decoder.answers(tasks, 0.5, 4)  # another temperature, seed and greedy rows: nothing is recorded anew
    assert other == answer_tasks(model, tokenizer, tasks, 0.5, 4) and traces.recorded == recorded


@pytest.mark.parametrize("value", ["place", "token", "count"])
def test_a_value_that_was_recorded_as_a_constant_is_found(model, tokenizer, tasks, monkeypatch, capsys, value):
    step = Rows.step

    def with_a_constant(self, count, length, sampled):
        state = {"place": self.places, "token": self.tokens, "count": self.counts}[value]
        kept, constant = state[:count].clone(), state[:count].tolist()
        state[:count] = torch.tensor(constant)
        step(self, count, length, sampled)
        if value != "token":
            state[:count] = kept + (state[:count] - torch.tensor(constant))

    monkeypatch.setattr(Rows, "step", with_a_constant)
    decoder = Decoder(model, tokenizer, 2, recorder=Traces, pace=PACE)
    assert decoder.answers(tasks, 1.0, 3) == answer_tasks(model, tokenizer, tasks, 1.0, 3)
    (note,) = capsys.readouterr().err.splitlines()
    assert note.startswith("note: sampling without CUDA graphs: a step cannot be recorded")
    assert decoder.way == "static cache"


def test_a_step_that_cannot_be_recorded_is_run_by_python(model, tokenizer, tasks, capsys):
    class Refuses(Traces):
        def record(self, step):
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore lines")

    decoder = Decoder(model, tokenizer, 2, recorder=Refuses, pace=PACE)
    assert decoder.answers(tasks, 1.0, 3) == answer_tasks(model, tokenizer, tasks, 1.0, 3)
    (note,) = capsys.readouterr().err.splitlines()
    assert "not permitted when stream is capturing" in note and decoder.way == "static cache"


def test_out_of_memory_while_recording_halves_the_rows_and_goes_on_recording(model, tokenizer, tasks, capsys):
    class Small(Traces):
        def record(self, step):
            if step.args[0] > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().record(step)

    decoder = Decoder(model, tokenizer, 4, recorder=Small, pace=PACE)
    assert decoder.answers(tasks, 1.0, 3) == answer_tasks(model, tokenizer, tasks, 1.0, 3)
    assert decoder.way == "static cache, CUDA graphs" and capsys.readouterr().err == ""
