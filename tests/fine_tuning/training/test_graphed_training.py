"""A training by captured steps goes as the plain one does: the same figures, weights, validations and checkpoints.

Operations that are recorded on a CPU and replayed in the same memory stand in for CUDA graphs.
"""

from dataclasses import replace
from random import Random

import pytest
import torch
from datasets import Dataset
from recording import record
from tiny_llama import adapter_of, pair_of, tiny_llama
from transformers import AutoTokenizer, TrainingArguments
from trl import SFTConfig

from fine_tuning.run.errors import UserError
from fine_tuning.run.log import TrainingLog
from fine_tuning.run.options import EMBEDDED_FOLDER
from fine_tuning.run.presets import REAL
from fine_tuning.training import global_batch
from fine_tuning.training.graph_setup import graphs_for, why_plain
from fine_tuning.training.graphed_steps import GraphedSteps
from fine_tuning.training.history import steps_of
from fine_tuning.training.length_buckets import Lengths, buckets_of
from fine_tuning.training.orpo_trainer import FIGURES, OrpoTrainer
from fine_tuning.training.reporter import Reporter
from fine_tuning.training.sft_trainer import AdapterSftTrainer
from fine_tuning.training.trainer import train, trainer_arguments

EXAMPLES, EPOCHS = 12, 2
RNG = Random(3)
PAIRS = [pair_of(Lengths(RNG.randrange(2, 40), RNG.randrange(1, 300), RNG.randrange(1, 200))) for _ in range(14)]
ROWS = [
    {"input_ids": pair["prompt"] + pair["chosen"], "labels": [-100] * len(pair["prompt"]) + pair["chosen"]}
    for pair in PAIRS
]


@pytest.fixture(autouse=True)
def replays_count_as_faster(monkeypatch):
    monkeypatch.setattr(GraphedSteps, "_is_faster", lambda *_: True)


def make_trainer(kind, folder, dropout=0.0, size=1):
    settings = replace(REAL.sft, epochs=EPOCHS, learning_rate=1e-3)
    arguments = trainer_arguments(REAL, settings, torch.float32, 5, EXAMPLES, folder / "checkpoints", size)
    arguments["optim"] = "sgd"  # Adam takes steps of one size where a gradient is nothing but rounding
    examples = PAIRS if kind is OrpoTrainer else ROWS
    common = dict(
        model=tiny_llama(dropout, vocab_size=2000).float(),
        train_dataset=Dataset.from_list(examples[:EXAMPLES]),
        eval_dataset=Dataset.from_list(examples[EXAMPLES:]),
        processing_class=AutoTokenizer.from_pretrained(EMBEDDED_FOLDER),
        callbacks=[Reporter(TrainingLog(folder / "log", "log", "training"), "training")],
    )
    if kind is OrpoTrainer:
        return kind(args=TrainingArguments(**arguments, remove_unused_columns=False), orpo_lambda=0.5, **common)
    return kind(args=SFTConfig(**arguments, dataset_kwargs={"skip_prepare_dataset": True}), **common)


def trained(kind, folder, capture=None, dropout=0.0, size=1):
    """A trainer that has finished, by captured steps if there is a way to capture them, and what it said."""
    trainer, said, graphs = make_trainer(kind, folder, dropout, size), [], None
    if capture:
        graphs = GraphedSteps(trainer, trainer.model, capture, 1000, False, None, said.append)
    train(trainer, [], graphs)
    return trainer, said


@pytest.mark.parametrize("kind", [OrpoTrainer, AdapterSftTrainer])
def test_a_captured_training_has_the_figures_weights_and_validations_of_the_plain_one(kind, tmp_path):
    plain, _ = trained(kind, tmp_path / "plain")
    captured, said = trained(kind, tmp_path / "captured", record)
    assert not said
    assert captured.way["steps by graph"] == str(EXAMPLES * EPOCHS) and captured.way["way"] == "CUDA graphs"
    assert int(captured.way["checks against the plain step"]) > int(captured.way["graphs"]) > 1
    names = ("loss", "grad_norm", "learning_rate", *(FIGURES if kind is OrpoTrainer else ("mean_token_accuracy",)))
    steps = [[entry for entry in trainer.state.log_history if "loss" in entry] for trainer in (plain, captured)]
    for one, other in zip(*steps, strict=True):
        for name in names:
            assert other[name] == pytest.approx(one[name], rel=2e-3, abs=1e-3), (one["step"], name)
    expected, found = ([e["eval_loss"] for e in t.state.log_history if "eval_loss" in e] for t in (plain, captured))
    assert len(expected) == EPOCHS and found == pytest.approx(expected, rel=1e-3)
    for one, other in zip(adapter_of(plain.model), adapter_of(captured.model), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-4)
    assert all(weight.grad is None for weight in adapter_of(captured.model))


