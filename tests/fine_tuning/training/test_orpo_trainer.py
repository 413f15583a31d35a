"""The ORPO trainer logs its figures, resumes, and gives the same results as a plain trainer."""

from random import Random
from typing import Any

import torch
from families import tiny_model
from helpers import ROOT
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

from fine_tuning.run.presets import EMBEDDED
from fine_tuning.training.adapter import add_adapter
from fine_tuning.training.orpo_trainer import FIGURES, OrpoTrainer, without_dropout

FOLDER = ROOT / "fine_tuning" / "embedded_model"


class PlainOrpoTrainer(OrpoTrainer):
    """The same loss without what AdapterTrainerMixin changes."""

    training_step = Trainer.training_step
    _clip_grad_norm = Trainer._clip_grad_norm
    floating_point_ops = Trainer.floating_point_ops


def pairs():
    rng = Random(0)
    lengths = ((10, 20, 25), (12, 9, 30), (5, 30, 8))
    return [
        {
            part: [rng.randrange(3, 1500) for _ in range(n)]
            for part, n in zip(("prompt", "chosen", "rejected"), row, strict=True)
        }
        for row in lengths
    ]


def make_trainer(folder, steps, kind=OrpoTrainer, **changes: Any) -> OrpoTrainer:
    model = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32)
    arguments = dict(
        output_dir=str(folder), per_device_train_batch_size=1, per_device_eval_batch_size=1, max_steps=steps,
        learning_rate=1e-3, lr_scheduler_type="constant", save_steps=3, logging_steps=1, eval_strategy="steps",
        eval_steps=3, remove_unused_columns=False, use_cpu=True, report_to="none", disable_tqdm=True,
        gradient_checkpointing=True, gradient_checkpointing_kwargs={"use_reentrant": True}, seed=3,
    )  # fmt: skip
    return kind(
        model=add_adapter(model, EMBEDDED.lora, seed=2025),
        args=TrainingArguments(**arguments | changes),
        train_dataset=pairs(),
        eval_dataset=pairs()[:2],
        orpo_lambda=0.5,
    )


def trained(folder, steps, resume=None, **changes: Any) -> OrpoTrainer:
    trainer = make_trainer(folder, steps, **changes)
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def assert_same_weights(a, b):
    for (name, first), (_, second) in zip(a.model.named_parameters(), b.model.named_parameters(), strict=True):
        assert torch.equal(first, second), name


def test_a_resumed_run_gives_the_same_weights(tmp_path):
    trained(tmp_path / "b", 3)
    resumed = trained(tmp_path / "b", 6, resume=str(tmp_path / "b" / "checkpoint-3"))
    assert_same_weights(trained(tmp_path / "a", 6), resumed)


def test_the_loss_falls_and_figures_are_logged_in_training_and_validation(tmp_path):
    history = trained(tmp_path, 30).state.log_history
    evaluations = [entry for entry in history if "eval_loss" in entry]
    steps = [entry for entry in history if "loss" in entry]
    assert len(steps) == 30 and len(evaluations) == 10
    assert evaluations[-1]["eval_loss"] < evaluations[0]["eval_loss"]
    for entry, prefix in ((steps[0], ""), (evaluations[0], "eval_")):
        figures = [entry[f"{prefix}{name}"] for name in FIGURES]
        assert torch.tensor(figures).isfinite().all()
        assert entry[f"{prefix}loss"] > entry[f"{prefix}nll"]
    assert steps[0]["chosen_preferred"] in (0.0, 1.0)


def test_the_validation_loss_is_the_mean_over_the_pairs(tmp_path):
    trainer = make_trainer(tmp_path, 3)
    losses = []
    for pair in pairs()[:2]:
        trainer.eval_dataset = [pair]
        losses.append(trainer.evaluate()["eval_loss"])
    trainer.eval_dataset = pairs()[:2]
    assert abs(trainer.evaluate()["eval_loss"] - sum(losses) / 2) < 1e-5


def test_figures_and_weights_equal_those_of_a_plain_trainer_bit_for_bit(tmp_path):
    def figures(trainer):
        names = ("step", "loss", "grad_norm", "eval_loss", *FIGURES, *(f"eval_{name}" for name in FIGURES))
        return [{name: entry[name] for name in names if name in entry} for entry in trainer.state.log_history]

    ours, plain = (
        trained(tmp_path / kind.__name__, 6, kind=kind, max_grad_norm=0.5) for kind in (OrpoTrainer, PlainOrpoTrainer)
    )
    assert figures(ours) == figures(plain)
    assert max(entry.get("grad_norm", 0.0) for entry in ours.state.log_history) > 0.5  # so gradients were clipped
    assert_same_weights(ours, plain)


def test_dropout_that_attention_keeps_as_a_number_is_turned_off_too(tmp_path):
    tiny_model(tmp_path, "qwen2", attention_dropout=0.5)
    model = without_dropout(AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="sdpa")).train()
    ids = torch.arange(40)[None]
    assert torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)


def test_clipping_covers_exactly_the_adapters_weights(tmp_path, monkeypatch):
    trainer = make_trainer(tmp_path, 1)
    clip, clipped = trainer.accelerator.clip_grad_norm_, []

    def remember(weights, limit):
        clipped.extend(weights)
        return clip(clipped, limit)

    monkeypatch.setattr(trainer.accelerator, "clip_grad_norm_", remember)
    trainer.train()
    adapter = [weight for name, weight in trainer.model.named_parameters() if "lora_" in name]
    assert len(clipped) == len(adapter) > 0
    assert set(map(id, clipped)) == set(map(id, adapter))


def test_all_modules_are_in_training_mode_in_a_step_and_none_in_validation(tmp_path):
    trainer, modes = make_trainer(tmp_path, 1), []
    trainer.model.eval()
    compute_loss = trainer.compute_loss

    def remember(model, inputs, **named):
        modes.append({module.training for module in model.modules()})
        return compute_loss(model, inputs, **named)

    trainer.compute_loss = remember
    trainer.train()
    assert modes == [{True}, {False}, {False}]  # one step, then a validation of two pairs
