"""Compare the greedy answer with the one chosen among it and N samples, for every request or only where it has a flaw.

    python benchmarks/vote.py [--workspace build/embedded_benchmark/seed-2025] [--prompts 175] [--record]

The workspace must hold a run of the embedded model, such as benchmarks/embedded_model.py makes. Its final adapter
answers fresh prompts, which `create_dataset.py` generates from another seed than in all other benchmarks. All answers
are drawn once: the first samples of many are the samples of few. Then some of the prompts are answered again, one at a
time as by `ask.py`, to measure the time that each way takes.

If you stop it, the same command goes on with the answers that it has.
"""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

from tqdm import tqdm

from benchmarks.evaluation import spread
from benchmarks.report import benchmark_parser, describe_device, flags_given, report
from create_dataset.create_dataset import SFT_FILE, make_datasets
from diagram import score_diagram
from fine_tuning.data.csv_rows import Row, read_rows
from fine_tuning.data.prompt_frame import PromptFrame
from fine_tuning.data.scoring import Scoring
from fine_tuning.run.command_line import make_parser, to_options, whole_number
from fine_tuning.run.commands import PROJECT
from fine_tuning.run.files import sha256, write_atomically
from fine_tuning.run.markdown import table
from fine_tuning.run.options import SEED, Options, set_environment
from fine_tuning.run.presets import EMBEDDED
from fine_tuning.run.run_state import ADAPTER_FILE
from fine_tuning.run.workspace import Workspace
from fine_tuning.sampling.vote import Text, ranked

if TYPE_CHECKING:  # imports torch
    from fine_tuning.sampling.asker import Asker

FRESH_SEED = 23  # other benchmarks use 11, and settings were chosen on prompts of seeds 7 and 9
MOST = 8
# The answers depend on these files, on the adapter and on the prompts.
MADE_BY = (
    "fine_tuning/sampling/generation.py", "fine_tuning/sampling/several.py", "fine_tuning/sampling/streams.py",
    "fine_tuning/sampling/decoder.py", "fine_tuning/sampling/row_decoder.py", "fine_tuning/sampling/rows.py",
    "fine_tuning/sampling/row_cache.py",
    "fine_tuning/data/tokens.py", "fine_tuning/data/chat_format.py", "fine_tuning/training/base_model.py",
)  # fmt: skip
# How many samples besides the greedy answer, and whether for every request or only where that has a flaw.
WAYS = {
    "greedy": (0, True),
    "2 samples": (2, True),
    "4 samples": (4, True),
    "8 samples": (MOST, True),
    "8 samples if the greedy answer has a flaw": (MOST, False),
}


class Answer(NamedTuple):
    """A stored answer."""

    text: str
    ended: bool


def main() -> None:
    parser = benchmark_parser(__doc__)
    parser.add_argument(
        "--workspace",
        type=Path,
        default=PROJECT / "build" / "embedded_benchmark" / "seed-2025",
        help="workspace with a finished run of the embedded model (default: build/embedded_benchmark/seed-2025)",
    )
    parser.add_argument("--prompts", type=whole_number(1), default=175, help="fresh prompts to answer (default: 175)")
    parser.add_argument(
        "--timed", type=whole_number(1), default=20, help="prompts to measure the time on (default: 20)"
    )
    args = parser.parse_args()
    flags = ["--model", "embedded", "--workspace", str(args.workspace)]
    options = to_options(make_parser("", is_step=False).parse_args(flags))
    set_environment(options)
    rows = fresh_rows(options, args.prompts)
    askers = make_askers(options)
    prompts = [askers["8 samples"].prompt(row.prompt) for row in rows]
    answers = _answers(askers["8 samples"], prompts, options.workspace)
    timed = spread(prompts, args.timed)
    seconds = _seconds(askers, timed)
    results = {name: figures(rows, answers, *way) | {"seconds": seconds[name]} for name, way in WAYS.items()}
    best = best_share(rows, answers)
    report(
        "Several answers and a vote",
        f"python benchmarks/vote.py{flags_given()}",
        f"The embedded model after ORPO on {len(rows)} fresh prompts. The answer is chosen among the greedy one and "
        "samples at temperature 1. Seconds: the mean over "
        f"{len(timed)} requests, one at a time, on {describe_device()}.\n\n{_table(results)}\n\n"
        f"No choice can be flawless more often than {best:.1%}: in the other cases none of the {1 + MOST} answers is.",
        {"prompts": len(rows), "results": results, "a flawless answer among all": best},
        args.record,
    )


def fresh_rows(options: Options, count: int) -> list[Row]:
    """Up to `count` rows of both families, made from FRESH_SEED, whose prompts are in neither CSV of the workspace."""
    workspace = options.workspace
    path = workspace.root / "vote_prompts.csv"
    known = {
        row.prompt
        for csv_path, scored in ((workspace.sft_csv, False), (workspace.orpo_csv, True))
        for row in read_rows(csv_path, scored=scored, remedy="")
    }
    write_atomically(path, make_datasets(FRESH_SEED)[SFT_FILE])
    return spread([row for row in read_rows(path, scored=False, remedy="") if row.prompt not in known], count)


