"""Ask a tuned model: from a request to its answers, the best first."""

from collections.abc import Sequence
from dataclasses import dataclass

from fine_tuning.data.prompt_frame import PromptFrame
from fine_tuning.data.scoring import Scoring
from fine_tuning.data.tokens import encode_prompt
from fine_tuning.sampling.batches import MAX_NEW_TOKENS
from fine_tuning.sampling.decoder import Decoder
from fine_tuning.sampling.generation import room_for_answers
from fine_tuning.sampling.grammar import DiagramGrammar
from fine_tuning.sampling.several import several_answers
from fine_tuning.sampling.vote import Candidate, ranked


@dataclass(frozen=True, slots=True)
class Asker:
    """A model to ask, and how.

    decoder     of the model
    frame       what stands around the request in the prompts that the model was trained on
    scoring     what two graphs must have in common to be the same
    samples     answers besides the greedy one
    always      sample for every request; else only where the checks find something wrong with the greedy answer
    batch_size  answers that are generated together
    seed        of the samples
    grammar     that holds the answers to the diagram language, if any
    """

    decoder: Decoder
    frame: PromptFrame
    scoring: Scoring
    samples: int
    always: bool
    batch_size: int
    seed: int
    grammar: DiagramGrammar | None = None

    @property
    def requests_at_once(self) -> int:
        """How many requests should be given to `candidates` together."""
        return max(1, self.batch_size // (1 + self.samples)) if self.always else self.batch_size

    def prompt(self, request: str) -> list[int]:
        """The token ids of the prompt for a request. Raises UserError if the model cannot answer it."""
        ids = encode_prompt(self.decoder.tokenizer, self.frame.prompt_of(request))
        room_for_answers(self.decoder.model, len(ids))
        return ids

    def candidates(self, prompts: Sequence[Sequence[int]]) -> list[list[Candidate]]:
        """For each prompt all answers, the best first. `prompts` are from `prompt`."""
        if self.always:
            return self._answered(prompts, self.samples)
        found = self._answered(prompts, 0)
        flawed = [k for k, candidates in enumerate(found) if candidates[0].remarks]
        for k, candidates in zip(flawed, self._answered([prompts[k] for k in flawed], self.samples), strict=True):
            found[k] = candidates
        return found

    def _answered(self, prompts: Sequence[Sequence[int]], samples: int) -> list[list[Candidate]]:
        size = max(1, self.batch_size // (1 + samples))
        fixed = self.scoring.style_fixed, self.scoring.order_fixed
        found = []
        for k in range(0, len(prompts), size):
            batch = prompts[k : k + size]
            answered = several_answers(self.decoder, batch, samples, MAX_NEW_TOKENS, self.seed, self.grammar)
            found += [ranked(answers, *fixed) for answers in answered]
        return found
