"""The answers of all models of a run of benchmarks/pretrained_model.py. They are stored, to go on after a stop."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.evaluation import MADE_BY, answered, hashes, model_to_ask, prompts_to_ask, spread
from benchmarks.few_shot import choose_examples
from benchmarks.graph_text import kinds_of
from benchmarks.graphviz_layout import graphviz_version
from benchmarks.paired import Figures
from benchmarks.pretrained_tables import (
    BASE,
    EXAMPLES,
    FIGURES,
    FRESH,
    GRAPH,
    GREEDY,
    HELD_OUT,
    LAID_OUT,
    ON_BEST,
    ORPO,
    ROUND_2,
    SETS,
    SFT,
    WAYS,
    SeedRun,
)
from benchmarks.pretrained_trainings import trainings
from benchmarks.rejection_sampling import NAME
from benchmarks.second_round import finished_adapter
from benchmarks.yardsticks import MADE_BY as YARDSTICKS
from benchmarks.yardsticks import Answered, has_graphviz, placed_again, with_diagrams, with_graphs
from fine_tuning.data.csv_rows import Row
from fine_tuning.data.problems import Problems
from fine_tuning.data.prompt_frame import frame_of
from fine_tuning.data.scoring import stored_scoring
from fine_tuning.data.sft_csv import read_sft_rows
from fine_tuning.data.split import limit_prompts, split_prompts
from fine_tuning.run.files import make_folder, write_atomically
from fine_tuning.run.options import Options
from fine_tuning.run.step_preset import preset_for

if TYPE_CHECKING:  # imports torch
    from transformers import PreTrainedTokenizerBase

    from fine_tuning.sampling.decoder import Decoder
    from fine_tuning.sampling.validation import Validation

MADE_HERE = (*MADE_BY, "benchmarks/pretrained_answers.py")


def evaluated(options: Options, fresh_prompts: int | None, good_samples: bool) -> SeedRun:
    """The figures of a finished run: its trainings, and each answer of its models and of the yardsticks.

    `fresh_prompts` limits the number of fresh prompts. Without `good_samples` there is no model that was trained on the
    best of them. Without Graphviz, what it would lay out is left out, with a note.
    """
    from fine_tuning.training.base_model import load_tokenizer

    workspace = options.workspace
    tokenizer = load_tokenizer(options)
    found = prompts_to_ask(options)
    rows = {HELD_OUT: rows_that_fit(tokenizer, found.held_out, options)}
    fresh = rows_that_fit(tokenizer, found.fresh, options)
    rows[FRESH] = spread(fresh, fresh_prompts or len(fresh))
    of_seed = _Evaluation(options, tokenizer, rows)
    of_seed.ask(BASE, None)
    of_seed.measure_base_with_examples()
    of_seed.ask(SFT, workspace.sft_model)
    of_seed.lay_out(SFT, LAID_OUT)
    if good_samples:
        of_seed.ask(ON_BEST, workspace.root / "models" / NAME)
    of_seed.ask(ORPO, workspace.orpo_model)
    if second := finished_adapter(options):
        of_seed.ask(ROUND_2, second)
    prompts_of = {name: [row.prompt for row in some] for name, some in rows.items()}
    return SeedRun(prompts_of, of_seed.answers, trainings(options, good_samples) | of_seed.facts)


def rows_that_fit(tokenizer: "PreTrainedTokenizerBase", rows: Sequence[Row], options: Options) -> list[Row]:
    """The rows that the steps would not leave out for their length."""
    from fine_tuning.data.tokens import encode_rows

    return [row for row, _ in encode_rows(tokenizer, rows, preset_for(options).max_length, Problems(skip=True))]


class _Evaluation:
    """Answers of models to the prompts of `rows`, by set. Each is stored once it is complete.

    answers   the figures of each answer, by model, set and way
    facts     what else there is to know about the yardsticks
    """

    def __init__(self, options: Options, tokenizer: "PreTrainedTokenizerBase", rows: Mapping[str, list[Row]]) -> None:
        self.answers: dict[tuple[str, str, str], Sequence[Figures]] = {}
        self.facts: dict[str, Any] = {}
        self._options, self._tokenizer, self._rows = options, tokenizer, rows
        self._score = stored_scoring(options)
        self._written: dict[tuple[str, str, str], list[str]] = {}
        self._model = lru_cache(maxsize=1)(partial(model_to_ask, options))  # loaded only if answers are missing
        self._has_graphviz = has_graphviz()
        self._folder = options.workspace.root / "evaluation"
        make_folder(self._folder)

    def ask(self, name: str, adapter: Path | None) -> None:
        """Let the base model with an adapter answer all prompts in all ways."""

        def answer(rows: list[Row], title: str, temperature: float) -> Answered:
            model = self._model(adapter)
            validation = answered(model, self._tokenizer, rows, self._options, title, temperature, self._score)
            return Answered(validation, [answer.text for answer in validation.answers])

        made_of = hashes({name: adapter} if adapter else {}, MADE_HERE)
        self._measure(name, WAYS, answer, made_of)

    def measure_base_with_examples(self) -> None:
        """Let the base model answer with examples in its prompt: with diagrams and, if Graphviz is here, graphs."""
        options = self._options
        shown = limit_prompts(read_sft_rows(options).rows, options.max_rows)
        trained, _ = split_prompts(shown, options.seed)
        short = rows_that_fit(self._tokenizer, [row for row in shown if row.prompt in trained], options)
        examples = choose_examples(short)
        kinds, frame = kinds_of(row.answer for row in short), frame_of(row.prompt for row in short)
        seed, score = options.seed, self._score

        def diagrams(rows: list[Row], title: str, _: float) -> Answered:
            return with_diagrams(self._base_decoder(), examples, rows, seed, title, score)

        def graphs(rows: list[Row], title: str, _: float) -> Answered:
            return with_graphs(self._base_decoder(), examples, rows, seed, title, score, frame, kinds)

        made_of = hashes({}, (*MADE_HERE, *YARDSTICKS)) | {"examples": _hash_of(examples)}
        self.facts[f"{EXAMPLES}: rows of {options.workspace.sft_csv.name}"] = ", ".join(
            str(row.number) for row in examples
        )
        self._measure(EXAMPLES, GREEDY, diagrams, made_of)
        if self._has_graphviz:
            self._measure(GRAPH, GREEDY, graphs, made_of | {"graphviz": graphviz_version(), "kinds": repr(kinds)})

    def lay_out(self, name: str, new_name: str) -> None:
        """Lay out the answers of a model again, if Graphviz is here."""
        for way in WAYS if self._has_graphviz else ():
            made_of = hashes({}, (*MADE_HERE, *YARDSTICKS)) | {"graphviz": graphviz_version()}
            for prompts in self._rows:
                written = self._written[name, prompts, way]
                ended = [bool(figures["ended by itself"]) for figures in self.answers[name, prompts, way]]
                of_texts = made_of | {"texts": sha256(json.dumps([written, ended]).encode()).hexdigest()}

                def answer(
                    rows: list[Row], title: str, _: float, written: list[str] = written, ended: list[bool] = ended
                ) -> Answered:
                    return placed_again(rows, written, ended, self._score)

                self._measure(new_name, {way: WAYS[way]}, answer, of_texts, (prompts,))

    def _base_decoder(self) -> "Decoder":
        from fine_tuning.sampling.decoder import Decoder

        batch_size = preset_for(self._options).sampling.batch_size
        return Decoder(self._model(None), self._tokenizer, batch_size, self._options.plain)

    def _measure(
        self,
        name: str,
        ways: Mapping[str, float],
        answer: Callable[[list[Row], str, float], Answered],
        made_of: Mapping[str, Any],
        sets: Sequence[str] = SETS,
    ) -> None:
        """Take the stored figures, or those of `answer(rows, title, temperature)`, and store them."""
        for prompts in sets:
            some = self._rows[prompts]
            made_of_now = {**made_of, "model": self._options.settings()["model files"], "prompts": _hash_of(some)}
            for way, temperature in ways.items():
                title = f"{name}, {prompts}, {way}"
                path = self._folder / f"{title}.json".replace(" ", "_").replace(",", "")
                kept = json.loads(path.read_text("utf-8")) if path.exists() else {}
                if kept.get("made of") != made_of_now:
                    validation, written = answer(some, title, temperature)
                    figures = dict(zip((row.prompt for row in validation.rows), _figures(validation), strict=True))
                    drawn = [answer.text for answer in validation.answers]
                    kept = {"made of": made_of_now, "figures": [figures.get(row.prompt, {}) for row in some]}
                    kept |= {"answers": written} | ({"drawn": drawn} if drawn != written else {})
                    write_atomically(path, json.dumps(kept, ensure_ascii=False))
                self.answers[name, prompts, way] = kept["figures"]
                self._written[name, prompts, way] = kept["answers"]
                if left_out := sum(not figures for figures in kept["figures"]):
                    self.facts[f"{name}: {prompts} prompts that do not fit into the model's context"] = left_out


def _hash_of(rows: Sequence[Row]) -> str:
    return sha256(json.dumps([[row.prompt, row.answer] for row in rows]).encode()).hexdigest()


def _figures(validation: "Validation") -> list[dict[str, float]]:
    """FIGURES of each answer: what the validation's figures are if it has only this answer."""
    each = [
        replace(validation, rows=[row], answers=[answer], scores=[score]).figures()
        for row, answer, score in zip(validation.rows, validation.answers, validation.scores, strict=True)
    ]
    return [{name: figures[name] for name in FIGURES if name in figures} for figures in each]
