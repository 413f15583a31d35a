"""Time this project's training against TRL's trainers, on the same rows and pairs, in the same run.

    python benchmarks/training_speed.py                                    the embedded model
    python benchmarks/training_speed.py --pairs demo/create_dataset/orpo_dataset_llm.csv    the pairs of a finished run
    python benchmarks/training_speed.py --architecture real --layers 2     two layers of deepseek-coder, random weights
    python benchmarks/training_speed.py --architecture real                all its layers, on a GPU
    python benchmarks/training_speed.py --architecture real --longest [--load-in-4bit]    the longest rows, for memory

Both sides have the same adapter, batch size 1, dtype, gradient checkpointing and learning rate. For everything else,
TRL uses its defaults. It also casts the adapter of a 4-bit model to bfloat16; this project keeps it in float32. This
project's trainers run as in steps 1 and 3, with their progress bars and logs. On a GPU that means CUDA graphs; further
rows show the same trainers with --plain. The time to capture and to check graphs is not in the speed, but in the JSON.

The two sides take turns for several rounds, and the median counts. Without --pairs, the answers of a pair have similar
lengths, so TRL spends little time on padding. Tokens per second count the prompt once per answer on both sides, because
TRL computes it that often. On a GPU, peak memory is measured, too.
"""

import contextlib
import gc
import io
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel, get_peft_model
from transformers import AutoTokenizer, PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from trl import SFTConfig, SFTTrainer

from benchmarks.architecture import LONGEST_ANSWER, LONGEST_PROMPT, MEAN_ANSWER, MEAN_PROMPT, random_weights
from benchmarks.baselines import ORPOConfig, StockOrpoTrainer, stock_pairs
from benchmarks.report import benchmark_parser, describe_device, flags_given, report
from fine_tuning.data.csv_rows import read_rows
from fine_tuning.data.preference_pairs import make_pairs
from fine_tuning.data.tokens import encode_completion, encode_prompt
from fine_tuning.run.commands import PROJECT
from fine_tuning.run.errors import UserError
from fine_tuning.run.gpus import use_one_gpu
from fine_tuning.run.log import TrainingLog
from fine_tuning.run.markdown import table
from fine_tuning.run.options import EMBEDDED_FOLDER, SEED, Options
from fine_tuning.run.presets import EMBEDDED, REAL, Preset, SftSettings
from fine_tuning.training.adapter import lora_config
from fine_tuning.training.base_model import load_base_model
from fine_tuning.training.device import choose_dtype, device_name
from fine_tuning.training.graph_setup import graphs_for
from fine_tuning.training.graphed_steps import GraphedSteps
from fine_tuning.training.orpo_trainer import OrpoTrainer
from fine_tuning.training.pair_batch import EncodedPair, encode_fitting
from fine_tuning.training.reporter import Reporter
from fine_tuning.training.sft_trainer import AdapterSftTrainer
from fine_tuning.training.trainer import AdapterTrainerMixin, train, trainer_arguments

WARM_UP = 3  # steps before the clock starts
# Training arguments that are choices of this project and not part of the task: TRL's trainers keep their defaults.
OURS = ("gradient_checkpointing_kwargs", "logging_steps", "dataloader_pin_memory")


def main() -> None:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--architecture", choices=("embedded", "real"), default="embedded")
    parser.add_argument("--layers", type=int, default=24, help="layers of the real architecture (default: 24)")
    parser.add_argument("--longest", action="store_true", help="use random rows of 1,536 tokens, the longest allowed")
    parser.add_argument("--load-in-4bit", action="store_true", help="load the real architecture in 4 bits, on a GPU")
    parser.add_argument("--pairs", type=Path, help="ORPO CSV with samples, for the embedded model")
    parser.add_argument("--steps", type=int, default=40, help="timed steps in each round (default: 40)")
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds of each trainer (default: 3)")
    args = parser.parse_args()
    use_one_gpu()
    is_embedded = args.architecture == "embedded"
    if is_embedded and (args.longest or args.load_in_4bit):
        parser.error("--longest and --load-in-4bit need --architecture real")
    if args.pairs and not is_embedded:
        parser.error("--pairs needs --architecture embedded")
    preset = EMBEDDED if is_embedded else REAL
    count = args.steps + WARM_UP
    if args.pairs:
        pairs = sampled_pairs(args.pairs, preset, count)
    elif is_embedded:
        pairs = embedded_pairs(count)
    else:
        pairs = random_pairs(count, *((LONGEST_PROMPT, LONGEST_ANSWER) if args.longest else (MEAN_PROMPT, MEAN_ANSWER)))
    with contextlib.ExitStack() as stack:
        name = "embedded" if is_embedded else stack.enter_context(random_weights(args.layers))
        options = Options(name, load_in_4bit=args.load_in_4bit)
        rows, result = measure(options, preset, pairs, args.steps, args.rounds)
    where = f"{args.architecture} model"
    if not is_embedded:
        size = ", rows of 1,536 tokens" if args.longest else ""
        size += ", 4-bit" if args.load_in_4bit else ""
        where = f"real architecture, {args.layers} layers, random weights{size}"
    columns = ["training", "steps/s", "tokens/s", "TRL steps/s", "times faster", "each round"]
    report(
        f"Speed of training, {where}",
        f"python benchmarks/training_speed.py{flags_given()}",
        f"On {describe_device()}.\n\n{table([*columns, 'peak GiB (reserved)', 'TRL peak GiB (reserved)'], rows)}",
        {"architecture": args.architecture, "device": describe_device()} | result,
        args.record,
    )


