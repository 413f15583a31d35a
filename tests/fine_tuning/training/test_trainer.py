"""Training that fails halfway: the last good checkpoint stays, the row is named, and nothing is lost by going on."""

import errno
import math
import os
import pickle
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from fine_tuning.common import add_adapter, load_base_model, load_tokenizer
from fine_tuning.data.csv_rows import read_rows
from fine_tuning.data.tokens import encode_rows
from fine_tuning.run import files
from fine_tuning.run.log import TrainingLog
from fine_tuning.run.options import Options
from fine_tuning.run.presets import EMBEDDED, Preset
from fine_tuning.run.workspace import PROJECT, Workspace
from fine_tuning.training import checkpoints as checkpoints_module
from fine_tuning.training.checkpoints import WHOLE, is_whole, last_whole_checkpoint, seal
from fine_tuning.training.history import epochs_of, steps_of
from fine_tuning.training.trainer import OVERFLOWS, NotFinite, Reporter, train, trainer_arguments

ROWS, EPOCHS = 10, 2  # 20 steps, with checkpoints after 10 and 20


def make_trainer(folder: Path, preset: Preset = EMBEDDED) -> tuple[SFTTrainer, list[str]]:
    """A trainer of the embedded model as step 1 makes it, on a few rows, and their prompts."""
    options = Options("embedded", None, Workspace(folder), 2025, None, "auto", False, False)
    rows, _ = read_rows(PROJECT / "create_dataset" / "sft_dataset_llm.csv", scored=False, remedy="")
    tokenizer = load_tokenizer(options)
    examples = [example for _, example in encode_rows(tokenizer, rows[: ROWS + 2], EMBEDDED.max_length)[0]]
    arguments = trainer_arguments(options, preset, folder / "checkpoints", ROWS, EPOCHS, preset.sft_learning_rate)
    trainer = SFTTrainer(
        model=add_adapter(load_base_model(options), options, preset),
        args=SFTConfig(**arguments, dataset_kwargs={"skip_prepare_dataset": True}),
        train_dataset=Dataset.from_list(examples[:ROWS]),
        eval_dataset=Dataset.from_list(examples[ROWS:]),
        processing_class=tokenizer,
        callbacks=[Reporter(TrainingLog(folder / "log", "log", "training"), "training")],
    )
    return trainer, [row.prompt for row in rows[:ROWS]]


