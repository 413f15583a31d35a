"""Step 2 of 3: sample the tuned model, score the samples, append them to the ORPO CSV.

    python fine_tuning/orpo_create_dataset.py                                     after step 1, on a CUDA GPU
    python fine_tuning/orpo_create_dataset.py --model embedded --workspace demo   a small model, on a CPU

reads   models/sft, create_dataset/orpo_dataset_llm.csv (200 rows, every score 1.0)
writes  3 samples for each of its prompts to the same CSV (800 rows), log/log_create_orpo_dataset.md
next    python fine_tuning/orpo_fine_tuning.py

Stopped at any moment, the same command goes on with the first batch that is not whole.
"""

import json
import time
from statistics import fmean

from fine_tuning.data.csv_rows import read_rows, shape_info
from fine_tuning.data.orpo_csv import read_references
from fine_tuning.run import sample_store
from fine_tuning.run.endings import restart_command, restart_is_done, run, stop
from fine_tuning.run.files import sha256
from fine_tuning.run.log import stored_result
from fine_tuning.run.options import model_problems, parse_options
from fine_tuning.run.presets import preset_for
from fine_tuning.run.run_state import changes, sampling_settings, split_problems, step_1_problems
from fine_tuning.sampling.batches import plan_batches, token_limit

LOG_NAME = "log_create_orpo_dataset"


