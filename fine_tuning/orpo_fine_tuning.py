"""Step 3 of 3: odds-ratio preference optimisation (ORPO, arXiv 2403.07691). The tuned model learns to prefer its better
answers: readable diagrams in the house style.

    python fine_tuning/orpo_fine_tuning.py                                     after step 2, on a CUDA GPU
    python fine_tuning/orpo_fine_tuning.py --model embedded --workspace demo   a small model, on a CPU

reads   models/sft, create_dataset/orpo_dataset_llm.csv (800 rows), create_dataset/sft_dataset_llm.csv (validation)
writes  models/orpo (the adapter of step 1, trained on), log/log_train_final_orpo.md

Stopped at any moment, the same command goes on from its last checkpoint.
"""

import time
from dataclasses import replace

from fine_tuning.data.csv_rows import read_rows
from fine_tuning.data.preference_pairs import make_pairs
from fine_tuning.data.split import held_out_rows, limit_prompts, references_of, split_prompts
from fine_tuning.run import sample_store
from fine_tuning.run.endings import run, stop
from fine_tuning.run.files import sha256
from fine_tuning.run.options import model_problems, parse_options
from fine_tuning.run.presets import preset_for
from fine_tuning.run.run_state import (
    ADAPTER_FILE,
    TUNED_MODEL,
    RunState,
    changes,
    sampling_settings,
    split_problems,
    step_1_problems,
)

LOG_NAME = "log_train_final_orpo"


