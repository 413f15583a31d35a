"""A training that fails names the row and keeps the last good checkpoint. Continuing changes no result."""

import errno
import json
import os
import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from helpers import problems_of
from trl import SFTConfig, SFTTrainer

from fine_tuning.data.csv_rows import read_rows
from fine_tuning.data.tokens import encode_rows
from fine_tuning.run.log import TrainingLog
from fine_tuning.run.options import SEED, Options
from fine_tuning.run.presets import EMBEDDED, Preset
from fine_tuning.run.workspace import PROJECT
from fine_tuning.training import step_figures
from fine_tuning.training.adapter import add_adapter
from fine_tuning.training.base_model import load_base_model, load_tokenizer
from fine_tuning.training.checkpoints import is_whole, seal
from fine_tuning.training.history import epochs_of, steps_of
from fine_tuning.training.reporter import Reporter
from fine_tuning.training.sft_trainer import AdapterSftTrainer
from fine_tuning.training.trainer import train, trainer_arguments
from fine_tuning.training.walks import without_walks

ROWS, EPOCHS = 10, 2  # 20 steps, with checkpoints after 10 and 20


def make_trainer(
    folder: Path, preset: Preset = EMBEDDED, kind: type[SFTTrainer] = AdapterSftTrainer
) -> tuple[SFTTrainer, list[str]]:
    """A trainer of the embedded model as step 1 makes it, on a few rows, and their prompts."""
    options = Options("embedded")
    rows = read_rows(PROJECT / "create_dataset" / "sft_dataset_llm.csv", scored=False, remedy="")
    tokenizer = load_tokenizer(options)
    examples = [example for _, example in encode_rows(tokenizer, rows[: ROWS + 2], EMBEDDED.max_length)]
    settings = replace(preset.sft, epochs=EPOCHS)
    arguments = trainer_arguments(preset, settings, torch.float32, SEED, ROWS, folder / "checkpoints")
    trainer = kind(
        model=add_adapter(load_base_model(options), preset.lora, SEED),
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


def assert_same_result(trainer: SFTTrainer, uninterrupted) -> None:
    _, weights, history = uninterrupted
    assert all(torch.equal(weight, weights[name]) for name, weight in adapter(trainer).items())
    assert epochs_of(trainer.state.log_history) == epochs_of(history)
    assert steps_of(trainer.state.log_history) == steps_of(history)


def fail_at(trainer: SFTTrainer, step: int, error: Exception | None) -> list[torch.Tensor]:
    """Make the loss of a training step raise an error or, without one, return NaN. Returns the rows so far."""
    compute_loss, rows = trainer.compute_loss, []

    def failing(model, inputs, *arguments: Any, **named: Any):
        if model.training:
            rows.append(inputs["input_ids"][0])
        if not model.training or len(rows) < step:
            return compute_loss(model, inputs, *arguments, **named)
        if error is not None:
            raise error
        return compute_loss(model, inputs, *arguments, **named) * float("nan")

    trainer.compute_loss = failing  # type: ignore[method-assign]
    return rows


def test_figures_and_weights_equal_those_of_trls_trainer_bit_for_bit(uninterrupted, tmp_path):
    trainer, prompts = make_trainer(tmp_path, kind=SFTTrainer)
    train(trainer, prompts)
    assert_same_result(trainer, uninterrupted)
    norms = [step["gradient norm"] for step in steps_of(trainer.state.log_history)]
    assert max(norms) > trainer.args.max_grad_norm  # so gradients were clipped


@pytest.mark.parametrize("save_steps", [EMBEDDED.save_steps, 3], ids=["same", "more checkpoints"])
def test_continuing_after_an_epoch_gives_the_same_adapter_and_history(uninterrupted, tmp_path, save_steps):
    folder, _, history = uninterrupted
    shutil.copytree(folder / "checkpoints" / "checkpoint-10", tmp_path / "checkpoints" / "checkpoint-10")
    trainer, prompts = make_trainer(tmp_path, replace(EMBEDDED, save_steps=save_steps))
    train(trainer, prompts)
    assert_same_result(trainer, uninterrupted)
    assert len(epochs_of(history)) == EPOCHS and len(steps_of(history)) == ROWS * EPOCHS


@pytest.mark.parametrize("first", [0, 10], ids=["from the start", "continued"])
def test_gradient_checkpointing_covers_every_layer_in_every_step(uninterrupted, tmp_path, first):
    if first:
        shutil.copytree(uninterrupted[0] / "checkpoints" / "checkpoint-10", tmp_path / "checkpoints" / "checkpoint-10")
    trainer, prompts = make_trainer(tmp_path, replace(EMBEDDED, gradient_checkpointing=True))
    forwards = []
    for layer in trainer.model.get_base_model().base_model.layers:
        # A layer's own hooks are outside of its checkpoint and run once.
        layer.self_attn.register_forward_pre_hook(lambda part, _: forwards.append(part) if part.training else None)
    train(trainer, prompts)
    layers = trainer.model.config.num_hidden_layers
    assert len(forwards) == 2 * layers * (ROWS * EPOCHS - first)  # forward, and again in the backward pass


def test_a_validation_loss_that_is_not_finite_stops_the_training(tmp_path):
    trainer, prompts = make_trainer(tmp_path)
    prediction_step = trainer.prediction_step
    trainer.prediction_step = lambda *given, **named: (prediction_step(*given, **named)[0] * float("nan"), None, None)
    (problem,) = problems_of(train, trainer, prompts)
    assert problem.startswith(f"after step {ROWS}: the validation loss is nan") and "that row" not in problem


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (None, "the loss is nan"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "--load-in-4bit"),
        (RuntimeError("CUDA error: device-side assert triggered"), "nvidia-smi"),
    ],
    ids=["NaN", "out of memory", "the GPU fails"],
)
def test_a_failing_step_names_its_row_and_keeps_the_good_checkpoint(tmp_path, error, said):
    trainer, prompts = make_trainer(tmp_path)
    rows = fail_at(trainer, 13, error)
    (problem,) = problems_of(train, trainer, prompts)
    text = trainer.processing_class.decode(rows[12])
    (prompt,) = {prompt for prompt in prompts if prompt in text}
    assert problem.startswith(f"step 13, the row of {len(rows[12])} tokens that begins {prompt[:60]!r}: ")
    assert said in problem
    (kept,) = (tmp_path / "checkpoints").glob("checkpoint-*")
    assert kept.name == "checkpoint-10" and is_whole(kept)


