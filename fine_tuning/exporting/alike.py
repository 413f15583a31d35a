"""Whether an export answers like base model and adapter: what is compared, what counts as rounding, and the verdict.

Both answer the same prompts by greedy decoding. Where the export chooses another token, its own logits say how much it
prefers that one. If rounding explains the gap, the two tokens were tied: the difference is named, and the comparison
goes on behind the token that base model and adapter chose. A larger gap means that the export computes something else.
Imports no torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fine_tuning.run.errors import UserError

PROMPTS = 20  # the default of --compare
SECONDS = 600  # after which no further prompt is begun; for base model and adapter, and for each file of the export
SHOWN = 5  # differences in a message

# The largest gap, in logits, between two tokens that rounding can exchange: by the dtype of the weights, or by the kind
# of the GGUF file. docs/EXPORT.md says what was measured.
LARGEST_GAP = {"float32": 0.01, "float16": 0.1, "bfloat16": 0.5, "f16": 0.1, "q8_0": 0.5}


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt to compare on, and what base model and adapter answer.

    prompt   the user's message
    text     the same in the chat template
    ids      its tokens
    longest  tokens of an answer, at most
    answer   tokens, with the one that ended the answer
    """

    prompt: str
    text: str
    ids: list[int]
    longest: int
    answer: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Difference:
    """A place where the export chooses another token.

    prompt   the number of the prompt, from 1
    token    the place in the answer, from 1
    chosen   the export's token, as text
    instead  the token of base model and adapter
    gap      by how much the export's logit of its own token is larger
    """

    prompt: int
    token: int
    chosen: str
    instead: str
    gap: float

    def __str__(self) -> str:
        tokens = f"{self.chosen!r} instead of {self.instead!r}"
        return f"prompt {self.prompt}, token {self.token}: {tokens} (logit gap {self.gap:.2g})"


@dataclass(slots=True)
class Comparison:
    """A folder or a file of an export, compared.

    name     what was compared
    limit    the largest gap between tied tokens
    prompts  how many prompts were answered
    tokens   how many tokens base model and adapter answered with
    texts    how many texts have the tokenizer's tokens, where another program reads the tokenizer
    """

    name: str
    limit: float
    prompts: int = 0
    tokens: int = 0
    texts: int = 0
    differences: list[Difference] = field(default_factory=list)

    @property
    def identical(self) -> int:
        """How many answers have the same tokens throughout."""
        return self.prompts - len({each.prompt for each in self.differences})

    def add(self, answer: Sequence[int], differences: Sequence[Difference]) -> None:
        """Count a prompt that base model and adapter answer with `answer`."""
        self.prompts += 1
        self.tokens += len(answer)
        self.differences += differences

    def check(self) -> None:
        """Raise UserError if rounding does not explain a difference."""
        real = [each for each in self.differences if not each.gap <= self.limit]  # `not`: a gap may be NaN
        if real:
            prompts = len({each.prompt for each in real})
            rest = f"; and {len(real) - SHOWN} more" if len(real) > SHOWN else ""
            raise UserError(
                f"{self.name}: {prompts} of {self.prompts} answers differ from those of base model + adapter: "
                f"{'; '.join(map(str, real[:SHOWN]))}{rest}. Rounding explains gaps up to {self.limit:g}. Nothing is "
                "exported. Please report this, with the model's name. To export all the same: --compare 0"
            )

    def figures(self) -> dict[str, Any]:
        """For the record of the export and the last line of the output."""
        ties = [
            {"prompt": each.prompt, "token": each.token, "logit gap": float(f"{each.gap:.3g}")}
            for each in self.differences
        ]
        figures: dict[str, Any] = {"prompts": self.prompts, "identical": self.identical, "tokens": self.tokens}
        return figures | ({"texts with the same tokens": self.texts} if self.texts else {}) | {"ties": ties}


@dataclass(slots=True)
class Verdict:
    """The comparisons of an export, or why there are none.

    prompts       what the prompts are called, such as "held-out prompts"
    wanted        how many were to be compared
    not_compared  why not; empty if all was compared
    notes         what else a user of the export should know
    """

    prompts: str
    wanted: int
    comparisons: list[Comparison] = field(default_factory=list)
    not_compared: str = ""
    notes: list[str] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        """For the record of the export and the last line of the output."""
        figures: dict[str, Any] = {"compared": {each.name: each.figures() for each in self.comparisons}}
        return figures | ({"not compared": self.not_compared} if self.not_compared else {})

    def lines(self) -> list[str]:
        """For the user and for the card of the export."""
        lines = []
        for each in self.comparisons:
            lines.append(
                f"compared {each.name} with base model + adapter: {each.identical} of {each.prompts} {self.prompts} "
                f"have the same answer, token by token ({each.tokens:,} tokens)"
            )
            if each.texts:
                lines.append(f"{each.name}: llama.cpp reads the tokenizer's tokens from all of {each.texts} texts")
            if each.prompts < self.wanted:
                lines.append(f"{each.name}: only {each.prompts} of {self.wanted} prompts in {SECONDS // 60} minutes")
            lines += [f"{each.name}: a tie by rounding in {difference}" for difference in each.differences]
        if self.not_compared:
            lines.append(f"not compared with base model + adapter: {self.not_compared}")
        return lines + self.notes


def first_difference(answer: Sequence[int], expected: Sequence[int]) -> int | None:
    """The first place where two lists of tokens differ; None if they are the same."""
    if list(answer) == list(expected):
        return None
    pairs = zip(answer, expected, strict=False)
    return next((k for k, (a, b) in enumerate(pairs) if a != b), min(len(answer), len(expected)))
