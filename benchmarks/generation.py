"""Time step 2's way of sampling against a plain loop: one prompt at a time, one sample at a time, up to a fixed limit.

    python benchmarks/generation.py                                    the embedded model
    python benchmarks/generation.py --architecture real --layers 24    deepseek-coder with random weights, on a GPU

All ways of sampling are timed in one run, with the same prompts and the same adapter:

- The plain loop does not merge the adapter. It generates 1,280 tokens for every prompt, as a model that never learned
  to stop would. With the real architecture a quarter of them is timed.
- A second plain loop stops at EOS. It is left out with random weights, which hardly ever produce EOS.
- Step 2 with --plain merges the adapter and answers a batch of prompts with transformers' `generate`. Each answer's
  limit of tokens depends on its reference. With random weights all answers reach their limits, which have the lengths
  of the committed references.
- Step 2 as it is: a static cache, on a GPU with CUDA graphs. Setting them up and comparing the first answers is
  included. On a GPU it is timed with as many rows as one batch has, and with as many as the memory has room for.
- The continuous batching of transformers, with the adapter merged, has the same token limits. On a GPU, all other
  settings are the library's defaults. Its time includes the setup of the cache. With the real architecture it takes
  minutes, so there it needs --continuous.
"""

import gc
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any

import torch
from peft import PeftModel, get_peft_model
from transformers import AutoTokenizer, ContinuousBatchingConfig, GenerationConfig

from benchmarks.architecture import MEAN_ANSWER, MEAN_PROMPT, random_weights
from benchmarks.report import benchmark_parser, describe_device, flags_given, report
from fine_tuning.data.csv_rows import read_rows
from fine_tuning.data.tokens import encode_completion, encode_prompt
from fine_tuning.run.commands import PROJECT
from fine_tuning.run.markdown import table
from fine_tuning.run.options import EMBEDDED_FOLDER, SEED, Options
from fine_tuning.run.presets import EMBEDDED, REAL
from fine_tuning.sampling.batches import Task, plan_batches, token_limit
from fine_tuning.sampling.decoder import Decoder
from fine_tuning.sampling.generation import answer_tasks, merge_for_generation
from fine_tuning.sampling.pace import GPU
from fine_tuning.training.adapter import lora_config
from fine_tuning.training.base_model import load_base_model
from fine_tuning.training.device import device_name

PLAIN_LIMIT = 1280
BOS = 32013  # of deepseek-coder