def test_figures_that_are_fetched_in_blocks_are_logged_for_every_step_before_a_checkpoint(
    uninterrupted, tmp_path, monkeypatch
):
    monkeypatch.setattr(step_figures, "SECONDS", float("inf"))
    trainer, prompts = make_trainer(tmp_path)
    fetched = []
    log_pending = trainer.log_pending
    trainer.log_pending = lambda: fetched.append(len(trainer.pending)) or log_pending()
    train(trainer, prompts)
    assert_same_result(trainer, uninterrupted)
    assert [steps for steps in fetched if steps] == [10, 10]
    state = (tmp_path / "checkpoints" / "checkpoint-10" / "trainer_state.json").read_text()
    assert len(steps_of(json.loads(state)["log_history"])) == 10


def test_a_bad_step_within_a_block_is_named_with_its_row_and_nothing_after_it_is_saved(tmp_path, monkeypatch):
    monkeypatch.setattr(step_figures, "SECONDS", float("inf"))
    trainer, prompts = make_trainer(tmp_path)
    rows = fail_at(trainer, 13, None)
    (problem,) = problems_of(train, trainer, prompts)
    assert len(rows) == 20  # the steps behind it ran before their losses were fetched
    text = trainer.processing_class.decode(rows[12])
    (prompt,) = {prompt for prompt in prompts if prompt in text}
    assert problem.startswith(
        f"step 13, the row of {len(rows[12])} tokens that begins {prompt[:60]!r}: the loss is nan"
    )
    (kept,) = (tmp_path / "checkpoints").glob("checkpoint-*")
    assert kept.name == "checkpoint-10"


def test_no_step_walks_through_all_modules(tmp_path):
    trainer, _ = make_trainer(tmp_path)
    model, cleared = trainer.model, []
    with without_walks(model, lambda: cleared.append(1)):
        assert all(module.training for module in model.modules())
        model.eval()
        assert not any(module.training for module in model.modules())
        model.train()
        inner = next(model.children())
        inner.training = False
        model.train()  # is in training mode already, so it looks at nothing
        assert not inner.training
        model.zero_grad()
        assert cleared == [1]
    model.train()
    assert inner.training


def test_a_bug_in_the_program_keeps_its_own_error(tmp_path):
    trainer, prompts = make_trainer(tmp_path)
    fail_at(trainer, 1, KeyError("labels"))
    with pytest.raises(KeyError):
        train(trainer, prompts)


def test_an_infinite_gradient_stops_the_training(tmp_path):
    trainer, prompts = make_trainer(tmp_path)
    weight = next(weight for weight in trainer.model.parameters() if weight.requires_grad)
    weight.register_hook(lambda gradient: gradient * float("inf") if trainer.state.global_step == 4 else gradient)
    (problem,) = problems_of(train, trainer, prompts)
    assert problem.startswith("step 5, the row of ") and "the gradient is" in problem
    assert not list(tmp_path.glob("checkpoints/*"))


def test_after_a_full_disk_in_a_checkpoint_continuing_gives_the_same_adapter(
    uninterrupted, tmp_path, capsys, monkeypatch
):
    def full(state, path):
        Path(path).write_bytes(b"cut")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    trainer, prompts = make_trainer(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        (problem,) = problems_of(train, trainer, prompts)
    assert problem.startswith(f"after step 10: {tmp_path / 'checkpoints' / 'checkpoint-10'}")
    assert "No space left on device. Free some space" in problem and "Then continue: " in problem
    trainer, prompts = make_trainer(tmp_path)
    train(trainer, prompts)
    assert f"removing {tmp_path / 'checkpoints' / 'checkpoint-10'}" in capsys.readouterr().out
    assert_same_result(trainer, uninterrupted)


class Bomb:
    """Makes a folder when a loader that runs code unpickles it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"])
@pytest.mark.parametrize("protocol", ["torch", "bare"])
def test_code_in_a_checkpoint_is_never_run(uninterrupted, tmp_path, name, protocol):
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
        (problem,) = problems_of(train, trainer, prompts)
        assert problem.startswith(f"{checkpoint}: ") and "more than numbers" in problem
    assert not (tmp_path / "exploded").exists()
    pickle.loads(pickle.dumps(bomb))
    assert (tmp_path / "exploded").exists(), "unpickling makes no folder, so this test would prove nothing"
