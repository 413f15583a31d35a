"""Train the embedded model on a few examples, and print what the main process knows as one JSON object:

    python tests/train_step.py sft|orpo EXAMPLES GLOBAL_BATCH EPOCHS DROPOUT FOLDER

Run it with one process or with several. The gradients are those that the optimiser gets, before clipping. There is a
checkpoint after every second step. With KILLED_AT in the environment, process 1 kills itself in that step.
"""

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

from fine_tuning.run.processes import hide_launcher, processes

os.environ["CUDA_VISIBLE_DEVICES"] = ""


def main() -> None:
    kind, count, size, epochs, dropout, folder = sys.argv[1:]
    here = processes()
    hide_launcher()

    import torch
    from datasets import Dataset
    from transformers import TrainingArguments
    from trl import SFTConfig

    from fine_tuning.data.csv_rows import read_rows
    from fine_tuning.data.tokens import encode_rows
    from fine_tuning.run.options import SEED, Options
    from fine_tuning.run.presets import EMBEDDED
    from fine_tuning.run.workspace import PROJECT
    from fine_tuning.training.adapter import add_adapter
    from fine_tuning.training.base_model import load_base_model, load_tokenizer
    from fine_tuning.training.collectives import end_group, start_group
    from fine_tuning.training.global_batch import GlobalBatch
    from fine_tuning.training.orpo_trainer import OrpoTrainer
    from fine_tuning.training.sft_trainer import AdapterSftTrainer
    from fine_tuning.training.trainer import AdapterTrainerMixin, train, trainer_arguments

    start_group()
    options, rows_to_read = Options("embedded"), int(count) + 3
    rows = read_rows(PROJECT / "create_dataset" / "sft_dataset_llm.csv", scored=False, remedy="")[: rows_to_read + 1]
    tokenizer = load_tokenizer(options)
    encoded = [example for _, example in encode_rows(tokenizer, rows, EMBEDDED.max_length)]
    settings = replace(EMBEDDED.sft, epochs=int(epochs), learning_rate=1e-4)
    preset = replace(EMBEDDED, save_steps=2)
    arguments = trainer_arguments(preset, settings, torch.float32, SEED, int(count), Path(folder), int(size))
    lora = replace(EMBEDDED.lora, rank=2, dropout=float(dropout))
    model = add_adapter(load_base_model(options), lora, SEED)
    with torch.no_grad():  # a B of zeros would make every gradient of A zero
        torch.manual_seed(0)
        for weight in model.parameters():
            if weight.requires_grad:
                weight.normal_(std=0.02)
    trainer: AdapterTrainerMixin
    if kind == "sft":
        examples = Dataset.from_list([{name: row[name] for name in ("input_ids", "labels")} for row in encoded])
        trainer = AdapterSftTrainer(
            model=model,
            args=SFTConfig(**arguments, dataset_kwargs={"skip_prepare_dataset": True}),
            train_dataset=examples.select(range(int(count))),
            eval_dataset=examples.select(range(int(count), rows_to_read)),
            processing_class=tokenizer,
        )
    else:
        prompts = [sum(label == -100 for label in row["labels"]) for row in encoded]
        pairs = Dataset.from_list(
            [
                {
                    "prompt": row["input_ids"][:prompt],
                    "chosen": row["input_ids"][prompt:],
                    "rejected": row["input_ids"][prompt : prompt + 20],
                }
                for row, prompt in zip(encoded, prompts, strict=True)
            ]
        )
        trainer = OrpoTrainer(
            model=model,
            args=TrainingArguments(**arguments, remove_unused_columns=False),
            train_dataset=pairs.select(range(int(count))),
            eval_dataset=pairs.select(range(int(count), rows_to_read)),
            processing_class=tokenizer,
            orpo_lambda=1.0,
        )
    steps = []
    reduce = GlobalBatch.reduce

    def reduce_and_keep(batch: GlobalBatch, is_plain: bool) -> None:
        if here.rank and str(trainer.state.global_step + 1) == os.environ.get("KILLED_AT"):
            os.kill(os.getpid(), signal.SIGKILL)
        reduce(batch, is_plain)
        steps.append(batch.gradients.flat[::97].tolist())

    setattr(GlobalBatch, "reduce", reduce_and_keep)  # noqa: B010
    train(trainer, [])
    end_group()
    if here.is_main:
        names = ["loss", "grad_norm", "learning_rate", "mean_token_accuracy", "nll", "chosen_preferred"]
        names += [f"eval_{name}" for name in names]
        history = [{k: v for k, v in entry.items() if k in names} for entry in trainer.state.log_history]
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        adapter = torch.cat([weight.detach().flatten()[::97] for weight in weights]).tolist()
        print(json.dumps({"gradients": steps, "history": history, "adapter": adapter}))


if __name__ == "__main__":
    from fine_tuning.run.entry_point import run

    run(main)