def measure(
    options: Options, preset: Preset, pairs: Sequence[EncodedPair], steps: int, rounds: int
) -> tuple[list[list[str]], dict[str, Any]]:
    """Time both sides; return the rows of the table, and the figures by name."""

    def make_model() -> PeftModel:
        torch.manual_seed(SEED)
        return get_peft_model(load_base_model(options), lora_config(preset.lora))

    rows: list[list[str]] = []
    result: dict[str, Any] = {}
    for name, ours, stock in (("ORPO", our_orpo, stock_orpo), ("SFT", our_sft, stock_sft)):
        tokens = sum(count_tokens(pair, name) for pair in pairs[WARM_UP:]) / steps
        sides = {"TRL": (stock, options), name: (ours, options)}
        if device_name() == "cuda":
            sides[f"{name}, --plain"] = (ours, replace(options, plain=True))
        measured: dict[str, list[Measured]] = {side: [] for side in sides}
        for _ in range(rounds):
            for side, (make, its_options) in sides.items():
                measured[side].append(timed(make, make_model, its_options, preset, pairs))
        of_trl = measured.pop("TRL")
        theirs = steps / median(run.seconds for run in of_trl)
        for side, runs in measured.items():
            ratios = [other.seconds / own.seconds for other, own in zip(of_trl, runs, strict=True)]
            rate = steps / median(run.seconds for run in runs)
            memory = [last.peak or "not measured" for last in (runs[-1], of_trl[-1])]
            each = " ".join(f"{ratio:.2f}" for ratio in ratios)
            rows.append(
                [side, f"{rate:.2f}", f"{rate * tokens:.0f}", f"{theirs:.2f}", f"{median(ratios):.2f}", each, *memory]
            )
            result[side] = {"steps per second": rate, "TRL steps per second": theirs, "ratio": median(ratios)}
            result[side] |= {"tokens per second": rate * tokens, "peak": memory[0], "TRL peak": memory[1]}
            result[side] |= {"way": runs[-1].way}
    return rows, result


def embedded_pairs(count: int) -> list[EncodedPair]:
    """Make pairs of the committed rows. The rejected answer is that of the row with the next longer answer."""
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED_FOLDER)
    rows = read_rows(PROJECT / "create_dataset" / "orpo_dataset_llm.csv", scored=True, remedy="")
    rows = sorted((row for row in rows if row.score == 1), key=lambda row: len(row.answer))
    pairs = [
        {
            "prompt": encode_prompt(tokenizer, row.prompt),
            "chosen": encode_completion(tokenizer, row.answer),
            "rejected": encode_completion(tokenizer, following.answer),
        }
        for row, following in zip(rows, rows[1:], strict=False)
    ]
    Random(SEED).shuffle(pairs)
    return [pairs[k % len(pairs)] for k in range(count)]


def sampled_pairs(csv_path: Path, preset: Preset, count: int) -> list[EncodedPair]:
    """Return the pairs that step 3 makes from a CSV. Exits if the CSV has problems."""
    try:
        rows = read_rows(csv_path, scored=True, remedy="")
    except UserError as error:
        raise SystemExit(str(error)) from None
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED_FOLDER)
    fitting = encode_fitting(tokenizer, make_pairs(rows, preset.orpo.min_margin), preset.max_length)
    pairs = [encoded for _, encoded in fitting]
    Random(SEED).shuffle(pairs)
    return [pairs[k % len(pairs)] for k in range(count)]


def random_pairs(count: int, prompt: int, answer: int) -> list[EncodedPair]:
    """Make pairs of random tokens: `prompt` of them in a prompt and `answer` in each answer."""
    rng = Random(SEED)
    lengths = {"prompt": prompt, "chosen": answer, "rejected": answer}
    return [{part: [rng.randrange(32000) for _ in range(n)] for part, n in lengths.items()} for _ in range(count)]


