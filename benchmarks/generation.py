"""Time step 2's way of sampling against a plain loop: one prompt at a time, one sample at a time, up to a fixed limit.

    python benchmarks/generation.py                                    the embedded model
    python benchmarks/generation.py --architecture real --layers 24    deepseek-coder with random weights, on a GPU

Four ways of sampling are timed in one run, with the same prompts and the same adapter:

- The plain loop does not merge the adapter. It generates 1,280 tokens for every prompt, as a model that never learned
  to stop would.
- A second plain loop stops at EOS. It is left out with random weights, which hardly ever produce EOS: every answer
  would be as long as its limit.
- Step 2 merges the adapter, answers prompts with references of similar length together, stops at EOS and sets the
  token limit by the longest of these references.
- The continuous batching of transformers, with the adapter merged, has the same token limits. On a GPU, all other
  settings are the library's defaults. Its time includes the setup of the cache.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
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
from fine_tuning.run.presets import EMBEDDED, REAL, Preset
from fine_tuning.sampling.batches import plan_batches, token_limit
from fine_tuning.sampling.generation import generate_batch, merge_for_generation
from fine_tuning.training.adapter import lora_config
from fine_tuning.training.base_model import load_base_model
from fine_tuning.training.device import device_name

PLAIN_LIMIT = 1280
BOS = 32013  # of deepseek-coder

Task = tuple[list[int], int]  # token ids of a prompt, number of tokens of its reference


def main() -> None:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--architecture", choices=("embedded", "real"), default="embedded")
    parser.add_argument("--layers", type=int, default=24, help="layers of the real architecture (default: 24)")
    parser.add_argument("--samples", type=int, default=150, help="samples drawn in step 2's way (default: 150)")
    parser.add_argument("--plain", type=int, default=3, help="samples drawn in the plain loop (default: 3)")
    args = parser.parse_args()
    is_embedded = args.architecture == "embedded"
    preset = EMBEDDED if is_embedded else REAL
    options = Options("embedded")
    tokenizer: Any = AutoTokenizer.from_pretrained(EMBEDDED_FOLDER)  # random answers need its special tokens alone
    if is_embedded:
        tasks = embedded_tasks(tokenizer, args.samples, preset.sampling.samples_per_prompt)
        base = load_base_model(options)
    else:
        tasks = random_tasks(args.samples)
        with random_weights(args.layers) as folder:
            base = load_base_model(replace(options, model=folder))
    torch.manual_seed(SEED)
    model = get_peft_model(base, lora_config(preset.lora)).eval()

    def every(count: int) -> list[Task]:
        return [tasks[k * len(tasks) // count] for k in range(count)]

    few, more, temperature = every(args.plain), every(8 * args.plain), preset.sampling.temperature
    results = [
        timed("one by one, to a limit of 1,280", few, lambda: one_by_one(model, tokenizer, few, temperature, False))
    ]
    if is_embedded:
        results.append(
            timed("one by one, stopping at EOS", more, lambda: one_by_one(model, tokenizer, more, temperature, True))
        )
    merged = merge_for_generation(model)
    generate_batch(merged, tokenizer, [tasks[0][0]], 8, temperature, SEED)  # warm-up: the first kernels take longer
    results.append(timed("step 2", tasks, lambda: in_batches(merged, tokenizer, tasks, preset)))
    results.append(timed("continuous batching", tasks, lambda: continuously(merged, tokenizer, tasks, temperature)))

    plain = results[0]["per minute"]
    for row in results:
        row["times faster"] = row["per minute"] / plain
    columns = ["sampling", "samples", "seconds", "tokens", "diagrams per minute", "times faster", "peak GiB (reserved)"]
    rows = [
        [row["name"], row["samples"], f"{row['seconds']:.1f}", row["tokens"], f"{row['per minute']:.1f}"]
        + [f"{row['times faster']:.1f}", row["peak"] or "not measured"]
        for row in results
    ]
    where = "embedded model" if is_embedded else f"real architecture, {args.layers} layers, random weights"
    report(
        f"Speed of sampling, {where}",
        f"python benchmarks/generation.py{flags_given()}",
        f"On {describe_device()}.\n\n{table(columns, rows)}",
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
        (encode_prompt(tokenizer, row.prompt), len(encode_completion(tokenizer, row.answer)))
        for row in rows
        for _ in range(per_prompt)
    ][:samples]


def random_tasks(samples: int) -> list[Task]:
    """Return random prompts of the committed rows' mean length. References have 0.5 to 1.5 times the mean length."""
    rng = Random(SEED)
    return [
        (
            [BOS, *(rng.randrange(32000) for _ in range(MEAN_PROMPT - 1))],
            rng.randrange(MEAN_ANSWER // 2, MEAN_ANSWER * 3 // 2),
        )
        for _ in range(samples)
    ]


def one_by_one(model: PeftModel, tokenizer: Any, tasks: Sequence[Task], temperature: float, stops: bool) -> int:
    """Run the plain loop and return the number of tokens it generated."""
    tokens = 0
    for prompt, _ in tasks:
        ids = torch.tensor([prompt], device=model.device)
        with torch.inference_mode():
            output = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                do_sample=True,
                temperature=temperature,
                top_k=0,
                max_new_tokens=PLAIN_LIMIT,
                min_new_tokens=0 if stops else PLAIN_LIMIT,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        tokens += output.shape[1] - len(prompt)
    return tokens


def in_batches(model: Any, tokenizer: Any, tasks: Sequence[Task], preset: Preset) -> int:
    """Sample in step 2's way and return the number of tokens generated."""
    tokens, sampling = 0, preset.sampling
    for number, batch in enumerate(plan_batches([reference for _, reference in tasks], sampling.batch_size)):
        limit = token_limit(max(tasks[k][1] for k in batch))
        prompts = [tasks[k][0] for k in batch]
        answers = generate_batch(model, tokenizer, prompts, limit, sampling.temperature, SEED + number)
        tokens += sum(answer.tokens for answer in answers)
    return tokens


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
    pages = sum(-(-(len(prompt) + token_limit(reference)) // page) for prompt, reference in tasks)
    # On a CPU, the library's default cache takes most of the machine's memory.
    cache = ContinuousBatchingConfig(num_blocks=None if device_name() == "cuda" else pages)
    tokens = done = 0
    with (
        torch.no_grad(),
        model.continuous_batching_context_manager(
            generation_config=settings, continuous_batching_config=cache
        ) as manager,
    ):
        for prompt, reference in tasks:
            manager.add_request(prompt, max_new_tokens=token_limit(reference))
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