def make_askers(options: Options) -> dict[str, "Asker"]:
    """One for each of WAYS, all with the same model."""
    from fine_tuning.sampling.asker import Asker
    from fine_tuning.sampling.decoder import Decoder
    from fine_tuning.sampling.generation import merge_for_generation
    from fine_tuning.training.adapter import load_adapter
    from fine_tuning.training.base_model import load_base_model, load_tokenizer

    base, adapter = load_base_model(options), options.workspace.orpo_model
    model = merge_for_generation(load_adapter(base, adapter, EMBEDDED.lora, options, trainable=False))
    frame, size = PromptFrame(), EMBEDDED.sampling.batch_size  # the prompts of rows are whole
    decoder = Decoder(model, load_tokenizer(options), size)
    return {
        name: Asker(decoder, frame, Scoring(), samples, always, size, SEED) for name, (samples, always) in WAYS.items()
    }


def _answers(asker: "Asker", prompts: Sequence[list[int]], workspace: Workspace) -> list[list[Answer]]:
    """The greedy answer to each prompt and MOST samples. Kept in the workspace, to go on from there."""
    from fine_tuning.sampling.asker import MAX_NEW_TOKENS
    from fine_tuning.sampling.several import several_answers

    path = workspace.root / "vote_answers.json"
    made_of: dict[str, Any] = {name: sha256(PROJECT / name) for name in MADE_BY}
    made_of |= {"adapter": sha256(workspace.orpo_model / ADAPTER_FILE), "prompts": list(prompts)}
    stored = json.loads(path.read_text("utf-8")) if path.exists() else {}
    texts = stored["answers"] if stored.get("made of") == made_of else []
    with tqdm(total=len(prompts), initial=len(texts), desc="answering", unit="prompt") as progress:
        while len(texts) < len(prompts):
            batch = prompts[len(texts) : len(texts) + asker.requests_at_once]
            answers = several_answers(asker.decoder, batch, MOST, MAX_NEW_TOKENS, SEED)
            texts += [[(answer.text, answer.ended) for answer in of_prompt] for of_prompt in answers]
            write_atomically(path, json.dumps({"made of": made_of, "answers": texts}))
            progress.update(len(batch))
    return [[Answer(*answer) for answer in of_prompt] for of_prompt in texts]


def figures(rows: Sequence[Row], answers: Iterable[Sequence[Text]], samples: int, always: bool) -> dict[str, float]:
    """The quality of the answers that are chosen; of each prompt's `answers` the greedy one is the first."""
    chosen = []
    for of_prompt in answers:
        best = ranked(of_prompt[:1])[0]
        if always or best.remarks:
            best = ranked(of_prompt[: 1 + samples])[0]
        chosen.append(best.text)
    scores = [score_diagram(text, row.answer) for text, row in zip(chosen, rows, strict=True)]
    return {
        "flawless answers": fmean(s.total == 1 for s in scores),
        "graph exactly right": fmean(s.has_graph for s in scores),
        "layout flawless": fmean(s.tidy for s in scores),
        "mean score": fmean(s.total for s in scores),
    }


def best_share(rows: Sequence[Row], answers: Iterable[Sequence[Text]]) -> float:
    """The share of prompts with a flawless answer among all answers."""
    return fmean(
        any(score_diagram(answer.text, row.answer).total == 1 for answer in of_prompt)
        for of_prompt, row in zip(answers, rows, strict=True)
    )


def _seconds(askers: Mapping[str, "Asker"], prompts: Sequence[Sequence[int]]) -> dict[str, float]:
    """Mean seconds for a prompt, each answered alone, in all ways by turns."""
    spent = dict.fromkeys(askers, 0.0)
    for prompt in tqdm(prompts, desc="measuring", unit="prompt"):
        for name, asker in askers.items():
            start = time.perf_counter()
            asker.candidates([prompt])
            spent[name] += time.perf_counter() - start
    return {name: seconds / len(prompts) for name, seconds in spent.items()}


def _table(results: Mapping[str, Mapping[str, float]]) -> str:
    greedy = results["greedy"]["seconds"]
    shares = ("flawless answers", "graph exactly right", "layout flawless")
    return table(
        ["", *shares, "mean score", "seconds", "times greedy"],
        [
            [
                name,
                *(f"{r[share]:.1%}" for share in shares),
                f"{r['mean score']:.4f}",
                f"{r['seconds']:.2f}",
                f"{r['seconds'] / greedy:.2f}",
            ]
            for name, r in results.items()
        ],
    )


if __name__ == "__main__":
    main()
