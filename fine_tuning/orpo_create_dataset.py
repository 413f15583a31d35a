"""Step 2 of 3: sample the tuned model, score the samples, append them to the ORPO CSV.

    python fine_tuning/orpo_create_dataset.py                                     after step 1, on a CUDA GPU
    python fine_tuning/orpo_create_dataset.py --model embedded --workspace demo   a small model, on a CPU

reads   models/sft, create_dataset/orpo_dataset_llm.csv (200 references with score 1.0)
writes  3 samples for each of their prompts to the same CSV (then 800 rows), log/log_create_orpo_dataset.md
next    python fine_tuning/orpo_fine_tuning.py

You can stop it at any time. The same command continues after the last complete batch. Several processes, started with
`accelerate launch` or `torchrun`, share out the batches and write the same CSV; see docs/SCALING.md.
"""

import time

from fine_tuning.common import Step, run, tuned_model
from fine_tuning.data.csv_rows import read_csv
from fine_tuning.data.orpo_csv import read_references
from fine_tuning.run.files import sha256
from fine_tuning.run.processes import processes
from fine_tuning.run.step_order import sampling_settings


def main() -> None:
    # 1. Read the references. All problems are reported together, before torch is imported.
    step = Step(2, __doc__)
    options, workspace, preset = step.options, step.workspace, step.preset
    with step.checks:
        references = step.read(read_references)
    step.check()
    if step.is_done(sampling_settings(options, preset) | step.scoring.settings()):
        return

    from tqdm import tqdm

    from fine_tuning.sampling.answer_rows import answer_rows
    from fine_tuning.sampling.batches import plan_batches
    from fine_tuning.sampling.decoder import Decoder
    from fine_tuning.sampling.generation import merge_for_generation
    from fine_tuning.sampling.samples import log_samples, sample_figures, sample_row
    from fine_tuning.sampling.shared_batches import SharedBatches
    from fine_tuning.training.collectives import gather

    # 2. Plan all batches: several samples for each prompt, grouped by the length of the reference.
    tokenizer = step.load_tokenizer()
    fitting = step.rows_that_fit(tokenizer, references, workspace.file_to_read(workspace.orpo_csv))
    to_sample = [row for row in fitting for _ in range(preset.sampling.samples_per_prompt)]
    plan = plan_batches([len(row.answer) for row in to_sample], preset.sampling.batch_size)

    # 3. Load the tuned model and merge its adapter. Find out which batches are done, and share out the others.
    model = merge_for_generation(tuned_model(options, preset, workspace.sft_model))
    decoder = Decoder(model, tokenizer, preset.sampling.batch_size, options.plain)
    step.begin("Samples after supervised fine-tuning")
    step.log.write()  # replaces the log of an earlier run
    csv_path = workspace.orpo_csv
    shared = SharedBatches(csv_path, step.settings, [[to_sample[k].prompt for k in batch] for batch in plan])
    step.continues = shared.done > 0

    # 4. Sample several batches at a time. Each is scored and written to disk as a whole, in the order of the plan.
    here = processes()
    tokens = 0  # of this process's answers in this start
    start = time.perf_counter()
    batches = [plan[number] for number in shared.left]
    initial = 0 if here.are_several else shared.done
    total = initial + sum(map(len, batches))
    with tqdm(total=total, initial=initial, desc=here.share_of("sampling"), unit="sample") as progress:
        answered = answer_rows(decoder, to_sample, batches, preset.sampling.temperature, options.seed)
        for number, (batch, answers) in zip(shared.left, answered, strict=True):
            pairs = zip(batch, answers, strict=True)
            shared.add(number, [sample_row(to_sample[k], answer, step.scoring, shared.columns) for k, answer in pairs])
            tokens += sum(answer.tokens for answer in answers)
            progress.update(len(batch))
            if step.log.is_due():
                step.log.progress(here.share_of(f"Sampling: {progress.n:,} of {total:,} samples"))
    shared.finish()
    tokens = sum(gather(tokens))
    seconds = time.perf_counter() - start

    # 5. Report on all samples, including those of earlier starts.
    all_rows = read_csv(csv_path, scored=True, remedy=workspace.remedy, skip_bad_rows=True).rows
    samples = [row for row in all_rows if row.number > shared.reference_rows]
    data = {
        "file": csv_path.name,
        "references": shared.reference_rows,
        "prompts sampled": len(fitting),
        "prompts left out (too long, or with a special token)": len(references) - len(fitting),
        "rows now": len(all_rows),
        "sha256 now": sha256(csv_path),
    }
    if tokens:
        data["samples of this start were generated with"] = decoder.way
    if here.are_several:
        data["processes of this start"] = here.count
    step.log_data(data)
    log_samples(step.log, all_rows, references, samples, step.captions(references))
    figures = sample_figures(all_rows, samples)
    if tokens:
        figures |= {"sampling seconds": round(seconds, 1), "sampled tokens per second": round(tokens / seconds, 1)}
    step.finish(figures)


if __name__ == "__main__":
    run(main)