def count_tokens(pair: EncodedPair, training: str) -> int:
    sides = ("chosen", "rejected") if training == "ORPO" else ("chosen",)
    return sum(len(pair["prompt"]) + len(pair[side]) for side in sides)


def our_orpo(model: PeftModel, arguments: dict[str, Any], preset: Preset, pairs: Sequence[EncodedPair]) -> Trainer:
    return OrpoTrainer(
        model=model,
        args=TrainingArguments(**arguments, remove_unused_columns=False),
        train_dataset=pairs,
        orpo_lambda=preset.orpo.lambda_,
        processing_class=AutoTokenizer.from_pretrained(EMBEDDED_FOLDER),
    )


def stock_orpo(model: PeftModel, arguments: dict[str, Any], preset: Preset, pairs: Sequence[EncodedPair]) -> Trainer:
    arguments = {name: value for name, value in arguments.items() if name not in OURS}
    return StockOrpoTrainer(
        model=model,
        args=ORPOConfig(**arguments, beta=preset.orpo.lambda_, max_length=preset.max_length),
        train_dataset=stock_pairs(pairs),
        processing_class=AutoTokenizer.from_pretrained(EMBEDDED_FOLDER),
    )


def our_sft(model: PeftModel, arguments: dict[str, Any], preset: Preset, pairs: Sequence[EncodedPair]) -> Trainer:
    return sft(AdapterSftTrainer, model, arguments, preset, pairs)


def stock_sft(model: PeftModel, arguments: dict[str, Any], preset: Preset, pairs: Sequence[EncodedPair]) -> Trainer:
    arguments = {name: value for name, value in arguments.items() if name not in OURS}
    return sft(SFTTrainer, model, arguments, preset, pairs)


def sft(
    trainer: type[SFTTrainer],
    model: PeftModel,
    arguments: dict[str, Any],
    preset: Preset,
    pairs: Sequence[EncodedPair],
) -> SFTTrainer:
    rows = [
        {"input_ids": pair["prompt"] + pair["chosen"], "labels": [-100] * len(pair["prompt"]) + pair["chosen"]}
        for pair in pairs
    ]
    return trainer(
        model=model,
        args=SFTConfig(**arguments, max_length=preset.max_length, dataset_kwargs={"skip_prepare_dataset": True}),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(EMBEDDED_FOLDER),
    )


@dataclass(frozen=True, slots=True)
class Measured:
    """The seconds of the timed steps, on a GPU the peak memory in GiB, allocated (reserved), and how steps were run."""

    seconds: float
    peak: str
    way: Mapping[str, str]


class Clock(TrainerCallback):
    """Measures the seconds of all steps after WARM_UP, but for those that capture and check graphs."""

    seconds = start = 0.0
    graphs: GraphedSteps | None = None

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if device_name() == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter() - (self.graphs.capture_seconds if self.graphs else 0.0)
        if state.global_step == WARM_UP:
            self.start = now
        self.seconds = now - self.start


def timed(
    make: Callable[..., Trainer],
    make_model: Callable[[], PeftModel],
    options: Options,
    preset: Preset,
    pairs: Sequence[EncodedPair],
) -> Measured:
    """Train, and measure it."""
    on_gpu = device_name() == "cuda"
    gc.collect()  # free the previous trainer and its model, which refer to each other
    clock = Clock()
    model = make_model()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        settings, dtype = SftSettings(learning_rate=1e-5, epochs=1), choose_dtype(options.dtype)
        arguments = trainer_arguments(preset, settings, dtype, options.seed, len(pairs), Path(folder))
        trainer = make(model, arguments | {"eval_strategy": "no", "save_strategy": "no"}, preset, pairs)
        trainer.add_callback(clock)
        trainer.remove_callback(PrinterCallback)
        if on_gpu:  # do not count the peak of loading
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        if isinstance(trainer, OrpoTrainer | AdapterSftTrainer):
            trainer.add_callback(Reporter(TrainingLog(Path(folder), "log", "benchmark"), "benchmark"))
            with contextlib.redirect_stdout(io.StringIO()):
                clock.graphs = graphs_for(trainer, options.plain, options.load_in_4bit)
                train(trainer, [], clock.graphs)
        else:
            trainer.train()
    way = trainer.way if isinstance(trainer, AdapterTrainerMixin) else {}
    if not on_gpu:
        return Measured(clock.seconds, "", way)
    peaks = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
    return Measured(clock.seconds, "{:.2f} ({:.2f})".format(*(peak / 2**30 for peak in peaks)), way)


if __name__ == "__main__":
    main()
