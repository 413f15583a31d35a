"""Step 3 of 3: odds-ratio preference optimisation (ORPO, arXiv 2403.07691). The tuned model learns to prefer its better
answers: readable diagrams in the house style. With P(y) = exp(mean log-probability of the tokens of answer y):

    loss = NLL(chosen) - lambda * log sigmoid(log odds(chosen) - log odds(rejected)),  odds(y) = P(y) / (1 - P(y))

    python fine_tuning/orpo_fine_tuning.py                                     after step 2, on a CUDA GPU
    python fine_tuning/orpo_fine_tuning.py --model embedded --workspace demo   a small model, on a CPU

reads   models/sft, create_dataset/orpo_dataset_llm.csv (800 rows), create_dataset/sft_dataset_llm.csv (validation)
writes  models/orpo (the adapter of step 1, trained further), log/log_train_final_orpo.md

You can stop it at any time. The same command continues from the last checkpoint.
"""

from functools import partial
from statistics import fmean

from fine_tuning.common import limit_prompts, run, split_prompts, tuned_model
from fine_tuning.data.orpo_csv import held_out_references, pairs_to_train_on, read_answers
from fine_tuning.data.preference_pairs import rejected_figures
from fine_tuning.data.sft_csv import read_sft_rows
from fine_tuning.data.trained_size import LARGEST, largest_of
from fine_tuning.run.errors import UserError, about
from fine_tuning.run.files import sha256
from fine_tuning.run.run_state import ADAPTER_FILE
from fine_tuning.training_step import TrainingStep


def main() -> None:
    # 1. Pair the best answer to each prompt with worse ones. All problems are reported before torch is imported.
    step = TrainingStep(3, __doc__)
    options, workspace, preset = step.options, step.workspace, step.preset
    sft_path, csv_path = map(workspace.file_to_read, (workspace.sft_csv, workspace.orpo_csv))
    with step.checks:
        sft_rows = limit_prompts(step.read(read_sft_rows), options.max_rows)
    with step.checks:
        answers = step.read(read_answers)
    step.check()
    with about(csv_path):
        rows = limit_prompts(answers, options.max_rows)
        train_prompts, _ = split_prompts(rows, options.seed)
    pairs = pairs_to_train_on(rows, train_prompts, options, preset)
    sft_prompts, _ = split_prompts(sft_rows, options.seed)  # step 1 trained on them
    held_out = held_out_references([*sft_rows, *rows], train_prompts | sft_prompts, options)
    inputs = {"adapter sha256": sha256(workspace.sft_model / ADAPTER_FILE), "data sha256": sha256(csv_path)}
    if step.is_done(options.settings() | inputs | step.scoring.settings() | preset.settings(step=3)):
        return

    from transformers import TrainingArguments

    from fine_tuning.training.adapter import save_adapter
    from fine_tuning.training.history import preference_figures
    from fine_tuning.training.memory_check import preference_loss
    from fine_tuning.training.orpo_trainer import OrpoTrainer, without_dropout
    from fine_tuning.training.pair_batch import PAIR_PARTS, encode_fitting
    from fine_tuning.training.token_table import write_tokens

    # 2. Turn the pairs into token ids, on disk: prompt, chosen and rejected.
    tokenizer = step.load_tokenizer()
    encoded = write_tokens(
        encode_fitting(tokenizer, pairs, step.max_length), PAIR_PARTS, PAIR_PARTS, workspace.nearest_folder
    )
    train_set, validation_set = encoded.divide(train_prompts)
    in_sft = {row.prompt for row in sft_rows}
    from_sft = step.rows_that_fit(tokenizer, [row for row in held_out if row.prompt in in_sft], sft_path)
    from_orpo = step.rows_that_fit(tokenizer, [row for row in held_out if row.prompt not in in_sft], csv_path)
    held_out = from_sft + from_orpo
    if not train_set or not held_out:
        what = "held-out reference" if train_set else "training pair"
        raise UserError(f"{csv_path}: no {what} has at most {step.max_length} tokens")

    # 3. Check that a training step on the longest pair fits into memory, and that the loss's own forward pass agrees
    #    with the model's.
    load = partial(tuned_model, options, preset, workspace.sft_model)
    longest_pair = preference_loss(encoded.longest, preset.orpo)
    step.check_memory(longest_pair, "pair", lambda: without_dropout(load(trainable=True)))
    left_out, rejected = len(pairs) - len(encoded), rejected_figures(encoded.sources)
    data = {
        "file": csv_path.name,
        "rows": len(answers),
        "rows used": len(rows),
        "pairs": len(pairs),
        "pairs left out (chosen answer too long or with a special token, or rejected one a part of it)": left_out,
        "training pairs": len(train_set),
        "validation pairs": len(validation_set),
        "mean margin": round(fmean(pair.margin for pair in encoded.sources), 4),
        "held-out prompts that are answered": len(held_out),
    } | rejected
    tuned = load()
    step.check_forward(tuned, encoded.longest)
    step.begin("ORPO", data)
    print(f"{options.model_name}: {len(train_set)} pairs to train on, {len(validation_set)} to validate on")

    # 4. Validate the adapter of step 1: answer the held-out prompts and score the answers.
    before = step.validate("after SFT", tuned, tokenizer, held_out)
    del tuned  # frees its memory

    # 5. Train the same adapter further. Unlike DPO, ORPO needs no reference model.
    model = load(trainable=True)
    arguments = step.trainer_arguments(preset.orpo, len(train_set)) | {"eval_on_start": True}
    if not validation_set:
        arguments |= {"eval_on_start": False, "eval_strategy": "no"}
    trainer = OrpoTrainer(
        model=model,
        args=TrainingArguments(**arguments, remove_unused_columns=False),
        train_dataset=train_set,
        eval_dataset=validation_set if len(validation_set) else None,
        processing_class=tokenizer,
        orpo_lambda=preset.orpo.lambda_,
        nll_over_prompt=preset.orpo.nll_over_prompt,
    )
    train_tokens = encoded.tokens_of(train_prompts)
    figures = step.train(trainer, "ORPO", train_prompts, train_tokens) | preference_figures(trainer.state.log_history)
    save_adapter(model, tokenizer, workspace.orpo_model, options, step.frame)

    # 6. Validate the trained adapter on the same prompts.
    after = step.validate("after ORPO", model, tokenizer, held_out)
    figures[LARGEST] = largest_of(pair.chosen for pair in encoded.sources if pair.prompt in train_prompts)
    step.finish(figures | rejected | {f"{name} before": value for name, value in before.items()} | after)


if __name__ == "__main__":
    run(main)