def adapter(trainer: SFTTrainer) -> dict[str, torch.Tensor]:
    model: Any = trainer.model
    return {name: weight.clone() for name, weight in model.named_parameters() if weight.requires_grad}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """A finished training: its folder, its adapter and its history."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    trainer, prompts = make_trainer(folder)
    train(trainer, prompts)
    return folder, adapter(trainer), trainer.state.log_history


def fail_at(trainer: SFTTrainer, step: int, error: Exception | None) -> None:
    """Let a training step raise an error or, where there is none, give a loss that is no number."""
    training_step, steps = trainer.training_step, 0

    def failing(*arguments):
        nonlocal steps
        steps += 1
        if steps < step:
            return training_step(*arguments)
        if error is not None:
            raise error
        return training_step(*arguments) * float("nan")

    trainer.training_step = failing  # type: ignore[method-assign]


def stopped_message(trainer: SFTTrainer, prompts: list[str], capsys) -> str:
    with pytest.raises(SystemExit) as stopped:
        train(trainer, prompts)
    assert stopped.value.code == 2
    lines = capsys.readouterr().err.replace("\r", "\n").splitlines()
    return next(line for line in lines if line.startswith("error: "))


def test_going_on_from_an_epochs_last_checkpoint_ends_in_the_same_adapter_and_history(uninterrupted, tmp_path):
    folder, weights, history = uninterrupted
    shutil.copytree(folder / "checkpoints" / "checkpoint-10", tmp_path / "checkpoints" / "checkpoint-10")
    trainer, prompts = make_trainer(tmp_path)
    train(trainer, prompts)
    assert all(torch.equal(weight, weights[name]) for name, weight in adapter(trainer).items())
    assert len(epochs_of(history)) == EPOCHS
    assert epochs_of(trainer.state.log_history) == epochs_of(history)
    assert steps_of(trainer.state.log_history) == steps_of(history) and len(steps_of(history)) == ROWS * EPOCHS


@pytest.mark.parametrize("first", [0, 10], ids=["from the start", "going on"])
def test_every_layer_is_checkpointed_in_every_step(uninterrupted, tmp_path, first):
    if first:
        shutil.copytree(uninterrupted[0] / "checkpoints" / "checkpoint-10", tmp_path / "checkpoints" / "checkpoint-10")
    trainer, prompts = make_trainer(tmp_path, replace(EMBEDDED, gradient_checkpointing=True))
    forwards = []
    for layer in trainer.model.get_base_model().base_model.layers:
        # A layer's own hooks stand outside of its checkpoint, and run once.
        layer.self_attn.register_forward_pre_hook(lambda part, _: forwards.append(part) if part.training else None)
    train(trainer, prompts)
    layers = trainer.model.config.num_hidden_layers
    assert len(forwards) == 2 * layers * (ROWS * EPOCHS - first)  # forward, and again in the backward pass


def test_a_validation_loss_that_is_no_number_stops_the_training(tmp_path, capsys):
    trainer, prompts = make_trainer(tmp_path)
    prediction_step = trainer.prediction_step
    trainer.prediction_step = lambda *given, **named: (prediction_step(*given, **named)[0] * float("nan"), None, None)
    message = stopped_message(trainer, prompts, capsys)
    assert message.startswith(f"error: after step {ROWS}: the validation loss is nan") and "that row" not in message


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (None, "the loss is nan"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "--load-in-4bit"),
        (RuntimeError("CUDA error: device-side assert triggered"), "nvidia-smi"),
    ],
    ids=["no number", "memory", "no GPU any more"],
)
def test_a_failing_step_is_named_with_its_row_and_the_good_checkpoint_stays(tmp_path, capsys, error, said):
    trainer, prompts = make_trainer(tmp_path)
    fail_at(trainer, 13, error)
    message = stopped_message(trainer, prompts, capsys)
    assert message.startswith("error: step 13, the row of ") and said in message
    assert any(repr(prompt[:60]) in message for prompt in prompts)
    (kept,) = (tmp_path / "checkpoints").glob("checkpoint-*")
    assert kept.name == "checkpoint-10" and is_whole(kept)


def test_an_infinite_gradient_stops_the_training_too(tmp_path, capsys):
    trainer, prompts = make_trainer(tmp_path)
    weight = next(weight for weight in trainer.model.parameters() if weight.requires_grad)
    weight.register_hook(lambda gradient: gradient * float("inf") if trainer.state.global_step == 4 else gradient)
    message = stopped_message(trainer, prompts, capsys)
    assert message.startswith("error: step 5, the row of ") and "the gradient is" in message
    assert not list(tmp_path.glob("checkpoints/*"))


def test_a_disk_that_fills_up_in_a_checkpoint_is_told_and_going_on_ends_in_the_same_adapter(
    uninterrupted, tmp_path, capsys, monkeypatch
):
    def full(state, path):
        Path(path).write_bytes(b"cut")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    trainer, prompts = make_trainer(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        message = stopped_message(trainer, prompts, capsys)
    assert message.startswith(f"error: after step 10: {tmp_path / 'checkpoints' / 'checkpoint-10'}")
    assert "No space left on device. Make room" in message and "Then go on: " in message
    trainer, prompts = make_trainer(tmp_path)
    train(trainer, prompts)
    assert "passing over" in capsys.readouterr().out
    assert all(torch.equal(weight, uninterrupted[1][name]) for name, weight in adapter(trainer).items())


class Bomb:
    """What runs a command when it is unpickled without care."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"])