@pytest.mark.parametrize("kind", [OrpoTrainer, AdapterSftTrainer])
def test_a_training_whose_first_capture_fails_is_the_plain_one_bit_for_bit(kind, tmp_path):
    def fail(work):
        raise RuntimeError("operation not permitted when stream is capturing")

    plain, _ = trained(kind, tmp_path / "plain", dropout=0.1)
    fallen_back, said = trained(kind, tmp_path / "fallen_back", fail, dropout=0.1)
    assert len(said) == 1 and "so training goes on with plain steps" in said[0]
    assert steps_of(fallen_back.state.log_history) == steps_of(plain.state.log_history)
    for one, other in zip(adapter_of(plain.model), adapter_of(fallen_back.model), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("kind", [OrpoTrainer, AdapterSftTrainer])
def test_a_validation_that_has_no_memory_beside_graphs_gets_theirs(kind, tmp_path, monkeypatch):
    plain, _ = trained(kind, tmp_path / "plain")
    predict = kind.prediction_step

    def scarce(trainer, *arguments, **named):
        if trainer.graphs and not trainer.graphs.reason:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return predict(trainer, *arguments, **named)

    monkeypatch.setattr(kind, "prediction_step", scarce)
    trainer, said = trained(kind, tmp_path / "scarce", record)
    (line,) = said
    assert "memory is too short for a validation beside CUDA graphs" in line
    assert 0 < trainer.graphs.steps <= EXAMPLES  # those of the first epoch
    validations = [
        [entry["eval_loss"] for entry in each.state.log_history if "eval_loss" in entry] for each in (plain, trainer)
    ]
    assert validations[1] == pytest.approx(validations[0], rel=1e-3) and len(validations[1]) == EPOCHS


def test_continuing_a_captured_training_with_dropout_gives_the_same_adapter(tmp_path):
    whole, _ = trained(AdapterSftTrainer, tmp_path / "whole", record, dropout=0.2)
    (tmp_path / "again").mkdir()
    (tmp_path / "whole" / "checkpoints" / "checkpoint-20").rename(tmp_path / "20")
    (tmp_path / "again" / "checkpoints").mkdir()
    (tmp_path / "20").rename(tmp_path / "again" / "checkpoints" / "checkpoint-20")
    continued, said = trained(AdapterSftTrainer, tmp_path / "again", record, dropout=0.2)
    assert not said and continued.way["steps by graph"] == str(EXAMPLES * EPOCHS - 20)
    for one, other in zip(adapter_of(whole.model), adapter_of(continued.model), strict=True):
        torch.testing.assert_close(one, other)


def test_the_loss_of_a_gpu_logs_the_figures_of_trls(tmp_path):
    of_trl, _ = trained(AdapterSftTrainer, tmp_path / "trl")
    trainer = make_trainer(AdapterSftTrainer, tmp_path / "own")
    trainer.has_own_loss = True
    train(trainer, [])
    for one, other in zip(of_trl.state.log_history, trainer.state.log_history, strict=True):
        for name in ("loss", "grad_norm", "mean_token_accuracy", "eval_loss", "eval_mean_token_accuracy"):
            if name in one:
                assert other[name] == pytest.approx(one[name], rel=2e-3, abs=1e-3), (one["step"], name)


@pytest.mark.parametrize("kind", [OrpoTrainer, AdapterSftTrainer])
def test_the_lengths_of_a_data_set_are_those_of_its_examples(kind, tmp_path):
    trainer = make_trainer(kind, tmp_path)
    shuffled = trainer.train_dataset.select([5, 1, 3])
    batches = [trainer.data_collator([shuffled[k]]) for k in range(3)]
    expected = buckets_of(trainer.example_of(batch)[1] for batch in batches)
    assert buckets_of(trainer.lengths_of(shuffled)) == expected
    assert buckets_of(trainer.lengths_of([shuffled[k] for k in range(3)])) == expected


def test_the_log_says_why_steps_are_plain(tmp_path, monkeypatch):
    trainer = make_trainer(AdapterSftTrainer, tmp_path)
    assert graphs_for(trainer) is None and trainer.way == {"way": "plain steps: there is no GPU"}
    assert why_plain(trainer, plain=True, load_in_4bit=False) == "--plain"
    monkeypatch.setattr("fine_tuning.training.graph_setup.device_name", lambda: "cuda")
    assert "4 bits" in why_plain(trainer, plain=False, load_in_4bit=True)
    assert "experts" in why_plain(trainer, plain=False, load_in_4bit=False)  # TRL's loss
    trainer.has_own_loss = True
    assert why_plain(trainer, plain=False, load_in_4bit=False) == ""
    next(iter(trainer.model.modules())).attention_dropout = 0.1
    assert "dropout of its own" in why_plain(trainer, plain=False, load_in_4bit=False)


SIZE = 5  # of a global batch; the last one of an epoch has 2 examples


def assert_alike(one, other, names=("loss", "grad_norm", "eval_loss", "learning_rate")):
    """The figures and weights of two trainings are equal but for rounding."""
    steps = [entry for entry in one.state.log_history if "loss" in entry]
    assert len(steps) == EPOCHS * -(-EXAMPLES // SIZE)
    for entry, same in zip(one.state.log_history, other.state.log_history, strict=True):
        for name in names:
            assert (name in entry) == (name in same)
            if name in entry:
                assert same[name] == pytest.approx(entry[name], rel=2e-3, abs=1e-3), (entry["step"], name)
    for weight, same in zip(adapter_of(one.model), adapter_of(other.model), strict=True):
        torch.testing.assert_close(same, weight, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", [OrpoTrainer, AdapterSftTrainer])
def test_the_steps_of_a_global_batch_are_those_of_the_trainers_own_accumulation(kind, tmp_path, monkeypatch):
    """TRL's mean over all answer tokens of several rows, and transformers' mean over several pairs."""
    own, _ = trained(kind, tmp_path / "own", size=SIZE)
    monkeypatch.setattr(kind, "has_global_batch", False)
    of_libraries, _ = trained(kind, tmp_path / "libraries", size=SIZE)
    assert own.global_batch and not of_libraries.global_batch
    assert_alike(of_libraries, own)


@pytest.mark.parametrize("kind", [OrpoTrainer, AdapterSftTrainer])
def test_a_global_batch_of_captured_steps_is_that_of_plain_ones(kind, tmp_path):
    plain, _ = trained(kind, tmp_path / "plain", size=SIZE)
    captured, said = trained(kind, tmp_path / "captured", record, size=SIZE)
    assert not said and captured.way["steps by graph"] == str(EXAMPLES * EPOCHS)
    assert_alike(plain, captured, ("loss", "grad_norm", "eval_loss", *plain.figure_names))


def test_a_global_batch_goes_on_plainly_when_a_capture_fails(tmp_path):
    calls = []

    def fail_later(work):
        calls.append(work)
        if len(calls) == 2:
            raise RuntimeError("operation not permitted when stream is capturing")
        return record(work)

    plain, _ = trained(AdapterSftTrainer, tmp_path / "plain", size=SIZE)
    fallen_back, said = trained(AdapterSftTrainer, tmp_path / "fallen_back", fail_later, size=SIZE)
    assert len(said) == 1 and fallen_back.graphs.steps > 0
    assert_alike(plain, fallen_back)


def test_graphs_give_way_when_those_of_another_process_have(tmp_path, monkeypatch):
    def with_a_plain_process(flat):
        flat[-1] += 1

    monkeypatch.setattr(global_batch, "all_reduce_", with_a_plain_process)
    trainer, said = trained(AdapterSftTrainer, tmp_path, record, size=SIZE)
    assert said == ["note: another process trains with plain steps, so training goes on with plain steps"]
    assert "processes with plain steps" not in trainer.state.log_history[0]


def test_a_loss_that_is_not_finite_names_the_step_of_a_global_batch(tmp_path, monkeypatch):
    monkeypatch.setattr(global_batch, "all_reduce_", lambda flat: flat.fill_(torch.nan))
    with pytest.raises(UserError, match=f"step 1, one of {SIZE} rows: the loss is nan"):
        trained(AdapterSftTrainer, tmp_path, size=SIZE)


def test_continuing_a_global_batch_with_dropout_gives_the_same_adapter(tmp_path):
    whole, _ = trained(AdapterSftTrainer, tmp_path / "whole", dropout=0.2, size=2)
    (tmp_path / "again" / "checkpoints").mkdir(parents=True)
    (tmp_path / "whole" / "checkpoints" / "checkpoint-10").rename(tmp_path / "again" / "checkpoints" / "checkpoint-10")
    continued, _ = trained(AdapterSftTrainer, tmp_path / "again", dropout=0.2, size=2)
    assert steps_of(continued.state.log_history) == steps_of(whole.state.log_history)
    for one, other in zip(adapter_of(whole.model), adapter_of(continued.model), strict=True):
        assert torch.equal(one, other)
