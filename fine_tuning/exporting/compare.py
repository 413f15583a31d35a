"""Compare an export with base model and adapter, after it is written and before it takes its place."""

import gc
from collections.abc import Sequence
from pathlib import Path

import torch
from peft import PeftModel
from transformers import PreTrainedTokenizerBase

from fine_tuning.exporting.alike import LARGEST_GAP, Question, Verdict
from fine_tuning.exporting.gguf_compare import compare_gguf
from fine_tuning.exporting.held_out import HeldOut
from fine_tuning.exporting.llama_cpp import LlamaCppFailed
from fine_tuning.exporting.weights import answered, compare_merged, questions_about
from fine_tuning.run.errors import is_out_of_memory

NO_MEMORY = "out of memory. To compare, close other programs that use it, delete this folder, and export again"


class Examiner:
    """Asks base model and adapter first, while the adapter is not merged; and the export when it is written.

    `verdict` is complete after `compare`.
    """

    def __init__(self, held_out: HeldOut, not_compared: str) -> None:
        self.verdict = Verdict(held_out.name, len(held_out.rows), not_compared=not_compared)
        self._held_out = held_out
        self._questions: Sequence[Question] = ()
        self._rounding = 0.0

    def ask(self, model: PeftModel, tokenizer: PreTrainedTokenizerBase) -> None:
        """Store what base model and adapter answer."""
        if self.verdict.not_compared:
            return
        self._rounding = LARGEST_GAP[str(model.dtype).removeprefix("torch.")]
        try:
            questions = questions_about(model, tokenizer, self._held_out.rows)
            self.verdict.wanted = len(questions)
            self._questions = answered(model, tokenizer, questions)
        except (RuntimeError, MemoryError) as error:
            self._note_if_out_of_memory(error)
        if not self._questions and not self.verdict.not_compared:
            self.verdict.not_compared = "the model can answer none of the held-out prompts"

    def compare(self, folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
        """Compare the export in `folder`: its GGUF files, or else its weights. Free the model first.

        Raises UserError if the export cannot be loaded, or if rounding does not explain how it differs.
        """
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if self.verdict.not_compared:
            return
        files = sorted(folder.glob("*.gguf"))
        try:
            if not files:
                self.verdict.comparisons.append(compare_merged(folder, self._questions, self._rounding))
            for file in files:
                kind = file.stem.rpartition("-")[2]
                limit = max(self._rounding, LARGEST_GAP[kind])
                comparison, notes = compare_gguf(file, kind, tokenizer, self._questions, limit)
                self.verdict.comparisons.append(comparison)
                self.verdict.notes += notes
        except LlamaCppFailed as error:
            self.verdict.not_compared = str(error)
        except (RuntimeError, MemoryError) as error:
            self._note_if_out_of_memory(error)

    def _note_if_out_of_memory(self, error: Exception) -> None:
        if not is_out_of_memory(error):
            raise error
        self.verdict.not_compared = NO_MEMORY
