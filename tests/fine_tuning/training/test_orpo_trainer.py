"""The ORPO trainer: its figures, its resume, and that sparing it work changes nothing."""

from pathlib import Path
from random import Random

import torch
from helpers import ROOT
from transformers import AutoModelForCausalLM, TrainingArguments

from fine_tuning.common import add_adapter
from fine_tuning.run.options import Options
from fine_tuning.run.presets import EMBEDDED
from fine_tuning.run.workspace import Workspace
from fine_tuning.training.orpo_trainer import FIGURES, OrpoTrainer
from fine_tuning.training.trainer import spare_walks

FOLDER = ROOT / "fine_tuning" / "embedded_model"
OPTIONS = Options("embedded", None, Workspace(Path("nowhere")), 2025, None, "auto", False, False)


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


def make_trainer(folder, steps):
    model = add_adapter(AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32), OPTIONS, EMBEDDED)
    arguments = TrainingArguments(
        output_dir=str(folder), per_device_train_batch_size=1, per_device_eval_batch_size=1, max_steps=steps,
        learning_rate=1e-3, lr_scheduler_type="constant", save_steps=3, logging_steps=1, eval_strategy="steps",
        eval_steps=3, remove_unused_columns=False, use_cpu=True, report_to="none", disable_tqdm=True,
        gradient_checkpointing=True, gradient_checkpointing_kwargs={"use_reentrant": True}, seed=3,
    )  # fmt: skip
    return OrpoTrainer(model=model, args=arguments, train_dataset=pairs(), eval_dataset=pairs()[:2], orpo_lambda=0.5)


def trained(folder, steps, resume=None, prepare=lambda trainer: None):
    trainer = make_trainer(folder, steps)
    prepare(trainer)
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def assert_same_weights(a, b):
    for (name, first), (_, second) in zip(a.model.named_parameters(), b.model.named_parameters(), strict=True):
        assert torch.equal(first, second), name


def test_a_resumed_run_ends_with_the_same_weights(tmp_path):
    trained(tmp_path / "b", 3)
    resumed = trained(tmp_path / "b", 6, resume=str(tmp_path / "b" / "checkpoint-3"))
    assert_same_weights(trained(tmp_path / "a", 6), resumed)


def test_the_loss_falls_and_the_figures_are_logged_when_training_and_when_validating(tmp_path):
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


def test_sparing_the_walks_changes_no_weight_and_validates_without_training(tmp_path):
    spared = trained(tmp_path / "a", 6, prepare=spare_walks)
    assert_same_weights(spared, trained(tmp_path / "b", 6))
    assert spared.model.eval().training is False
    assert not any(module.training for module in spared.model.modules())
    spared.model.train()
    assert all(module.training for module in spared.model.modules())
