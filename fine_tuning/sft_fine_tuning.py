"""Step 1 of 3: supervised fine-tuning. The base model learns to answer a request with the text of a diagram.

    python fine_tuning/sft_fine_tuning.py                                     the real model, on a CUDA GPU
    python fine_tuning/sft_fine_tuning.py --model embedded --workspace demo   a small model, on a CPU

reads   create_dataset/sft_dataset_llm.csv
writes  models/sft (a LoRA adapter and the tokenizer), log/log_train_final_sft.md
next    python fine_tuning/orpo_create_dataset.py

Stopped at any moment, the same command goes on from its last checkpoint.
"""

import time

from fine_tuning.data.csv_rows import read_rows
from fine_tuning.data.split import limit_prompts, split_prompts
from fine_tuning.run.endings import run, stop
from fine_tuning.run.files import sha256
from fine_tuning.run.options import model_problems, parse_options
from fine_tuning.run.presets import preset_for
from fine_tuning.run.run_state import RunState

LOG_NAME = "log_train_final_sft"


def main() -> None:
    start = time.perf_counter()

    # 1. Check everything that can be checked without torch, so that a mistake is answered at once.
    options = parse_options(__doc__)
    workspace, preset = options.workspace, preset_for(options.is_embedded)
    workspace.claim()
    csv_path = workspace.readable(workspace.sft_csv)
    all_rows, problems = read_rows(csv_path, scored=False, remedy=workspace.remedy, unique=True)
    problems += model_problems(options) + workspace.problems()
    rows = limit_prompts(all_rows, options.max_rows)
    if not problems and len({row.prompt for row in rows}) < 2:
        problems.append(f"{csv_path}: at least 2 different prompts are needed, one for training and one for validation")
    if problems:
        stop(problems)
    settings = options.settings() | {"data sha256": sha256(csv_path)} | preset.settings(step=1)
    state = RunState(workspace.sft_model)
    if not options.restart and state.answer_if_done(settings, step=1):
        return

    # 2. Only now import what takes seconds.
    from datasets import Dataset, disable_progress_bars
    from trl import SFTConfig, SFTTrainer

    from fine_tuning.common import (
        add_adapter,
        check_modules,
        for_generation,
        load_base_model,
        load_tokenizer,
        save_adapter,
    )
    from fine_tuning.data.tokens import encode_rows
    from fine_tuning.run.log import TrainingLog
    from fine_tuning.run.verdict import training_verdict, wall_time
    from fine_tuning.sampling.validation import log_validation, validate
    from fine_tuning.training.device import machine, peak_memory_mib
    from fine_tuning.training.history import record, training_figures
    from fine_tuning.training.memory_check import announce, longest_row_loss, try_on_gpu
    from fine_tuning.training.trainer import Reporter, train, trainer_arguments

    # 3. Data: prompt and completion as token ids, loss on the completion alone, 80 % for training.
    tokenizer = load_tokenizer(options)
    check_modules(options, preset)
    examples, problems = encode_rows(tokenizer, rows, preset.max_length)
    too_long = len(rows) - len(examples)
    if not problems and len({row.prompt for row, _ in examples}) < 2:
        problems = [f"{too_long} of {len(rows)} rows are longer than {preset.max_length} tokens; too few are left"]
    if problems:
        stop([f"{csv_path}: {problem}" for problem in problems])
    train_prompts, validation_prompts = split_prompts([row for row, _ in examples], options.seed)
    train_examples = [example for row, example in examples if row.prompt in train_prompts]
    validation_examples = [example for row, example in examples if row.prompt in validation_prompts]
    validation_rows = [row for row, _ in examples if row.prompt in validation_prompts]

    # 4. What a step will need, and on a GPU whether it fits.
    def new_adapter():
        return add_adapter(load_base_model(options), options, preset)

    workspace.prepare()
    longest = longest_row_loss([example for _, example in examples])
    needs = announce(options, preset, longest, "row")
    try_on_gpu(new_adapter, options, preset, longest, "row")

    model = new_adapter()  # first, for an earlier run is not thrown away for a model that cannot be loaded
    state.begin(settings, options.restart)
    log = TrainingLog(workspace.log, LOG_NAME, f"Supervised fine-tuning ({options.model_name})")
    log.set("Settings", settings)
    log.set(
        "Data",
        {
            "file": csv_path.name,
            "rows": len(all_rows),
            "rows used": len(examples),
            "rows longer than the limit, left out": too_long,
            "training rows": len(train_examples),
            "validation rows": len(validation_examples),
            "longest row in tokens": max(len(example["input_ids"]) for _, example in examples),
            "mean row in tokens": round(sum(len(example["input_ids"]) for _, example in examples) / len(examples), 1),
        },
    )
    log.set("Machine", machine() | needs)
    print(f"{options.model_name}: {len(train_examples)} rows to train on, {len(validation_examples)} to validate on")

    # 5. Train a LoRA adapter.
    disable_progress_bars()  # for what takes no time
    reporter = Reporter(log, "supervised fine-tuning")
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            **trainer_arguments(
                options,
                preset,
                state.checkpoints,
                examples=len(train_examples),
                epochs=preset.sft_epochs,
                learning_rate=preset.sft_learning_rate,
            ),
            max_length=preset.max_length,
            dataset_kwargs={"skip_prepare_dataset": True},
        ),
        train_dataset=Dataset.from_list(train_examples),
        eval_dataset=Dataset.from_list(validation_examples),
        processing_class=tokenizer,
        callbacks=[reporter],
    )
    train(trainer, train_prompts)
    peak_memory = peak_memory_mib()
    save_adapter(model, tokenizer, workspace.sft_model, options)
    record(log, trainer.state.log_history)
    log.progress("Training is done. Validation: answering the held-out prompts.")
    tokens = preset.sft_epochs * sum(len(example["input_ids"]) for example in train_examples)
    steps = trainer.state.global_step - reporter.first_step
    figures = training_figures(trainer.state.log_history, preset.sft_epochs, tokens, steps)

    # 6. Validate: answer the held-out prompts and score the answers.
    validation = validate(
        for_generation(model), tokenizer, validation_rows, preset.generation_batch, options.seed, "validation"
    )
    log_validation(log, "Validation", {"after SFT": validation})
    figures |= {f"validation {name}": value for name, value in validation.figures().items()}
    figures |= {"peak memory MiB": peak_memory} | wall_time(start, goes_on=reporter.first_step > 0)
    log.finish(figures, training_verdict(figures))
    state.finish(settings, figures)
    log.announce()


if __name__ == "__main__":
    run(main)