def main() -> None:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--architecture", choices=("embedded", "real"), default="embedded")
    parser.add_argument("--layers", type=int, default=24, help="layers of the real architecture (default: 24)")
    parser.add_argument("--samples", type=int, help="samples drawn in step 2's way (default: 150; real: 128)")
    parser.add_argument("--alone", type=int, help="samples drawn one by one (default: 3; real: 1)")
    parser.add_argument("--continuous", action="store_true", help="time continuous batching with the real model too")
    args = parser.parse_args()
    is_embedded = args.architecture == "embedded"
    preset = EMBEDDED if is_embedded else REAL
    options = Options("embedded")
    tokenizer: Any = AutoTokenizer.from_pretrained(EMBEDDED_FOLDER)  # random answers need its special tokens alone
    samples, alone = args.samples or (150 if is_embedded else 128), args.alone or (3 if is_embedded else 1)
    per_prompt, temperature = preset.sampling.samples_per_prompt, preset.sampling.temperature
    if is_embedded:
        tasks = embedded_tasks(tokenizer, samples, per_prompt)
        base = load_base_model(options)
    else:
        tasks = random_tasks(samples, per_prompt)
        with random_weights(args.layers) as folder:
            base = load_base_model(replace(options, model=folder))
    torch.manual_seed(SEED)
    model = get_peft_model(base, lora_config(preset.lora)).eval()

    def every(count: int) -> list[Task]:
        return [tasks[k * len(tasks) // count] for k in range(count)]

    few, more, limit = every(alone), every(8 * alone), PLAIN_LIMIT if is_embedded else PLAIN_LIMIT // 4
    results = [
        timed("one by one, to a limit of 1,280", few, lambda: one_by_one(model, tokenizer, few, temperature, limit))
    ]
    results[0]["per minute"] *= limit / PLAIN_LIMIT
    if is_embedded:
        results.append(
            timed("one by one, stopping at EOS", more, lambda: one_by_one(model, tokenizer, more, temperature))
        )
    merged = merge_for_generation(model)
    size = preset.sampling.batch_size
    answer_tasks(merged, tokenizer, [replace(tasks[0], limit=8)], temperature, SEED)  # warm-up of the first kernels
    ways: dict[str, dict[str, Any]] = {"step 2 with --plain": {"plain": True}, "step 2": {}}
    if device_name() == "cuda":
        ways[f"step 2, at most {size} rows"] = {"pace": replace(GPU, most=1)}
    for name, settings in ways.items():
        decoder = Decoder(merged, tokenizer, size, **settings)
        results.append(timed(name, tasks, partial(in_batches, decoder, tasks, temperature)))
        results[-1]["way"] = decoder.way
        del decoder
        gc.collect()
    if is_embedded or args.continuous:
        results.append(timed("continuous batching", tasks, lambda: continuously(merged, tokenizer, tasks, temperature)))

    plain = results[0]["per minute"]
    for row in results:
        row["times faster"] = row["per minute"] / plain
    columns = ["sampling", "samples", "seconds", "tokens", "tokens per second", "diagrams per minute", "times faster"]
    columns.append("peak GiB (reserved)")
    rows = [
        [row["name"], row["samples"], f"{row['seconds']:.1f}", row["tokens"], f"{row['tokens'] / row['seconds']:.0f}"]
        + [f"{row['per minute']:.1f}", f"{row['times faster']:.1f}", row["peak"] or "not measured"]
        for row in results
    ]
    used = "; ".join(f"{row['name']}: {row['way']}" for row in results if "way" in row)
    where = "embedded model" if is_embedded else f"real architecture, {args.layers} layers, random weights"
    report(
        f"Speed of sampling, {where}",
        f"python benchmarks/generation.py{flags_given()}",
        f"On {describe_device()}. {used}.\n\n{table(columns, rows)}",
        {"architecture": args.architecture, "device": describe_device(), "results": results},
        args.record,
    )


def embedded_tasks(tokenizer: Any, samples: int, per_prompt: int) -> list[Task]:
    """Return committed prompts, chosen evenly from the file, each as often as step 2 samples it."""
    rows = read_rows(PROJECT / "create_dataset" / "orpo_dataset_llm.csv", scored=True, remedy="")
    rows = [row for row in rows if row.score == 1]  # step 2 may have appended samples to this file
    prompts = -(-samples // per_prompt)
    rows = [rows[k * len(rows) // prompts] for k in range(prompts)]
    return [
        Task(encode_prompt(tokenizer, row.prompt), token_limit(len(encode_completion(tokenizer, row.answer))), sample)
        for row in rows
        for sample in range(per_prompt)
    ][:samples]


def random_tasks(samples: int, per_prompt: int) -> list[Task]:
    """Return random prompts of the committed rows' mean length. Answers have 0.5 to 1.5 times the mean length."""
    rng = Random(SEED)
    tasks: list[Task] = []
    while len(tasks) < samples:
        prompt = [BOS, *(rng.randrange(32000) for _ in range(MEAN_PROMPT - 1))]
        limit = rng.randrange(MEAN_ANSWER // 2, MEAN_ANSWER * 3 // 2)
        tasks += [Task(prompt, limit, sample) for sample in range(per_prompt)]
    return tasks[:samples]


def one_by_one(
    model: PeftModel, tokenizer: Any, tasks: Sequence[Task], temperature: float, exactly: int | None = None
) -> int:
    """Run the plain loop and return the number of tokens it generated: for each answer `exactly` so many, or to EOS."""
    tokens = 0
    for task in tasks:
        ids = torch.tensor([task.prompt], device=model.device)
        with torch.inference_mode():
            output = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                do_sample=True,
                temperature=temperature,
                top_k=0,
                max_new_tokens=exactly or PLAIN_LIMIT,
                min_new_tokens=exactly or 0,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        tokens += output.shape[1] - len(task.prompt)
    return tokens


def in_batches(decoder: Decoder, tasks: Sequence[Task], temperature: float) -> int:
    """Sample in step 2's way and return the number of tokens generated."""
    plan = plan_batches([task.limit for task in tasks], decoder.batch_size)
    batches = ([tasks[k] for k in batch] for batch in plan)
    return sum(answer.tokens for batch in decoder.answer_batches(batches, temperature, SEED) for answer in batch)


def continuously(model: Any, tokenizer: Any, tasks: Sequence[Task], temperature: float) -> int:
    """Run continuous batching with step 2's token limits and return the number of tokens generated.

    Raises RuntimeError if it fails or ends early.
    """
    settings = GenerationConfig(
        do_sample=True,
        temperature=temperature,
        top_k=0,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    page = ContinuousBatchingConfig().page_size
    pages = sum(-(-(len(task.prompt) + task.limit) // page) for task in tasks)
    # On a CPU, the library's default cache takes most of the machine's memory.
    cache = ContinuousBatchingConfig(num_blocks=None if device_name() == "cuda" else pages)
    tokens = done = 0
    with (
        torch.no_grad(),
        model.continuous_batching_context_manager(
            generation_config=settings, continuous_batching_config=cache
        ) as manager,
    ):
        for task in tasks:
            manager.add_request(list(task.prompt), max_new_tokens=task.limit)
        while done < len(tasks):
            result = manager.get_result(timeout=1)
            if result is not None and result.is_finished():
                if result.error:
                    raise RuntimeError(f"continuous batching failed: {result.error}")
                done += 1
                tokens += len(result.generated_tokens)
            elif result is None and not manager.is_running():
                raise RuntimeError("continuous batching ended before all prompts were answered")
    return tokens


def timed(name: str, tasks: Sequence[Task], generate: Callable[[], int]) -> dict[str, Any]:
    """Time one way of sampling. On a GPU, `peak` is the peak memory in GiB, allocated (reserved)."""
    on_gpu = device_name() == "cuda"
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    tokens = generate()
    if on_gpu:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    # Print each result at once: the next way of sampling may fail.
    print(f"{name}: {len(tasks)} samples, {tokens} tokens, {seconds:.1f} s", file=sys.stderr)
    peak = ""
    if on_gpu:
        peaks = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
        peak = "{:.2f} ({:.2f})".format(*(size / 2**30 for size in peaks))
    return {
        "name": name, "samples": len(tasks), "seconds": seconds, "tokens": tokens,
        "per minute": 60 * len(tasks) / seconds,
        "peak": peak,
    }  # fmt: skip


if __name__ == "__main__":
    main()
