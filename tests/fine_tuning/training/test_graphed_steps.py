"""Captured steps have the loss and the gradients of plain steps, prove it, and give way to plain steps if they fail.

Operations that are recorded on a CPU and replayed in the same memory stand in for CUDA graphs.
"""

import contextlib
from types import SimpleNamespace

import pytest
import torch
from recording import record
from tiny_llama import adapter_of, pair_of, tiny_llama

from fine_tuning.training.adapter import base_of
from fine_tuning.training.adapter_gradients import AdapterGradients
from fine_tuning.training.graphed_steps import CHECK_AFTER, GraphedSteps
from fine_tuning.training.length_buckets import Lengths, bucket_of
from fine_tuning.training.lora_layers import lean_adapters
from fine_tuning.training.orpo_loss import pair_loss
from fine_tuning.training.padded_loss import padded_pair_loss
from fine_tuning.training.pair_batch import collate_pairs

FIRST, SECOND, OTHER_BUCKET = Lengths(40, 70, 30), Lengths(90, 99, 111), Lengths(40, 170, 30)


class PairTask:
    """Step 3's task, without a trainer. `factor` makes the padded loss a wrong one."""

    factor = 1.0

    def __init__(self, model) -> None:
        self.model = model
        self.figures: list[torch.Tensor] = []

    def example_of(self, batch):
        return batch["input_ids"][0].tolist(), Lengths(*batch["pair_lengths"][0])

    def fill(self, example, ids, lengths):
        example.fill(ids, lengths)

    def plain_loss(self, batch):
        return pair_loss(base_of(self.model), batch, 0.5).loss

    def padded_loss(self, example):
        result = padded_pair_loss(base_of(self.model), example, 0.5)
        return result.loss * self.factor, torch.stack([result.nll])

    def keep_figures(self, figures):
        self.figures.append(figures)

    def autocast(self):
        return contextlib.nullcontext()


@pytest.fixture
def make(monkeypatch):
    """A maker of graphed steps for a tiny model. Replays take half a second, plain steps one second."""
    timed = GraphedSteps._timed

    def by_kind(steps, work, times):
        return timed(steps, work, times=1)[0], 0.5 if work.__name__ == "replay" else 1.0

    monkeypatch.setattr(GraphedSteps, "_timed", by_kind)
    with contextlib.ExitStack() as stack:

        def make(capture=record, task=PairTask, checkpointing=False, scale=None, dropout=0.0) -> SimpleNamespace:
            model = tiny_llama(dropout).float().train()
            if checkpointing:
                model.activation_checkpointing_enable({"use_reentrant": True})
            stack.enter_context(lean_adapters(model))
            said: list[str] = []
            steps = GraphedSteps(task(model), model, capture, 1000, False, scale, said.append)
            return SimpleNamespace(steps=steps, model=model, said=said, gradients=steps.gradients)

        yield make


def batch_of(lengths, **changes):
    return collate_pairs([pair_of(lengths) | changes])


def plain(model, batch, factor=1.0):
    model.eval()  # without checkpointing
    loss = pair_loss(base_of(model), batch, 0.5).loss
    model.train()
    return loss.detach(), torch.autograd.grad(loss * factor, adapter_of(model))


def assert_plain(made, loss, batch, factor=1.0):
    """The loss and the gradients in the buffer are those of the plain step."""
    expected, gradients = plain(made.model, batch, factor)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    for part, gradient in zip(made.gradients.parts, gradients, strict=True):
        torch.testing.assert_close(part, gradient, rtol=1e-3, atol=1e-5 * factor)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_replay_has_the_loss_and_the_gradients_of_other_examples_and_other_weights(make, checkpointing):
    made = make(checkpointing=checkpointing)
    for number, lengths in enumerate((FIRST, SECOND, OTHER_BUCKET, FIRST, SECOND)):
        made.gradients.zero()
        loss = made.steps.step(batch_of(lengths), number)
        assert_plain(made, loss, batch_of(lengths))
        with torch.no_grad():
            for weight in adapter_of(made.model):
                weight.add_(torch.randn_like(weight), alpha=0.1)
    assert made.steps.steps == 5 and not made.said
    assert len(made.steps.task.figures) == 5
    assert made.steps.facts["graphs"] == "2"


