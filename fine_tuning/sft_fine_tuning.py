"""Step 1 of 3: supervised fine-tuning. The base model learns to answer a request with the text of a diagram.

    python fine_tuning/sft_fine_tuning.py                                     the real model, on a CUDA GPU
    python fine_tuning/sft_fine_tuning.py --model embedded --workspace demo   a small model, on a CPU

reads   create_dataset/sft_dataset_llm.csv
writes  models/sft (a LoRA adapter and the tokenizer), log/log_train_final_sft.md
next    python fine_tuning/orpo_create_dataset.py

You can stop it at any time. The same command continues from the last checkpoint.
"""

from statistics import fmean

from fine_tuning.common import frame_of, limit_prompts, new_adapter, run, scoring_of, split_prompts
from fine_tuning.data.sft_csv import read_sft_rows
from fine_tuning.data.trained_size import LARGEST, largest_of
from fine_tuning.run.errors import UserError
from fine_tuning.run.files import sha256
from fine_tuning.training_step import TrainingStep


def main() -> None:
    # 1. Read the rows and split them by prompt. All problems are reported together, before torch is imported.
    step = TrainingStep(1, __doc__)
    options, workspace, preset = step.options, step.workspace, step.preset
    csv_path = workspace.file_to_read(workspace.sft_csv)
    with step.checks:
        all_rows = step.read(read_sft_rows)
    step.check()
    rows = limit_prompts(all_rows, options.max_rows)
    train_prompts, _ = split_prompts(rows, options.seed)
    step.scoring = scoring_of(all_rows)  # do the references fix a style and an order?
    step.frame = frame_of(row.prompt for row in all_rows)  # what stands around the request in every prompt
    settings = options.settings() | {"data sha256": sha256(csv_path)} | step.scoring.settings()
    if step.is_done(settings | preset.settings(step=1)):
        return

    from trl import SFTConfig

    from fine_tuning.training.adapter import save_adapter
    from fine_tuning.training.memory_check import row_loss
    from fine_tuning.training.sft_trainer import AdapterSftTrainer

    # 2. Turn prompt and completion into token ids, on disk. Labels of -100 mask the prompt: the loss is on the
    #    completion only.
    tokenizer = step.load_tokenizer()
    encoded = step.store_rows(tokenizer, rows, csv_path)
    train_set, validation_set = encoded.divide(train_prompts)
    if not train_set or not validation_set:
        raise UserError(f"{csv_path}: too few rows of at most {step.max_length} tokens to train and to validate")

    # 3. Check that a training step on the longest row fits into memory. Then put a new LoRA adapter on the base model.
    step.check_memory(row_loss(encoded.longest), "row", lambda: new_adapter(options, preset))
    model = new_adapter(options, preset)
    data = {
        "file": csv_path.name,
        "rows": len(all_rows),
        "rows used": len(encoded),
        "rows left out (too long, or with a special token)": len(rows) - len(encoded),
        "training rows": len(train_set),
        "validation rows": len(validation_set),
        "longest row in tokens": max(encoded.lengths),
        "mean row in tokens": round(fmean(encoded.lengths), 1),
    } | step.frame.facts()
    step.begin("Supervised fine-tuning", data)
    print(f"{options.model_name}: {len(train_set)} rows to train on, {len(validation_set)} to validate on")

    # 4. Train the adapter with TRL's SFTTrainer, one row per step. The loss is the mean NLL of the completion's tokens.
    trainer = AdapterSftTrainer(
        model=model,
        args=SFTConfig(
            **step.trainer_arguments(preset.sft, len(train_set)),
            max_length=step.max_length,
            dataset_kwargs={"skip_prepare_dataset": True},
        ),
        train_dataset=train_set,
        eval_dataset=validation_set,
        processing_class=tokenizer,
    )
    train_tokens = encoded.tokens_of(train_prompts)
    figures = step.train(trainer, "supervised fine-tuning", train_prompts, train_tokens)
    save_adapter(model, tokenizer, workspace.sft_model, options, step.frame)

    # 5. Validate: generate an answer to each held-out prompt and score it.
    held_out = [row for row in encoded.sources if row.prompt not in train_prompts]
    figures[LARGEST] = largest_of(row.answer for row in encoded.sources if row.prompt in train_prompts)
    step.finish(figures | step.validate("after SFT", model, tokenizer, held_out))


if __name__ == "__main__":
    run(main)
