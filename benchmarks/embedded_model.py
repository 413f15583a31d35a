"""Compare the embedded model before fine-tuning, after SFT and after ORPO, over several seeds.

    python benchmarks/embedded_model.py [--seeds 2025 2026 2027] [--work build/embedded_benchmark] [--record]

For each seed, runs the three steps with default settings, as a user does. Then all three models answer the prompts that
were not trained on (140 of the SFT CSV, 40 of the ORPO CSV), once greedily and five times sampled at temperature 1. On
so few prompts, a small difference can be chance. So the two tuned models also answer about 700 fresh prompts, which
`create_dataset.py` generates from another seed.

A seed takes less than half an hour on two CPU cores. If you stop it, the same command resumes.
"""

import json
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from benchmarks import evaluation
from benchmarks.evaluation import answered, hashes, model_to_ask, options_of, prompts_to_ask, run_script
from benchmarks.report import benchmark_parser, flags_given, report
from diagram import parse
from diagram.contact_sheet import Cell, Picture, contact_sheet
from fine_tuning.data.csv_rows import Row
from fine_tuning.data.prompt_frame import frame_of
from fine_tuning.run.commands import PROJECT
from fine_tuning.run.files import write_atomically
from fine_tuning.run.markdown import table
from fine_tuning.run.options import Options, set_environment
from fine_tuning.run.workspace import Workspace

if TYPE_CHECKING:  # imports torch
    from fine_tuning.sampling.validation import Validation

MODELS = ("base", "after SFT", "after ORPO")
WAYS = {"greedy": (0, 1), "sampled": (1, 5)}  # temperature, answers per prompt
BOTH = "mean of both"  # of greedy and sampled, with equal weight
FRESH_WAYS = {f"{way}, fresh": temperature for way, (temperature, _) in WAYS.items()}
NEW = "new diagrams"  # those that are not the answer of any training row
FIGURES = (
    "score", "well-formed answers", "ended by itself", "graph exactly right", "labels right",
    "layout flawless", "layout flawless and complete", "flawless answers", "connections", "style", "score of networks",
    "score of flowcharts", f"score of {NEW}", f"graph exactly right of {NEW}", "tokens per answer",
)  # fmt: skip
FRESH_FIGURES = (
    "score", "well-formed answers", "ended by itself", "graph exactly right", "labels right", "layout flawless",
    "flawless answers", f"score of {NEW}", f"graph exactly right of {NEW}",
)  # fmt: skip
MADE_BY = (*evaluation.MADE_BY, "benchmarks/embedded_model.py")
SHEET_ROWS = 6
PICTURE = PROJECT / "docs" / "base_sft_orpo.png"


def main() -> None:
    parser = benchmark_parser(__doc__)
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[2025, 2026, 2027], help="seeds to run (default: 2025 2026 2027)"
    )
    parser.add_argument(
        "--work",
        type=Path,
        default=PROJECT / "build" / "embedded_benchmark",
        help="folder for the runs (default: build/embedded_benchmark)",
    )
    args = parser.parse_args()

    runs = {}
    for seed in args.seeds:
        flags = ["--model", "embedded", "--workspace", str(args.work / f"seed-{seed}"), "--seed", str(seed)]
        options = options_of(flags)
        set_environment(options)
        run_script("fine_tuning/run_all.py", flags)
        runs[seed] = _evaluated(options) | _training_figures(options.workspace)

    sheet = contact_sheet(_cells(runs[args.seeds[0]]), columns=1)
    sheet.save(args.work / PICTURE.name)
    if args.record:
        sheet.save(PICTURE)
    fresh = runs[args.seeds[0]]["after SFT"]["greedy, fresh"]["prompts"]
    body = (
        f"{_table_of_means(runs, WAYS, MODELS, FIGURES)}\n\n{_table_of_trainings(runs)}\n\n"
        f"Mean score of each seed:\n\n{_table_of_seeds(runs, (*WAYS, BOTH), MODELS, 'score')}\n\n"
        "Share of graphs that are exactly right, for each seed:\n\n"
        f"{_table_of_seeds(runs, (*WAYS, BOTH), MODELS, 'graph exactly right')}\n\n"
        f"On {fresh} fresh prompts, which are the same for every seed, sampled once each:\n\n"
        f"{_table_of_means(runs, FRESH_WAYS, MODELS[1:], FRESH_FIGURES)}\n\n"
        f"{_table_of_seeds(runs, FRESH_WAYS, MODELS[1:], 'score')}"
    )
    report(
        "The embedded model: base, SFT and ORPO",
        f"python benchmarks/embedded_model.py{flags_given()}",
        f"Means over {len(runs)} seeds, with the lowest and the highest in brackets. "
        f"{len(runs[args.seeds[0]]['prompts'])} held-out prompts for each seed, sampled at temperature 1. "
        f"Settings: the preset `EMBEDDED` of `fine_tuning/run/presets.py`.\n\n{body}",
        {str(seed): {name: run[name] for name in (*MODELS, "training")} for seed, run in runs.items()},
        args.record,
    )


