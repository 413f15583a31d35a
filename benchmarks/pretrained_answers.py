"""The answers of all models of a run of benchmarks/pretrained_model.py. They are stored, to go on after a stop."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.evaluation import MADE_BY, answered, hashes, model_to_ask, prompts_to_ask, spread
from benchmarks.paired import Figures
from benchmarks.pretrained_tables import BASE, FIGURES, FRESH, HELD_OUT, ON_BEST, ORPO, SFT, WAYS, SeedRun
from benchmarks.rejection_sampling import NAME
from fine_tuning.data.csv_rows import Row
from fine_tuning.data.problems import Problems
from fine_tuning.data.scoring import stored_scoring
from fine_tuning.run.files import make_folder, write_atomically
from fine_tuning.run.log import stored_result
from fine_tuning.run.options import Options
from fine_tuning.run.run_state import RunState
from fine_tuning.run.step_preset import preset_for

if TYPE_CHECKING:  # imports torch
    from transformers import PreTrainedTokenizerBase

    from fine_tuning.sampling.validation import Validation

MADE_HERE = (*MADE_BY, "benchmarks/pretrained_answers.py")
TRAINED = {"training steps": "steps", "final average training loss": "training loss"}
PREFERRED = {f"chosen preferred {when}": f"chosen preferred {when}" for when in ("before", "after")}


def evaluated(options: Options, fresh_prompts: int | None, good_samples: bool) -> SeedRun:
    """The figures of a finished run: its trainings, and each answer of its models.

    `fresh_prompts` limits the number of fresh prompts. Without `good_samples` there is no model that was trained on the
    best of them.
    """
    from fine_tuning.training.base_model import load_tokenizer

    workspace = options.workspace
    adapters: dict[str, Path | None] = {BASE: None, SFT: workspace.sft_model}
    adapters |= {ON_BEST: workspace.root / "models" / NAME} if good_samples else {}
    adapters |= {ORPO: workspace.orpo_model}
    tokenizer = load_tokenizer(options)
    found = prompts_to_ask(options)
    rows = {HELD_OUT: rows_that_fit(tokenizer, found.held_out, options)}
    fresh = rows_that_fit(tokenizer, found.fresh, options)
    rows[FRESH] = spread(fresh, fresh_prompts or len(fresh))
    answers: dict[tuple[str, str, str], Sequence[Figures]] = {}
    for name, adapter in adapters.items():
        for prompts, way, figures in _answers_of(options, tokenizer, name, adapter, rows):
            answers[name, prompts, way] = figures
    prompts_of = {name: [row.prompt for row in some] for name, some in rows.items()}
    return SeedRun(prompts_of, answers, _trainings(options, good_samples))


def rows_that_fit(tokenizer: "PreTrainedTokenizerBase", rows: Sequence[Row], options: Options) -> list[Row]:
    """The rows that the steps would not leave out for their length."""
    from fine_tuning.data.tokens import encode_rows

    return [row for row, _ in encode_rows(tokenizer, rows, preset_for(options).max_length, Problems(skip=True))]


def _answers_of(
    options: Options,
    tokenizer: "PreTrainedTokenizerBase",
    name: str,
    adapter: Path | None,
    rows: dict[str, list[Row]],
) -> Iterator[tuple[str, str, list[dict[str, float]]]]:
    """Set, way and the figures of each answer of one model. It is loaded only if answers are missing."""
    model = None
    score = stored_scoring(options)
    folder = options.workspace.root / "evaluation"
    make_folder(folder)
    model_hashes = hashes({name: adapter} if adapter else {}, MADE_HERE) | {"model": options.settings()["model files"]}
    for prompts, some in rows.items():
        asked = sha256(json.dumps([[row.prompt, row.answer] for row in some]).encode()).hexdigest()
        made_of = model_hashes | {"prompts": asked}
        for way, temperature in WAYS.items():
            path = folder / f"{name}, {prompts}, {way}.json".replace(" ", "_").replace(",", "")
            kept = json.loads(path.read_text("utf-8")) if path.exists() else {}
            if kept.get("made of") != made_of:
                model = model or model_to_ask(options, adapter)
                title = f"{name}, {prompts}, {way}"
                validation = answered(model, tokenizer, some, options, title, temperature, score)
                texts = [answer.text for answer in validation.answers]
                kept = {"made of": made_of, "figures": _figures(validation), "answers": texts}
                write_atomically(path, json.dumps(kept, ensure_ascii=False))
            yield prompts, way, kept["figures"]


def _figures(validation: "Validation") -> list[dict[str, float]]:
    """FIGURES of each answer: what the validation's figures are if it has only this answer."""
    each = [
        replace(validation, rows=[row], answers=[answer], scores=[score]).figures()
        for row, answer, score in zip(validation.rows, validation.answers, validation.scores, strict=True)
    ]
    return [{name: figures[name] for name in FIGURES if name in figures} for figures in each]


def _trainings(options: Options, good_samples: bool) -> dict[str, Any]:
    """What the trainings and the sampling came to, from their own records."""
    workspace = options.workspace
    validated = {"validation loss": "validation loss"}
    wanted = {
        SFT: (workspace.sft_model, TRAINED | validated),
        ON_BEST: (workspace.root / "models" / NAME, {"training rows": "different rows"} | TRAINED | validated),
        ORPO: (workspace.orpo_model, TRAINED | validated | PREFERRED),
    }
    sampled = stored_result(workspace.log, "log_create_orpo_dataset") or {}
    names = ("samples", "mean score", "flawless samples", "ended by itself")
    found = {f"samples of SFT: {name}": sampled[name] for name in names if name in sampled}
    for model, (folder, figures) in wanted.items():
        if model != ON_BEST or good_samples:
            run = RunState(folder).figures or {}
            found |= {f"{model}: {shown}": run[stored] for stored, shown in figures.items() if stored in run}
    return found