@pytest.mark.parametrize("protocol", ["torch", "bare"])
def test_no_code_in_a_checkpoint_that_was_handed_over_is_run(uninterrupted, tmp_path, capsys, name, protocol):
    checkpoint = tmp_path / "checkpoints" / "checkpoint-10"
    shutil.copytree(uninterrupted[0] / "checkpoints" / "checkpoint-10", checkpoint)
    bomb = Bomb(tmp_path / "exploded")
    if protocol == "torch":
        torch.save(bomb, checkpoint / name)
    else:
        (checkpoint / name).write_bytes(pickle.dumps(bomb))
    seal(checkpoint)
    trainer, prompts = make_trainer(tmp_path)
    if name == "training_args.bin":  # is never read
        train(trainer, prompts)
    else:
        assert "more than numbers" in stopped_message(trainer, prompts, capsys)
    assert not (tmp_path / "exploded").exists()
    pickle.loads(pickle.dumps(bomb))
    assert (tmp_path / "exploded").exists(), "the bomb is a dud"


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    folder = tmp_path / "checkpoint-30"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    (folder / "optimizer.pt").write_bytes(b"moments")
    return folder


def test_a_checkpoint_is_whole_only_once_it_is_sealed(checkpoint):
    assert not is_whole(checkpoint)
    seal(checkpoint)
    assert is_whole(checkpoint)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "optimizer.pt").write_bytes(b"momentS"),
        lambda folder: (folder / "optimizer.pt").write_bytes(b"mom"),
        lambda folder: (folder / "optimizer.pt").unlink(),
        lambda folder: (folder / "pytorch_model.bin").write_bytes(b"more"),
        lambda folder: (folder / WHOLE).write_bytes(b"{"),
        lambda folder: (folder / WHOLE).write_bytes(b"\xff"),
        lambda folder: (folder / WHOLE).unlink(),
    ],
    ids=["changed", "cut", "gone", "one more", "seal cut", "seal garbled", "no seal"],
)
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(checkpoint, capsys, damage):
    shutil.copytree(checkpoint, checkpoint.with_name("checkpoint-4"))
    (checkpoint.parent / "checkpoint-best").mkdir()
    for folder in (checkpoint, checkpoint.with_name("checkpoint-4")):
        seal(folder)
    assert last_whole_checkpoint(checkpoint.parent) == checkpoint
    damage(checkpoint)
    assert last_whole_checkpoint(checkpoint.parent) == checkpoint.with_name("checkpoint-4")
    assert capsys.readouterr().out == f"passing over {checkpoint}: it is not whole\n"


def test_the_seal_is_set_only_after_everything_else_is_on_disk(checkpoint, monkeypatch):
    (checkpoint / "sub").mkdir()
    (checkpoint / "sub" / "weights").write_bytes(b"x")
    synced, at_seal = set(), set()
    real_sync, real_write = os.fsync, files.write_atomically

    def sync(descriptor):
        synced.add(os.readlink(f"/proc/self/fd/{descriptor}"))
        real_sync(descriptor)

    def write(path, content):
        at_seal.update(synced)
        real_write(path, content)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(checkpoints_module, "write_atomically", write)
    seal(checkpoint)
    assert {str(checkpoint), *map(str, checkpoint.rglob("*"))} - {str(checkpoint / WHOLE)} == at_seal
    assert str(checkpoint.parent) in synced


@pytest.mark.parametrize(
    ("is_float16", "gradients", "told"),
    [
        (True, [math.inf] * (OVERFLOWS - 1) + [1.0] + [math.inf] * (OVERFLOWS - 1), None),
        (True, [math.inf] * OVERFLOWS, "overflowed"),
        (True, [math.nan] * OVERFLOWS, "overflowed"),
        (False, [math.inf], "the gradient is inf"),
    ],
)
def test_float16_may_overflow_now_and_then_but_not_for_ever(tmp_path, is_float16, gradients, told):
    reporter = Reporter(TrainingLog(tmp_path, "log", "training"), "training")
    state = SimpleNamespace(global_step=0, max_steps=len(gradients), log_history=[])
    arguments = SimpleNamespace(fp16=is_float16)
    reporter.on_train_begin(arguments, state, None)
    with pytest.raises(NotFinite, match=told) if told else nullcontext():
        for step, gradient in enumerate(gradients, start=1):
            state.log_history.append({"step": step, "epoch": 1.0, "loss": 0.1, "grad_norm": gradient})
            reporter.on_log(arguments, state, None)