def _evaluated(options: Options) -> dict[str, Any]:
    """Return figures and answers of the three models, greedy and sampled. They are cached in the run's workspace."""
    workspace = options.workspace
    path = workspace.root / "evaluation.json"
    made_of = hashes(_adapters(workspace), MADE_BY)
    if path.exists() and (kept := json.loads(path.read_text("utf-8"))).get("made of") == made_of:
        return kept

    from fine_tuning.training.base_model import load_tokenizer

    prompts = prompts_to_ask(options)
    rows, fresh, known = prompts.held_out, prompts.fresh, prompts.known_answers
    tokenizer = load_tokenizer(options)
    frame = frame_of(row.prompt for row in rows)
    result: dict[str, Any] = {"made of": made_of, "prompts": [frame.request_of(row.prompt) for row in rows]}
    result["references"] = [row.answer for row in rows]
    for name in MODELS:
        model = model_to_ask(options, _adapters(workspace).get(name))
        result[name] = {}
        for way, (temperature, count) in WAYS.items():
            title = f"{name}, {way}"
            validation = answered(model, tokenizer, rows * count, options, title, temperature)
            result[name][way] = validation.figures() | _by_family(rows * count, [s.total for s in validation.scores])
            result[name][way] |= _of_new(validation, known)
            result[f"{name} {way} answers"] = [
                {"text": answer.text, "score": score.total}
                for answer, score in zip(validation.answers, validation.scores, strict=True)
            ]
        result[name][BOTH] = {f: round(fmean(result[name][way][f] for way in WAYS), 4) for f in FIGURES}
        for way, temperature in FRESH_WAYS.items() if name != "base" else ():
            validation = answered(model, tokenizer, fresh, options, f"{name}, {way}", temperature)
            result[name][way] = validation.figures() | _of_new(validation, known)
    write_atomically(path, json.dumps(result, ensure_ascii=False))
    return result


def _adapters(workspace: Workspace) -> dict[str, Path]:
    return {"after SFT": workspace.sft_model, "after ORPO": workspace.orpo_model}


def _by_family(rows: Sequence[Row], scores: Sequence[float]) -> dict[str, float]:
    names = {"dl_model": "score of networks", "flowchart": "score of flowcharts"}
    return {
        name: round(fmean(s for row, s in zip(rows, scores, strict=True) if row.family == family), 4)
        for family, name in names.items()
    }


def _of_new(validation: "Validation", known: Set[str]) -> dict[str, float]:
    """Return figures over only those rows whose reference is not `known`."""
    new = [k for k, row in enumerate(validation.rows) if row.answer not in known]
    figures = replace(
        validation,
        rows=[validation.rows[k] for k in new],
        answers=[validation.answers[k] for k in new],
        scores=[validation.scores[k] for k in new],
    ).figures()
    return {f"{name} of {NEW}": figures[name] for name in ("score", "graph exactly right")}


def _training_figures(workspace: Workspace) -> dict[str, Any]:
    sft, orpo = (
        json.loads((workspace.log / f"log_train_final_{step}.json").read_text("utf-8"))["Result"]
        for step in ("sft", "orpo")
    )
    return {
        "training": {
            "final average training loss": {"after SFT": sft["final average training loss"]},
            "chosen preferred over rejected, validation": {
                "after SFT": orpo["chosen preferred before"],
                "after ORPO": orpo["chosen preferred after"],
            },
        }
    }


def _table_of_means(
    runs: Mapping[int, Mapping[str, Any]], ways: Iterable[str], models: Sequence[str], figures: Iterable[str]
) -> str:
    rows = [
        [f"{figure}, {way}", *(_spread([run[name][way][figure] for run in runs.values()]) for name in models)]
        for figure in figures
        for way in ways
    ]
    return table(["", *models], rows)


def _table_of_trainings(runs: Mapping[int, Mapping[str, Any]]) -> str:
    rows = []
    for figure in next(iter(runs.values()))["training"]:
        values = [[run["training"][figure].get(name) for run in runs.values()] for name in MODELS[1:]]
        rows.append([figure, *map(_spread, values)])
    return table(["", *MODELS[1:]], rows)


def _spread(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return ""
    digits = 1 if max(known) > 10 else 3
    return f"{fmean(known):.{digits}f} ({min(known):.{digits}f} to {max(known):.{digits}f})"


def _table_of_seeds(
    runs: Mapping[int, Mapping[str, Any]], ways: Iterable[str], models: Sequence[str], figure: str
) -> str:
    columns = [(name, way) for way in ways for name in models]
    return table(
        ["seed", *map(", ".join, columns)],
        [[seed, *(f"{run[name][way][figure]:.4f}" for name, way in columns)] for seed, run in runs.items()],
    )


def _cells(run: Mapping[str, Any]) -> list[Cell]:
    """Show the greedy answers to a few requests, chosen evenly from the held-out prompts and not by score."""
    count = len(run["prompts"])
    cells = []
    for k in (n * count // SHEET_ROWS for n in range(SHEET_ROWS)):
        answers = [(name, run[f"{name} greedy answers"][k]) for name in MODELS]
        pictures = [Picture(name, parse(answer["text"]), answer["score"]) for name, answer in answers]
        cells.append(Cell(run["prompts"][k], (Picture("reference", parse(run["references"][k])), *pictures)))
    return cells


if __name__ == "__main__":
    main()
