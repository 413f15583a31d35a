"""Rejection sampling: SFT again, on the best of step 2's samples. This is what step 3 (ORPO) must beat.

    python benchmarks/rejection_sampling.py --model MODEL --workspace DIR     after step 3, with the same flags

reads   models/sft, models/orpo/run.json (the number of steps), create_dataset/orpo_dataset_llm.csv
writes  models/sft_on_best (the adapter of step 1, trained further), log/log_train_final_sft_on_best.md

Trains with step 1's loss on step 3's training prompts: for each prompt the best of its samples that ended, if it scores
at least the mean of all samples. Prompts without such a sample are left out, as rejection sampling leaves out prompts
without a good answer. The mean is used because no other threshold would suit both a weak and a strong model. The rows
are repeated until there are as many as step 3 has pairs. Number of steps, learning rate, schedule and seed are step
3's, and as there, there is no dropout.

You can stop it at any time. The same command continues from the last checkpoint.
"""

from collections.abc import Container, Sequence
from random import Random
from statistics import fmean

from fine_tuning.common import limit_prompts, run, split_prompts, tuned_model
from fine_tuning.data.csv_rows import Row
from fine_tuning.data.ended import has_ended
from fine_tuning.data.orpo_csv import read_answers
from fine_tuning.data.problems import Problems
from fine_tuning.data.split import held_out_rows
from fine_tuning.data.trained_size import LARGEST, largest_of
from fine_tuning.run.errors import UserError
from fine_tuning.run.files import sha256
from fine_tuning.run.log import TrainingLog
from fine_tuning.run.options import Options
from fine_tuning.run.run_state import ADAPTER_FILE, RunState
from fine_tuning.training_step import TrainingStep

NAME = "sft_on_best"
LOG_NAME = f"log_train_final_{NAME}"


def main() -> None:
    step = TrainingStep(3, __doc__)
    options, workspace, preset = step.options, step.workspace, step.preset
    step.state, step.log = RunState(workspace.root / "models" / NAME), TrainingLog(workspace.log, LOG_NAME, "")
    with step.checks:
        answers = step.read(read_answers)
    step.check()
    orpo = RunState(workspace.orpo_model).figures
    if orpo is None:
        raise UserError(f"{workspace.orpo_model}: step 3 has not finished. {options.command('orpo_fine_tuning')}")
    rows = limit_prompts(answers, options.max_rows)
    train_prompts, _ = split_prompts(rows, options.seed)
    best = best_samples(samples_of(rows, options), train_prompts)
    if not best:
        raise UserError(f"{workspace.orpo_csv}: no sample of a training prompt has ended, so there is nothing to learn")
    count = orpo["training steps"] // preset.orpo.epochs
    inputs = {"adapter sha256": sha256(workspace.sft_model / ADAPTER_FILE), "data sha256": sha256(workspace.orpo_csv)}
    inputs |= {"training rows with repetitions": count}
    if step.is_done(options.settings() | inputs | preset.settings(step=3)):
        return

    from trl import SFTConfig

    from fine_tuning.data.tokens import ROW_PARTS, encode_rows
    from fine_tuning.training.adapter import save_adapter
    from fine_tuning.training.orpo_trainer import without_dropout
    from fine_tuning.training.sft_trainer import AdapterSftTrainer
    from fine_tuning.training.token_table import write_tokens

    tokenizer = step.load_tokenizer()
    encodable = encode_rows(
        tokenizer, best + held_out_rows(rows, train_prompts), step.max_length, Problems(workspace.orpo_csv, skip=True)
    )
    encoded = write_tokens(encodable, ROW_PARTS, ROW_PARTS[:1], workspace.nearest_folder)
    train_set, validation_set = encoded.divide(train_prompts)
    if not train_set:
        raise UserError(f"{workspace.orpo_csv}: no good sample has at most {step.max_length} tokens")
    repeated = train_set.select(repetitions(len(train_set), count, options.seed))
    model = without_dropout(tuned_model(options, preset, workspace.sft_model, trainable=True))
    data = {
        "training prompts": len(train_prompts),
        "training rows": len(train_set),
        "training rows with repetitions": count,
        "mean score of the training rows": round(fmean(row.score for row in best), 4),
        "validation rows": len(validation_set),
    }
    step.begin("SFT on the best samples", data)
    arguments = step.trainer_arguments(preset.orpo, count)
    if not validation_set:
        arguments |= {"eval_strategy": "no"}
    trainer = AdapterSftTrainer(
        model=model,
        args=SFTConfig(**arguments, max_length=step.max_length, dataset_kwargs={"skip_prepare_dataset": True}),
        train_dataset=repeated,
        eval_dataset=validation_set if len(validation_set) else None,
        processing_class=tokenizer,
    )
    tokens = count * encoded.tokens_of(train_prompts) // len(train_set)
    figures = step.train(trainer, "SFT on the best samples", train_prompts, tokens)
    save_adapter(model, tokenizer, step.state.place, options, step.frame)
    figures |= {"training rows": len(train_set), LARGEST: largest_of(row.answer for row in best)}
    step.finish(figures)


def samples_of(rows: Sequence[Row], options: Options) -> list[Row]:
    """Those of the ORPO CSV's `rows` that step 2 has drawn."""
    stored = options.workspace.sampling_state()
    return [row for row in rows if stored and row.number > stored.reference_rows]


def best_samples(samples: Sequence[Row], train_prompts: Container[str]) -> list[Row]:
    """For each training prompt its best sample that ended, if it scores at least the mean of all training samples.

    Of several that score the same, the first one. Empty if no sample ended.
    """
    samples = [row for row in samples if row.prompt in train_prompts]
    best: dict[str, Row] = {}
    for row in samples:
        if has_ended(row) and (row.prompt not in best or row.score > best[row.prompt].score):
            best[row.prompt] = row
    enough = min(fmean(row.score for row in samples), max(row.score for row in best.values())) if best else 0.0
    return [row for row in best.values() if row.score >= enough]


def repetitions(rows: int, count: int, seed: int) -> list[int]:
    """`count` indices of `rows` rows. Each appears equally often, or once more; the seed decides which ones do."""
    order = Random(seed).sample(range(rows), rows)
    return [order[k % rows] for k in range(count)]


if __name__ == "__main__":
    run(main)