def test_gradients_of_several_steps_add_up(make):
    made = make()
    for lengths in (FIRST, SECOND):
        made.steps.step(batch_of(lengths), 0)
    _, one = plain(made.model, batch_of(FIRST))
    _, other = plain(made.model, batch_of(SECOND))
    for part, first, second in zip(made.gradients.parts, one, other, strict=True):
        torch.testing.assert_close(part, first + second, rtol=1e-3, atol=1e-5)


def test_the_scale_of_the_loss_may_change_after_the_capture(make):
    scales = iter([4.0, 0.5])
    made = make(scale=lambda: torch.tensor(next(scales)))
    for factor in (4.0, 0.5):
        made.gradients.zero()
        assert_plain(made, made.steps.step(batch_of(FIRST), 0), batch_of(FIRST), factor)


def test_every_replay_has_new_masks_of_dropout_and_they_are_reproducible(make):
    made = make(dropout=0.5, checkpointing=True)
    torch.manual_seed(3)
    losses = [float(made.steps.step(batch_of(FIRST), 0)) for _ in range(3)]
    assert len(set(losses)) == 3 and not made.said
    torch.manual_seed(3)
    assert [float(made.steps.step(batch_of(FIRST), 0)) for _ in range(3)] == losses


def test_capture_and_check_leave_weights_gradients_and_random_state_as_they_were(make):
    made = make(dropout=0.5)
    with torch.no_grad():
        for weight in adapter_of(made.model)[1::2]:
            weight.zero_()  # as B is at first
    weights = [weight.clone() for weight in adapter_of(made.model)]
    made.gradients.flat.fill_(3.0)
    state = torch.get_rng_state()
    steps = made.steps
    assert steps._attempt(lambda: steps._new_graph(bucket_of(FIRST), batch_of(FIRST), 0)) is not None
    assert steps.checks == 1
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(made.gradients.flat, torch.full_like(made.gradients.flat, 3.0))
    assert all(map(torch.equal, weights, adapter_of(made.model)))
    assert all(weight.grad is part for weight, part in zip(adapter_of(made.model), made.gradients.parts, strict=True))


def test_with_a_b_of_zeros_the_check_still_sees_a_wrong_gradient_of_a(make, monkeypatch):
    class WrongA(PairTask):
        def padded_loss(self, example):
            loss, figures = super().padded_loss(example)
            a = adapter_of(self.model)[0]
            return loss + (a - a.detach()).sum(), figures

    made = make(task=WrongA)
    with torch.no_grad():
        for weight in adapter_of(made.model)[1::2]:
            weight.zero_()
    assert made.steps.step(batch_of(FIRST), 0) is None
    assert "gradient" in made.said[0]


@pytest.mark.parametrize("factor", [1.02, float("nan")])
def test_a_loss_that_differs_ends_the_graphs_in_one_line(make, factor):
    made = make(task=type("Wrong", (PairTask,), {"factor": factor}))
    assert made.steps.step(batch_of(FIRST), 0) is None
    assert made.steps.step(batch_of(OTHER_BUCKET), 1) is None
    (line,) = made.said
    assert line.startswith("note: in a CUDA graph the loss differs from the plain step's by")
    assert line.endswith("so training goes on with plain steps")
    assert all(weight.grad is None for weight in adapter_of(made.model))
    assert made.steps.facts["way"].startswith("plain steps: in a CUDA graph the loss differs")


