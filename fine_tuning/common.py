"""What the three scripts share: `Step`, one run of a script, and the functions that load its model.

Steps 1 and 3, which train, are a `TrainingStep`; see `training_step.py`.

Importing this module does not import torch, which takes seconds: mistakes in flags and CSVs are reported before that.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fine_tuning.data.csv_rows import CsvRows, Row
from fine_tuning.data.orpo_csv import check_sampling
from fine_tuning.data.problems import Problems, Warnings
from fine_tuning.data.prompt_frame import PromptFrame, captions, frame_of, stored_frame
from fine_tuning.data.scoring import Scoring, scoring_of, stored_scoring
from fine_tuning.data.split import limit_prompts, split_prompts
from fine_tuning.run.command_line import parse_options
from fine_tuning.run.commands import STEPS, restart_command, stop_suggesting_restart
from fine_tuning.run.entry_point import run
from fine_tuning.run.errors import Checks
from fine_tuning.run.log import TrainingLog
from fine_tuning.run.model_check import check_download, check_model
from fine_tuning.run.options import Options, set_environment
from fine_tuning.run.presets import Preset
from fine_tuning.run.processes import processes
from fine_tuning.run.report_to import check_report_to
from fine_tuning.run.run_state import (
    GLOBAL_BATCH,
    LIBRARIES,
    PROCESSES,
    RunState,
    State,
    check_processes,
    library_changes,
)
from fine_tuning.run.sample_run import SampleRun
from fine_tuning.run.step_order import check_split, check_step_1, check_tokenizer, library_versions
from fine_tuning.run.step_preset import preset_after_step_1, preset_for
from fine_tuning.run.verdict import sampling_verdict, training_verdict, wall_time

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase

    from fine_tuning.training.token_table import TokenTable

__all__ = ["Step", "frame_of", "limit_prompts", "new_adapter", "run", "scoring_of", "split_prompts", "tuned_model"]

LOG_NAMES = ("log_train_final_sft", "log_create_orpo_dataset", "log_train_final_orpo")


class Step:
    """One run of a script: what all three do before and after training or sampling.

    A script reads its CSVs with `read`, inside `with step.checks`. Then it calls, in this order: `check`, which raises
    all problems at once; `is_done`; `load_tokenizer`; `store_rows` or `rows_that_fit`; `begin`, when every check has
    passed; `finish`, with its figures.
    """

    def __init__(self, number: int, description: str | None) -> None:
        self._start = time.perf_counter()
        self._needs: dict[str, str] = {}
        self._warnings = Warnings()  # about the CSVs
        self._peak_memory = 0
        self.continues = False  # True if an earlier start did a part of this run
        self.number = number
        self.options = parse_options(description)
        set_environment(self.options)
        self.workspace = self.options.workspace
        self.checks = Checks()
        self.preset, self._taken_over = preset_for(self.options), ""
        if number > 1:
            with self.checks:
                self.preset, self._taken_over = preset_after_step_1(self.options)
        self.max_length = self.preset.max_length  # `load_tokenizer` lowers it for a model that takes fewer tokens
        self.settings: dict[str, Any] = {}
        self.scoring = Scoring()  # step 1 decides it, and the steps after it follow
        self.frame = PromptFrame()  # step 1 finds it and stores it with the adapter
        self.workspace.claim()
        log_name = LOG_NAMES[number - 1]
        self.state: State = (
            SampleRun(self.workspace, log_name)
            if number == 2
            else RunState(self.workspace.sft_model if number == 1 else self.workspace.orpo_model)
        )
        self.log = TrainingLog(self.workspace.log, log_name, "")

    def read(self, read: Callable[[Options], CsvRows]) -> list[Row]:
        """The rows that `read` finds. Its notes become warnings, which `is_done` prints, and entries of the log."""
        found = read(self.options)
        self._warnings.add(found.notes)
        return found.rows

    def store_rows(self, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], csv_path: Path) -> TokenTable[Row]:
        """The token ids of a CSV's rows, on disk. Prints which rows are left out; raises UserError as `encode_rows`."""
        from fine_tuning.data.tokens import ROW_PARTS
        from fine_tuning.training.token_table import write_tokens

        encoded = self._encode(tokenizer, rows, csv_path)
        return write_tokens(encoded, ROW_PARTS, ROW_PARTS[:1], self.workspace.nearest_folder)

    def rows_that_fit(self, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], csv_path: Path) -> list[Row]:
        """The rows that `store_rows` would store, with the same messages."""
        return [row for row, _ in self._encode(tokenizer, rows, csv_path)]

    def _encode(
        self, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], csv_path: Path
    ) -> Iterator[tuple[Row, dict[str, list[int]]]]:
        from fine_tuning.data.tokens import encode_rows

        problems = Problems(csv_path, self.options.skip_bad_rows)
        yield from encode_rows(tokenizer, rows, self.max_length, problems)
        self._warnings.add(problems.notes())
        self._warnings.print()

    def check(self) -> None:
        """Raise UserError with every problem of the CSVs, the model, the earlier steps and the workspace."""
        with self.checks:
            check_model(self.options)
        with self.checks:
            check_report_to(self.options.report_to)
        if self.number > 1:
            with self.checks:
                check_step_1(self.options)
                check_split(self.options)
        with self.checks:
            self.workspace.check()
        self.checks.finish()
        if self.number > 1:
            self.scoring = stored_scoring(self.options)
            self.frame, _ = stored_frame(self.workspace.sft_model, self.options)
        if self.number == 3:
            check_sampling(self.options, self.preset)

    def is_done(self, settings: Mapping[str, Any]) -> bool:
        """True if a run with these settings is finished; prints its figures, else the warnings about the CSVs.

        Raises UserError if the stored run has other settings, or if there is work to do and a hub model cannot be had.
        `begin` and `finish` store the settings given here.
        """
        self.settings = dict(settings) | {LIBRARIES: library_versions()}
        if self.number != 2:
            self.settings |= {GLOBAL_BATCH: self.options.examples_per_step, PROCESSES: processes().count}
        if not self.options.restart:
            if self.number != 2:
                check_processes(self.state, self._command, restart_command())
            self._check_settings()
        figures = None if self.options.restart else self.state.figures
        if figures is None:
            check_download(self.options)
            self._warnings.print()
            if self._taken_over:
                print(self._taken_over)
            return False
        print(f"step {self.number} is done: {self.state.place}. To repeat it, add --restart")
        print(json.dumps(figures))
        return True

    def load_tokenizer(self) -> PreTrainedTokenizerBase:
        """Check that the model can be trained, and return its tokenizer. Sets `max_length`, the tokens of a row.

        Raises UserError with everything that is wrong with the model, or if its tokenizer has changed since this run
        or step 1 began.
        """
        from fine_tuning.training.collectives import start_group
        from fine_tuning.training.model_probe import probe

        probed = probe(self.options, self.preset)
        if self.number > 1:
            check_tokenizer(self.options, probed.settings)
        self.settings |= probed.settings
        if not self.options.restart:
            self._check_settings()
        self.max_length = probed.max_length
        if self.max_length < self.preset.max_length:
            print(
                f"{self.options.model_name}: at most {self.max_length} tokens of prompt and answer together, because "
                f"the model knows no more positions (instead of {self.preset.max_length})"
            )
        start_group()  # until here, all processes have met the same mistakes
        return probed.tokenizer

    def _command(self, global_batch: int, count: int) -> str:
        """The command that runs this step with another number of processes."""
        return replace(self.options, global_batch=global_batch).command(STEPS[self.number - 1], count)

    def _check_settings(self) -> None:
        """Raise UserError if the stored run has other settings."""
        self.state.check(self.settings, f"To discard it and repeat step {self.number}: {restart_command()}")

    def begin(self, title: str, data: Mapping[str, Any] | None = None) -> None:
        """Lock the workspace, discard an earlier run on --restart, store the settings, and start the log.

        Load the model first: a failed load must not discard an earlier run. Of several processes, the main one does
        this, when all have read the workspace, and the others wait until it has.
        """
        from fine_tuning.training.collectives import barrier
        from fine_tuning.training.device import machine

        barrier()
        changed = "" if self.options.restart else library_changes(self.state.stored_settings, self.settings)
        if changed:
            print(f"note: libraries have changed since this run began: {changed}. It continues with the new ones")
        if processes().is_main:
            self.workspace.prepare()
            self.state.begin(self.settings, self.options.restart)
        barrier()
        if self.options.restart:
            stop_suggesting_restart()
        self.log.title = f"{title} ({self.options.model_name})"
        self.log.set("Settings", {name: value for name, value in self.settings.items() if name != LIBRARIES})
        self.log_data(data or {})
        if self.scoring.facts:
            self.log.set("What the references fix", self.scoring.facts)
        notes = {"libraries changed since this run began": changed} if changed else {}
        self.log.set("Machine", machine() | notes | self._needs)

    def log_data(self, data: Mapping[str, Any]) -> None:
        """Write facts about the CSVs, and the warnings about them, into the log."""
        if facts := {**data, **self._warnings.facts}:
            self.log.set("Data", facts)

    def captions(self, rows: Iterable[Row]) -> Callable[[str], str]:
        """A function that returns the request of a prompt in `rows`, for the contact sheets."""
        return captions(self.frame, (row.prompt for row in rows))

    def finish(self, figures: Mapping[str, Any]) -> None:
        """Write the result into the log, mark the run as finished, and print the figures as one line of JSON."""
        from fine_tuning.training.adapter_card import add_verdict
        from fine_tuning.training.collectives import end_group
        from fine_tuning.training.device import peak_memory_mib

        result = dict(figures) | {"peak memory MiB": self._peak_memory or peak_memory_mib()}
        result |= wall_time(self._start, self.continues)
        verdict = sampling_verdict(result) if self.number == 2 else training_verdict(result)
        self.log.finish(result, verdict)
        if processes().is_main:
            if self.number != 2:
                add_verdict(self.state.place, verdict.lines)
            self.state.finish(self.settings, result)
        self.log.announce()
        end_group()


def new_adapter(options: Options, preset: Preset) -> PeftModel:
    """The base model with a new LoRA adapter. Raises UserError if the model cannot be loaded."""
    from fine_tuning.training.adapter import add_adapter
    from fine_tuning.training.base_model import load_base_model

    return add_adapter(load_base_model(options), preset.lora, options.seed)


def tuned_model(options: Options, preset: Preset, folder: Path, trainable: bool = False) -> PeftModel:
    """The base model with the adapter of an earlier step. Raises UserError if one of them cannot be loaded."""
    from fine_tuning.training.adapter import load_adapter
    from fine_tuning.training.base_model import load_base_model

    return load_adapter(load_base_model(options), folder, preset.lora, options, trainable)
