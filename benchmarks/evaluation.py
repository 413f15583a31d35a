"""What the benchmarks of whole runs share: run the steps, find the prompts to ask, and let a model answer them."""

import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from create_dataset.create_dataset import SFT_FILE, make_datasets
from diagram import score_diagram
from fine_tuning.data.csv_rows import Row, read_rows
from fine_tuning.data.split import held_out_rows, limit_prompts, split_prompts
from fine_tuning.run.command_line import make_parser, to_options
from fine_tuning.run.commands import PROJECT
from fine_tuning.run.entry_point import INTERRUPTS
from fine_tuning.run.files import sha256, write_atomically
from fine_tuning.run.options import Options
from fine_tuning.run.run_state import ADAPTER_FILE
from fine_tuning.run.step_preset import preset_for
from fine_tuning.run_all import pass_interrupts_to

if TYPE_CHECKING:  # imports torch
    from transformers import PreTrainedTokenizerBase

    from fine_tuning.sampling.generation import Model
    from fine_tuning.sampling.validation import Scorer, Validation

T = TypeVar("T")

FRESH_SEED = 11  # settings were chosen on prompts of seeds 7 and 9
# The prompts, the answers and their scores depend on these files.
MADE_BY = (
    "create_dataset/create_dataset.py", "create_dataset/flowchart_listing.py",
    "create_dataset/flowchart_wording.py", "create_dataset/graphs.py", "create_dataset/house_style.py",
    "create_dataset/layer_wording.py", "create_dataset/layout.py", "create_dataset/marks.py",
    "create_dataset/names.py", "create_dataset/neuron_wording.py", "create_dataset/wording.py",
    "diagram/alignment.py", "diagram/comparison.py", "diagram/conventions.py", "diagram/geometry.py",
    "diagram/graph.py", "diagram/label_similarity.py", "diagram/labels.py", "diagram/language.py",
    "diagram/lettering.py", "diagram/matching.py", "diagram/nodes.py", "diagram/picture_geometry.py",
    "diagram/quoting.py", "diagram/readability.py", "diagram/reading.py", "diagram/score.py",
    "diagram/text_width.py", "diagram/weights.py", "fine_tuning/run/presets.py",
    "fine_tuning/data/csv_lines.py", "fine_tuning/data/csv_rows.py", "fine_tuning/data/frame_search.py",
    "fine_tuning/data/prompt_frame.py", "fine_tuning/data/row.py",
    "fine_tuning/data/split.py", "fine_tuning/data/tokens.py",
    "fine_tuning/sampling/batches.py", "fine_tuning/sampling/generation.py", "fine_tuning/sampling/validation.py",
    "fine_tuning/sampling/answer_rows.py", "fine_tuning/sampling/decoder.py", "fine_tuning/sampling/streams.py",
    "fine_tuning/sampling/row_decoder.py", "fine_tuning/sampling/rows.py", "fine_tuning/sampling/row_cache.py",
    "fine_tuning/training/adapter.py", "fine_tuning/training/base_model.py", "fine_tuning/training/device.py",
    "benchmarks/evaluation.py",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Prompts:
    """The rows whose prompts a run's models are asked, each with its reference.

    held_out       rows of the two CSVs whose prompts no step trained on
    fresh          rows made from FRESH_SEED, whose prompts are in neither CSV
    known_answers  the answers that the steps trained on
    """

    held_out: list[Row]
    fresh: list[Row]
    known_answers: Set[str]


def options_of(flags: Sequence[str]) -> Options:
    """The options of a step that gets these flags."""
    return to_options(make_parser("").parse_args(flags))


def run_script(path: str, flags: Sequence[str]) -> None:
    """Run a script of the project, given by its path there. What it prints to stdout is dropped.

    Exits with its status if it fails, after the message that it has printed to stderr. An interrupt is passed on to it.
    """
    command = [sys.executable, str(PROJECT / path), *flags]
    print(" ".join(command[1:]), flush=True)
    before = {number: signal.getsignal(number) for number in INTERRUPTS}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, text=True) as process:
        pass_interrupts_to(process)
    for number, handler in before.items():
        signal.signal(number, handler)
    if process.returncode:
        raise SystemExit(process.returncode if process.returncode > 0 else 128 - process.returncode)


def prompts_to_ask(options: Options) -> Prompts:
    """The prompts for the models of a run. Writes the fresh rows to the workspace."""
    workspace = options.workspace
    whole = [
        read_rows(workspace.sft_csv, scored=False, remedy=""),
        read_rows(workspace.orpo_csv, scored=True, remedy=""),
    ]
    fresh = _fresh_rows(workspace.root / "fresh_prompts.csv", {row.prompt for rows in whole for row in rows})
    used = [limit_prompts(rows, options.max_rows) for rows in whole]
    trained = {prompt for rows in used for prompt in split_prompts(rows, options.seed)[0]}
    rows = [row for rows in used for row in rows]
    known_answers = {row.answer for row in rows if row.prompt in trained}
    return Prompts(held_out_rows(rows, trained), fresh, known_answers)


def _fresh_rows(path: Path, known: Set[str]) -> list[Row]:
    """Generate rows with another seed than that of the committed ones, and leave out `known` prompts."""
    write_atomically(path, make_datasets(FRESH_SEED)[SFT_FILE])
    return [row for row in read_rows(path, scored=False, remedy="") if row.prompt not in known]


def spread(items: Sequence[T], count: int) -> list[T]:
    """Every n-th of the items, at most `count`."""
    return list(items[:: ceil(len(items) / count)])


def hashes(adapters: Mapping[str, Path], files: Sequence[str] = MADE_BY) -> dict[str, str]:
    """What an evaluation was made of: the SHA-256 of the adapters in these folders and of these files."""
    made_of = {name: sha256(folder / ADAPTER_FILE) for name, folder in adapters.items()}
    return made_of | {name: sha256(PROJECT / name) for name in files}


def model_to_ask(options: Options, adapter: Path | None) -> "Model":
    """The base model with the adapter in a folder, or without one, ready to generate."""
    from fine_tuning.sampling.generation import merge_for_generation
    from fine_tuning.training.adapter import load_adapter
    from fine_tuning.training.base_model import load_base_model

    base, lora = load_base_model(options), preset_for(options).lora
    return merge_for_generation(load_adapter(base, adapter, lora, options, trainable=False) if adapter else base)


def answered(
    model: "Model",
    tokenizer: "PreTrainedTokenizerBase",
    rows: Sequence[Row],
    options: Options,
    title: str,
    temperature: float,
    score: "Scorer" = score_diagram,
) -> "Validation":
    """The model's answers to the prompts of `rows`, and their scores. A `temperature` of 0 is greedy decoding."""
    from fine_tuning.sampling.decoder import Decoder
    from fine_tuning.sampling.validation import validate

    decoder = Decoder(model, tokenizer, preset_for(options).sampling.batch_size, options.plain)
    return validate(decoder, rows, options.seed, title, temperature, score)
