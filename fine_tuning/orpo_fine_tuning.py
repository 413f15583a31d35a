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

from fine_tuning.common import Step, divide, limit_prompts, run, split_prompts, tuned_model
from fine_tuning.data.orpo_csv import held_out_references, pairs_to_train_on, read_answers
from fine_tuning.data.sft_csv import read_sft_rows
from fine_tuning.run.errors import UserError, about
from fine_tuning.run.files import sha256
from fine_tuning.run.run_state import ADAPTER_FILE


def main() -> None:
    # 1. Pair the best answer to each prompt with worse ones. All problems are reported before torch is imported.
    step = Step(3, __doc__)
    options, workspace, preset = step.options, step.workspace, step.preset
    csv_path = workspace.file_to_read(workspace.orpo_csv)
    with step.checks:
        sft_rows = limit_prompts(read_sft_rows(options), options.max_rows)
    with step.checks:
        answers = read_answers(options)
    step.check()
    rows = limit_prompts(answers, options.max_rows)
    with about(csv_path):
        train_prompts, _ = split_prompts(rows, options.seed)
    pairs = pairs_to_train_on(rows, train_prompts, options, preset)
    sft_prompts, _ = split_prompts(sft_rows, options.seed)  # step 1 trained on them
    held_out = held_out_references([*sft_rows, *rows], train_prompts | sft_prompts, options)
    inputs = {"adapter sha256": sha256(workspace.sft_model / ADAPTER_FILE), "data sha256": sha256(csv_path)}
    if step.is_done(options.settings() | inputs | step.scoring.settings() | preset.settings(step=3)):
        return

    from transformers import TrainingArguments

    from fine_tuning.data.tokens import encode_rows
    from fine_tuning.training.adapter import save_adapter
    from fine_tuning.training.history import preference_figures
    from fine_tuning.training.memory_check import longest_pair_loss
    from fine_tuning.training.orpo_trainer import OrpoTrainer, without_dropout
    from fine_tuning.training.pair_batch import encode_fitting

    # 2. Turn the pairs into token ids: prompt, chosen and rejected.
    tokenizer = step.load_tokenizer()
    encoded = encode_fitting(tokenizer, pairs, step.max_length)
    train_set, validation_set = divide(encoded, train_prompts)
    with about(csv_path):
        held_out = [row for row, _ in encode_rows(tokenizer, held_out, step.max_length)]
    if not train_set or not held_out:
        what = "held-out reference" if train_set else "training pair"
        raise UserError(f"{csv_path}: no {what} has at most {step.max_length} tokens")

    # 3. Check that a training step on the longest pair fits into memory.
    load = partial(tuned_model, options, preset, workspace.sft_model)
    longest = longest_pair_loss([pair for _, pair in encoded], preset.orpo)
    step.check_memory(longest, "pair", lambda: without_dropout(load(trainable=True)))
    data = {
        "file": csv_path.name,
        "rows": len(answers),
        "rows used": len(rows),
        "pairs": len(pairs),
        "pairs left out (too long, or with a special token)": len(pairs) - len(encoded),
        "training pairs": len(train_set),
        "validation pairs": len(validation_set),
        "mean margin": round(fmean(pair.margin for pair, _ in encoded), 4),
        "held-out prompts that are answered": len(held_out),
    }
    step.begin("ORPO", data)
    print(f"{options.model_name}: {len(train_set)} pairs to train on, {len(validation_set)} to validate on")

    # 4. Validate the adapter of step 1: answer the held-out prompts and score the answers.
    before = step.validate("after SFT", load(), tokenizer, held_out)

    # 5. Train the same adapter further. Unlike DPO, ORPO needs no reference model.
    model = load(trainable=True)
    arguments = step.trainer_arguments(preset.orpo, len(train_set)) | {"eval_on_start": True}
    if not validation_set:
        arguments |= {"eval_on_start": False, "eval_strategy": "no"}
    trainer = OrpoTrainer(
        model=model,
        args=TrainingArguments(**arguments, remove_unused_columns=False),
        train_dataset=train_set,
        eval_dataset=validation_set or None,
        processing_class=tokenizer,
        orpo_lambda=preset.orpo.lambda_,
        nll_over_prompt=preset.orpo.nll_over_prompt,
    )
    train_tokens = sum(len(part) for pair in train_set for part in pair.values())
    figures = step.train(trainer, "ORPO", train_prompts, train_tokens) | preference_figures(trainer.state.log_history)
    save_adapter(model, tokenizer, workspace.orpo_model, options)

    # 6. Validate the trained adapter on the same prompts.
    after = step.validate("after ORPO", model, tokenizer, held_out)
    step.finish(figures | {f"{name} before": value for name, value in before.items()} | after)


if __name__ == "__main__":
    run(main)