def main() -> None:
    start = time.perf_counter()

    # 1. Check everything that can be checked without torch.
    options = parse_options(__doc__)
    workspace, preset = options.workspace, preset_for(options.is_embedded)
    workspace.claim()
    csv_path = workspace.readable(workspace.orpo_csv)
    stored, references, problems = read_references(options)
    problems += model_problems(options) + (step_1_problems(options) or split_problems(options)) + workspace.problems()
    if problems:
        stop(problems)
    settings = sampling_settings(options, preset)
    if stored and not options.restart and (differences := changes(stored.settings, settings)):
        stop(
            [
                f"{csv_path} holds samples that were drawn otherwise: {'; '.join(differences)}. "
                f"To drop them and sample again: {restart_command()}"
            ]
        )

    result = stored_result(workspace.log, LOG_NAME)
    is_done = stored and sample_store.is_complete(csv_path, stored) and result
    if is_done and not options.restart:
        print(f"step 2 is done: {csv_path}. To do it again: add --restart")
        print(json.dumps(result))
        return
    if stored:
        try:
            sample_store.check_own_rows(csv_path, stored)
        except ValueError as error:
            stop([str(error)])

    # 2. Only now import what takes seconds; encode the references, and plan the batches.
    from tqdm import tqdm

    from diagram import parse, score_diagram
    from diagram.contact_sheet import answered, contact_sheet
    from fine_tuning.common import for_generation, load_adapter, load_base_model, load_tokenizer
    from fine_tuning.data.tokens import encode_completion, encode_prompt, encode_rows
    from fine_tuning.run.log import TrainingLog
    from fine_tuning.run.plots import score_plot
    from fine_tuning.run.verdict import sampling_verdict, wall_time
    from fine_tuning.sampling.generation import generate_batch
    from fine_tuning.training.device import machine, peak_memory_mib

    tokenizer = load_tokenizer(options)
    fitting, problems = encode_rows(tokenizer, references, preset.max_length)
    if problems:
        stop([f"{csv_path}: {problem}" for problem in problems])
    samples = [row for row, _ in fitting for _ in range(preset.samples_per_prompt)]
    plan = plan_batches([len(row.answer) for row in samples], preset.generation_batch)
    batches = [[samples[k] for k in batch] for batch in plan]

    # 3. The tuned model, with its adapter merged. The CSV: where an earlier run stopped, cut off what is not whole.
    workspace.prepare()
    model = for_generation(load_adapter(load_base_model(options), workspace.sft_model, options, trainable=False))
    csv_path = workspace.orpo_csv
    if options.restart:
        sample_store.drop_samples(csv_path)
        restart_is_done()
    state = sample_store.read_state(csv_path) or sample_store.begin(csv_path, settings, [len(b) for b in batches])
    done, cut = sample_store.recover(csv_path, state)
    if cut:
        print(f"{csv_path}: cut off {cut} bytes of a batch that was not whole; it is drawn again")
    columns = list(references[0].fields)
    log = TrainingLog(workspace.log, LOG_NAME, f"Samples after supervised fine-tuning ({options.model_name})")
    log.set("Settings", settings)
    log.set("Machine", machine())
    log.write()  # so that the result of an earlier run is not taken for this one's

    # 4. Sample batch by batch; each is scored and on disk before the next begins.
    tokens, ended_now = 0, []
    sampling_start = time.perf_counter()
    with tqdm(total=len(samples), initial=sum(map(len, batches[:done])), desc="sampling", unit="sample") as progress:
        for number, batch in list(enumerate(batches))[done:]:
            prompts = [encode_prompt(tokenizer, row.prompt) for row in batch]
            limit = token_limit(max(len(encode_completion(tokenizer, row.answer)) for row in batch))
            answers = generate_batch(
                model, tokenizer, prompts, limit, preset.temperature, seed=options.seed * 100_003 + number
            )
            new = []
            for row, answer in zip(batch, answers, strict=True):
                score = score_diagram(answer.text, row.answer).total
                fields = {"output_data": answer.text, "score": f"{score:.6g}"}
                new.append(row.fields | fields | sample_info(row.fields, answer.ended))
            sample_store.append(csv_path, columns, new)
            tokens += sum(answer.tokens for answer in answers)
            ended_now += [answer.ended for answer in answers]
            progress.update(len(batch))
            if log.is_due():
                log.progress(f"Sampling: {progress.n:,} of {len(samples):,} samples")
    seconds = time.perf_counter() - sampling_start

    # 5. Report on all samples, also those of an earlier start.
    all_rows, problems = read_rows(csv_path, scored=True, remedy=workspace.remedy)
    if problems:
        stop(problems)
    drawn = all_rows[state.reference_rows :]
    ended = [info["ended"] for row in drawn if "ended" in (info := shape_info(row.fields))]
    ended = ended or ended_now  # a CSV without that column: the samples since this start
    log.set(
        "Data",
        {
            "file": csv_path.name,
            "references": state.reference_rows,
            "prompts sampled": len(fitting),
            "prompts left out (too long)": len(references) - len(fitting),
            "rows now": len(all_rows),
            "sha256 now": sha256(csv_path),
        },
    )
    families = sorted({row.family for row in drawn})
    by_family = [{"family": f} | _family_row(all_rows, drawn, f) for f in families]
    log.set("Rows by family", by_family, hide=by_family[0] if len(families) == 1 else ())
    log.plot(score_plot([row.score for row in drawn], log.title), "scores")
    picks = [drawn[k * len(drawn) // 12] for k in range(12)] if len(drawn) >= 12 else drawn
    first = {row.prompt: row.answer for row in references}
    cells = [answered(row.request, parse(first[row.prompt]), parse(row.answer), row.score) for row in picks]
    figures = {
        "rows": len(all_rows),
        "samples": len(drawn),
        "mean score": round(fmean(row.score for row in drawn), 4),
        "flawless samples": round(sum(row.score == 1 for row in drawn) / len(drawn), 4),
        "different answers": round(len({(row.prompt, row.answer) for row in drawn}) / len(drawn), 4),
    }
    if ended:
        figures["ended by itself"] = round(sum(ended) / len(ended), 4)
    if tokens:
        figures |= {"sampling seconds": round(seconds, 1), "sampled tokens per second": round(tokens / seconds, 1)}
    figures |= {"peak memory MiB": peak_memory_mib()} | wall_time(start, goes_on=done > 0)
    log.sheet(contact_sheet(cells), "samples")
    log.finish(figures, sampling_verdict(figures))
    log.announce()


def sample_info(fields: dict[str, str], ended: bool) -> dict[str, str]:
    """A sample's dest_shape_info: the reference's, where there is one, and whether the sample ended by itself."""
    info = shape_info(fields)
    try:
        return {"dest_shape_info": json.dumps(info | {"ended": ended})} if info else {}
    except (TypeError, ValueError, RecursionError):  # Python literals that JSON has no words for
        return {}


def _family_row(all_rows: list, drawn: list, family: str) -> dict:
    scores = [row.score for row in drawn if row.family == family]
    return {
        "rows": sum(row.family == family for row in all_rows),
        "samples": len(scores),
        "mean score": round(fmean(scores), 4),
        "flawless": round(sum(score == 1 for score in scores) / len(scores), 4),
    }


if __name__ == "__main__":
    run(main)