def main() -> None:
    start = time.perf_counter()

    # 1. Check everything that can be checked without torch.
    options = parse_options(__doc__)
    workspace, preset = options.workspace, preset_for(options.is_embedded)
    workspace.claim()
    csv_path, sft_csv = workspace.readable(workspace.orpo_csv), workspace.readable(workspace.sft_csv)
    step_2 = options.command("orpo_create_dataset")
    sft_rows, problems = read_rows(sft_csv, scored=False, remedy=workspace.remedy, unique=True)
    sampling = None if workspace.is_new else sample_store.read_state(csv_path)
    if sampling and csv_path.is_file() and not sample_store.is_complete(csv_path, sampling):
        stop([*problems, f"{csv_path}: step 2 has not finished. Let it go on: {step_2}"])
    all_rows, csv_problems = read_rows(csv_path, scored=True, remedy=workspace.remedy)
    problems += csv_problems + model_problems(options) + (step_1_problems(options) or split_problems(options))
    problems += workspace.problems()
    if problems:
        stop(problems)
    if sampling:
        try:
            sample_store.check_references(csv_path, sampling)
        except ValueError as error:
            stop([str(error)])
        now = sampling_settings(options, preset)
        if differences := changes(sampling.settings, now, TUNED_MODEL):
            what = f"the samples were drawn otherwise: {'; '.join(differences)}"
            stop([f"{csv_path}: {what}. Draw them anew: {step_2} --restart"])
    rows = limit_prompts(all_rows, options.max_rows)
    if len({row.prompt for row in rows}) < 2:
        stop([f"{csv_path}: at least 2 different prompts are needed, one for training and one for validation"])
    pairs = make_pairs(rows, preset.min_margin)
    if not pairs:
        stop(
            [
                f"{csv_path}: no prompt has two answers whose scores differ by {preset.min_margin} or more. "
                f"Draw samples: {step_2}"
            ]
        )
    train_prompts, validation_prompts = split_prompts(rows, options.seed)
    if not any(pair.prompt in train_prompts for pair in pairs):
        stop(
            [
                f"{csv_path}: all pairs of answers ({len(pairs)}) belong to held-out prompts. Draw samples: {step_2}; "
                "or add answers to other prompts, or take another --seed for all steps"
            ]
        )
    inputs = {"adapter sha256": sha256(workspace.sft_model / ADAPTER_FILE), "data sha256": sha256(csv_path)}
    settings = options.settings() | inputs | preset.settings(step=3)
    state = RunState(workspace.orpo_model)
    if not options.restart and state.answer_if_done(settings, step=3):
        return

    # 2. Only now import what takes seconds.
    from transformers import TrainingArguments

    from fine_tuning.common import for_generation, load_adapter, load_base_model, load_tokenizer, save_adapter
    from fine_tuning.data.tokens import encode_rows
    from fine_tuning.run.log import TrainingLog
    from fine_tuning.run.verdict import training_verdict, wall_time
    from fine_tuning.sampling.validation import log_validation, validate
    from fine_tuning.training.device import machine, peak_memory_mib
    from fine_tuning.training.history import epochs_of, record, training_figures
    from fine_tuning.training.memory_check import announce, longest_pair_loss, try_on_gpu
    from fine_tuning.training.orpo_trainer import OrpoTrainer, without_dropout
    from fine_tuning.training.pair_batch import encode_fitting
    from fine_tuning.training.trainer import Reporter, train, trainer_arguments

    # 3. Data: pairs of one prompt lie on one side of the split.
    tokenizer = load_tokenizer(options)
    fitting = encode_fitting(tokenizer, pairs, preset.max_length)
    train_pairs = [encoded for pair, encoded in fitting if pair.prompt in train_prompts]
    validation_pairs = [encoded for pair, encoded in fitting if pair.prompt in validation_prompts]
    if not train_pairs:
        stop(
            [
                f"{csv_path}: no pair is left to train on; {len(fitting)} of {len(pairs)} pairs are within "
                f"{preset.max_length} tokens"
            ]
        )
    examples = {}
    for path, file_rows in {
        sft_csv: limit_prompts(sft_rows, options.max_rows),
        csv_path: references_of(rows),
    }.items():
        examples[path], problems = encode_rows(tokenizer, file_rows, preset.max_length)
        if problems:
            stop([f"{path}: {problem}" for problem in problems])
    short_enough = {(row.prompt, row.answer) for kept in examples.values() for row, _ in kept}
    held_out = held_out_rows([row for row, _ in examples[sft_csv]], rows, options.seed)
    if not held_out:
        stop(
            [
                f"{csv_path}: {sft_csv.name} has the same prompts, so that none is held out from both trainings. Use "
                "others"
            ]
        )
    held_out = [row for row in held_out if (row.prompt, row.answer) in short_enough]
    if not held_out:
        stop([f"{csv_path}: no held-out prompt has a reference within {preset.max_length} tokens"])

    # 4. What a step will need, and on a GPU whether it fits.
    def tuned_model(trainable):
        return load_adapter(load_base_model(options), workspace.sft_model, options, trainable)

    workspace.prepare()
    longest = longest_pair_loss([encoded for _, encoded in fitting], preset)
    undropped = replace(preset, lora_dropout=0.0)
    needs = announce(options, undropped, longest, "pair")
    try_on_gpu(lambda: without_dropout(tuned_model(trainable=True)), options, undropped, longest, "pair")

    tuned = tuned_model(trainable=False)  # first, for an earlier run is not thrown away where it cannot be loaded
    state.begin(settings, options.restart)
    log = TrainingLog(workspace.log, LOG_NAME, f"ORPO ({options.model_name})")
    log.set("Settings", settings)
    log.set(
        "Data",
        {
            "file": csv_path.name,
            "rows": len(all_rows),
            "rows used": len(rows),
            "pairs": len(pairs),
            "pairs left out (too long, or with a special token)": len(pairs) - len(fitting),
            "training pairs": len(train_pairs),
            "validation pairs": len(validation_pairs),
            "mean margin": round(sum(pair.margin for pair, _ in fitting) / len(fitting), 4),
            "held-out prompts that are answered": len(held_out),
        },
    )
    log.set("Machine", machine() | needs)
    print(f"{options.model_name}: {len(train_pairs)} pairs to train on, {len(validation_pairs)} to validate on")

    # 5. Validate the adapter of step 1 on the prompts that neither step trains on.
    def validated(model, title):
        return validate(for_generation(model), tokenizer, held_out, preset.generation_batch, options.seed, title)

    log.progress("Validation before the training: answering the held-out prompts.")
    before = validated(tuned, "validation before")
    log_validation(log, "Validation", {"after SFT": before})
    del tuned  # the GPU need not hold two

    # 6. Train the same adapter on.
    model = tuned_model(trainable=True)
    reporter = Reporter(log, "ORPO")
    trainer = OrpoTrainer(
        model=model,
        args=TrainingArguments(
            **trainer_arguments(
                options,
                preset,
                state.checkpoints,
                examples=len(train_pairs),
                epochs=preset.orpo_epochs,
                learning_rate=preset.orpo_learning_rate,
            )
            | {"eval_on_start": bool(validation_pairs), "eval_strategy": "epoch" if validation_pairs else "no"},
            remove_unused_columns=False,
        ),
        train_dataset=train_pairs,
        eval_dataset=validation_pairs or None,
        processing_class=tokenizer,
        callbacks=[reporter],
        orpo_lambda=preset.orpo_lambda,
        nll_over_prompt=preset.orpo_nll_over_prompt,
    )
    train(trainer, train_prompts)
    peak_memory = peak_memory_mib()
    save_adapter(model, tokenizer, workspace.orpo_model, options)
    record(log, trainer.state.log_history)
    log.progress("Training is done. Validation: answering the held-out prompts.")
    tokens = sum(len(part) for pair in train_pairs for part in pair.values())
    steps = trainer.state.global_step - reporter.first_step
    figures = training_figures(trainer.state.log_history, preset.orpo_epochs, preset.orpo_epochs * tokens, steps)
    evaluations = epochs_of(trainer.state.log_history)
    if evaluations:
        figures["chosen preferred before"] = round(evaluations[0]["validation chosen preferred"], 4)
        figures["chosen preferred after"] = round(evaluations[-1]["validation chosen preferred"], 4)

    # 7. Validate again, on the same prompts.
    after = validated(model, "validation after")
    log_validation(log, "Validation", {"after SFT": before, "after ORPO": after})
    figures |= {f"validation {name} before": value for name, value in before.figures().items()}
    figures |= {f"validation {name}": value for name, value in after.figures().items()}
    figures |= {"peak memory MiB": peak_memory} | wall_time(start, goes_on=reporter.first_step > 0)
    log.finish(figures, training_verdict(figures))
    state.finish(settings, figures)
    log.announce()


if __name__ == "__main__":
    run(main)
