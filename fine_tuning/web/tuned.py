"""The tuned model of a workspace for the page: loaded at the first request, and again once a step has replaced it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fine_tuning.common import tuned_model
from fine_tuning.data.prompt_frame import stored_frame
from fine_tuning.data.scoring import scoring_of_answers
from fine_tuning.data.trained_size import largest_trained
from fine_tuning.run.model_check import check_download
from fine_tuning.run.options import SEED, Options
from fine_tuning.run.run_state import ADAPTER_FILE
from fine_tuning.run.step_order import check_step_1, check_tokenizer, latest_adapter
from fine_tuning.run.step_preset import preset_after_step_1
from fine_tuning.sampling.vote import SAMPLES, Candidate
from fine_tuning.web.asked import Asked

if TYPE_CHECKING:
    from fine_tuning.sampling.asker import Asker


class Asks(Protocol):
    """What the page needs of an Asker."""

    def prompt(self, request: str) -> list[int]: ...
    def candidates(self, prompts: Sequence[Sequence[int]]) -> list[list[Candidate]]: ...


@dataclass(frozen=True, slots=True)
class Loaded:
    """A loaded model.

    name        the folder of its adapter, as shown
    asker       makes the asker for a request
    text        the text of an answer of which these are the first token ids
    largest     the most shapes of a diagram that it was trained on; None if that is not known
    notes       what the user should know about it
    """

    name: str
    asker: Callable[[Asked], Asks]
    text: Callable[[list[int]], str]
    largest: int | None = None
    notes: Sequence[str] = ()


class TunedModel:
    """The model of a workspace with its latest adapter."""

    def __init__(self, options: Options) -> None:
        self._options = options

    def adapter(self) -> Path:
        """The folder of the adapter that answers. Raises UserError, with the command to run, if there is none."""
        check_step_1(self._options)
        return latest_adapter(self._options)

    def version(self) -> Any:
        """Another value once `load` would load another adapter. Raises UserError as `adapter`."""
        folder = self.adapter()
        return folder, (folder / ADAPTER_FILE).stat().st_mtime_ns

    def load(self) -> Loaded:
        """Load the model, as ask.py does. Raises UserError if that is not possible."""
        options, folder = self._options, self.adapter()
        preset, taken_over = preset_after_step_1(options)
        check_download(options)
        frame, note = stored_frame(folder, options)
        scoring, largest = scoring_of_answers(options), largest_trained(options, folder)

        from fine_tuning.data.tokens import decode_answer
        from fine_tuning.sampling.asker import Asker
        from fine_tuning.sampling.decoder import Decoder
        from fine_tuning.sampling.generation import merge_for_generation
        from fine_tuning.sampling.grammar import DiagramGrammar
        from fine_tuning.training.model_probe import probe

        probed = probe(options, preset)
        tokenizer = probed.tokenizer
        check_tokenizer(options, probed.settings)
        model = merge_for_generation(tuned_model(options, preset, folder))
        batch_size = preset.sampling.batch_size
        decoder = Decoder(model, tokenizer, batch_size, options.plain)
        plain = Asker(decoder, frame, scoring, SAMPLES, False, batch_size, SEED)
        grammar = cache(lambda: DiagramGrammar(tokenizer))

        def asker(asked: Asked) -> "Asker":
            held = grammar() if asked.grammar else None
            return replace(plain, samples=asked.sample_count, always=asked.always, seed=asked.seed, grammar=held)

        name = folder.relative_to(options.workspace.root).as_posix()
        notes = [line for line in (taken_over, note) if line]
        return Loaded(name, asker, lambda ids: decode_answer(tokenizer, ids)[0], largest, notes)