@pytest.mark.parametrize("part", ["prompt", "chosen", "rejected", "position"])
def test_the_second_check_sees_a_number_that_the_capture_has_frozen(make, part):
    """Of the example at capture: a length of a part, or the row of the first prediction."""

    class Frozen(PairTask):
        frozen = None

        def padded_loss(self, example):
            result = padded_pair_loss(base_of(self.model), example, 0.5)
            if self.frozen is None:
                self.frozen = {
                    "prompt": float(result.nll),
                    "chosen": int((example.chosen_weights > 0).sum()),
                    "rejected": int((example.rejected_weights > 0).sum()),
                    "position": int(example.predictors[0]),
                }
            number = self.frozen[part]
            if part == "prompt":
                loss = result.loss + (number - result.nll)
            elif part == "position":
                loss = result.loss * (example.predictors[0] / number)
            else:
                weights = example.chosen_weights if part == "chosen" else example.rejected_weights
                loss = result.loss * (weights.max() * number)
            return loss, torch.stack([result.nll])

    made = make(task=Frozen)
    assert made.steps.step(batch_of(FIRST), 0) is not None and not made.said
    assert made.steps.step(batch_of(FIRST), CHECK_AFTER) is not None  # another example is needed
    assert made.steps.step(batch_of(SECOND), CHECK_AFTER - 1) is not None
    assert made.steps.step(batch_of(SECOND), CHECK_AFTER) is None
    assert len(made.said) == 1 and "differs from the plain step's" in made.said[0]


def test_the_second_check_of_a_right_graph_passes(make):
    made = make()
    for number, lengths in ((0, FIRST), (CHECK_AFTER, SECOND), (2 * CHECK_AFTER, FIRST)):
        made.gradients.zero()
        assert_plain(made, made.steps.step(batch_of(lengths), number), batch_of(lengths))
    assert made.steps.checks == 2 and not made.said


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "memory is too short"),
        (RuntimeError("CUDA error: operation not permitted when stream is capturing"), "cannot be captured"),
        (TypeError("forward() got an unexpected keyword argument 'padded'"), "cannot be captured"),
    ],
)
def test_a_capture_that_fails_ends_the_graphs_in_one_line(make, error, said):
    def fail(work):
        work()
        raise error

    made = make(capture=fail)
    assert made.steps.step(batch_of(FIRST), 0) is None
    (line,) = made.said
    assert said in line
    assert made.steps.step(batch_of(FIRST), 1) is None and len(made.said) == 1


def test_a_lost_gpu_is_no_reason_to_go_on(make):
    def fail(work):
        raise RuntimeError("CUDA error: device-side assert triggered")

    with pytest.raises(RuntimeError, match="device-side"):
        make(capture=fail).steps.step(batch_of(FIRST), 0)


def test_work_whose_python_depends_on_the_data_cannot_be_captured(make):
    class Peeks(PairTask):
        def padded_loss(self, example):
            loss, figures = super().padded_loss(example)
            return (loss if float(loss) > 0 else -loss), figures

    made = make(task=Peeks)
    assert made.steps.step(batch_of(FIRST), 0) is None
    assert "cannot be captured" in made.said[0]


def test_buckets_where_plain_steps_are_faster_run_plainly_and_the_others_do_not(make, monkeypatch):
    made = make()
    is_long, timed = [], GraphedSteps._timed

    def slow_if_long(steps, work, times):
        outputs, seconds = timed(steps, work, times)
        return outputs, 2.0 if is_long[-1] and work.__name__ == "replay" else seconds

    monkeypatch.setattr(GraphedSteps, "_timed", slow_if_long)
    for lengths, is_graphed in ((FIRST, True), (OTHER_BUCKET, False), (OTHER_BUCKET, False), (FIRST, True)):
        is_long.append(not is_graphed)
        assert (made.steps.step(batch_of(lengths), 0) is not None) is is_graphed
    assert made.said == [
        "note: rows of 512 tokens train with plain steps, which are faster here (1.000 s a step) than CUDA graphs "
        "(2.000 s)"
    ]


def test_clipping_one_buffer_is_clipping_all_gradients():
    weights = [torch.nn.Parameter(torch.randn(3, 5)), torch.nn.Parameter(torch.randn(7))]
    gradients = AdapterGradients(weights)
    for limit in (0.5, 100.0):
        gradients.flat.copy_(torch.arange(22.0) / 10)
        expected = [part.clone() for part in gradients.parts]
        for weight, part in zip(weights, expected, strict=True):
            weight.grad = part
        norm = torch.nn.utils.clip_grad_norm_(weights, limit)
        torch.testing.assert_close(gradients.clip(limit), norm)
        for part, clipped in zip(gradients.parts, expected, strict=True):
            torch.testing.assert_close(part, clipped)
