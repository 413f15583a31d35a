"""Hold answers to the diagram language while they are generated: `parse` then finds no problem in them.

Before each token, the tokens after which no diagram could follow are masked. This works with any tokenizer, because it
looks at the characters of the tokens: one token may be a digit, or the end of a line with the beginning of the next.
The libraries for grammars (xgrammar, llguidance) are not used, because the language counts: a context-free grammar
knows neither which number is due nor which nodes still need a line, and a token that holds parts of two lines belongs
to the grammar of neither.

Every answer ends within its limit of tokens: a token is masked too if the ending after it, the one with the shortest
lines, takes more tokens than are left. So when little room is left, lines can point only to nodes that are there, or
for whose lines there is room. Each token of this ending leaves the rest of it, so it stays possible.

In a label nearly every token may follow. Those of ordinary characters only differ in their lengths, so they are sorted
by them, and a place in this order says which may follow.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import lru_cache
from math import isinf
from typing import NamedTuple

import torch
from transformers import LogitsProcessor, PreTrainedTokenizerBase

from diagram.nodes import MAX_LINES
from diagram.unfinished import ALPHABET, DiagramText, Unfinished, shortest_line
from diagram.unfinished_label import is_ordinary
from fine_tuning.data.chat_format import PROBE_ANSWER, chat_format
from fine_tuning.data.tokens import encode_completion
from fine_tuning.run.errors import UserError
from fine_tuning.sampling.vocabulary import Branch, Vocabulary, token_texts

STATES = 2**13  # whose tokens are kept
ANY = -1  # the number of a line whose number does not matter

_ODD = frozenset("'\"\\").union(map(chr, range(0xDC80, 0xDD00)))  # what is not ordinary in a label: quotes, parts

Place = tuple[Branch, int, str]  # where to walk on: tokens, and the part of a line with its text before them


class Choice(NamedTuple):
    """The tokens that may follow, and how many more end the answer with the shortest lines after each of them."""

    tokens: torch.Tensor  # [n] of int64
    needs: torch.Tensor  # [n] of float32
    most: float  # the largest of `needs`
    ordinary: torch.Tensor  # [m] of int64: further tokens, all of the same need
    need: float


class _Plain(NamedTuple):
    """What may follow in the middle of any line: tokens, the tokens that end the line after each, and where to walk on.

    ordinary    how many of the tokens of ordinary characters may follow
    need        the tokens that end the line after each of them
    """

    tokens: torch.Tensor
    counts: torch.Tensor
    places: list[Place]
    ordinary: int
    need: float


class DiagramGrammar:
    """The tokens that may follow the beginning of an answer. Make it once for each tokenizer: it decodes all tokens.

    Raises UserError if the tokens of an answer do not spell its text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        ids = encode_completion(tokenizer, PROBE_ANSWER)[:-1]
        texts = token_texts(tokenizer, frozenset(ids))
        # The text as the tokens have it: it may begin with a space that the tokenizer adds and drops again.
        lead, found, closing = "".join(texts.get(token, "") for token in ids).partition(PROBE_ANSWER)
        self._end = chat_format(tokenizer).end
        self._text = DiagramText(lead, closing)
        self._texts = texts
        letters = ALPHABET.union(lead, closing)
        ordinary = sorted((token for token, text in texts.items() if is_ordinary(text)), key=lambda k: len(texts[k]))
        self._ordinary, self._lengths = torch.tensor(ordinary, dtype=torch.int64), [len(texts[k]) for k in ordinary]
        odd = {token: text for token, text in texts.items() if not _ODD.isdisjoint(text)}
        self._odd = Vocabulary(odd)
        self._vocabulary = Vocabulary(odd | {token: text for token, text in texts.items() if letters.issuperset(text)})
        self._lines = [0.0]  # the tokens of the shortest lines before a number
        for number in range(MAX_LINES):
            self._lines.append(self._lines[-1] + self._vocabulary.count(shortest_line(number)))
        self.start = self._text.start
        if not found or isinf(self.needs(self.start)):
            raise UserError("the tokens of this model do not spell the diagram language. Leave out --grammar")
        self.choice = lru_cache(maxsize=STATES)(self._choice)
        self._plain = lru_cache(maxsize=STATES)(self._plain_choice)

    def needs(self, state: Unfinished) -> float:
        """The tokens that end the answer with the shortest lines, the one that ends it included.

        Infinity if no tokens spell them.
        """
        text, lines, closing = self._text.ending(state)
        return self._vocabulary.count(text) + self._count_behind(lines, closing)

    def after(self, state: Unfinished, token: int) -> Unfinished | None:
        """The state after a token that `choice` allows; None after the token that ends an answer."""
        if token == self._end:
            return None
        new = self._text.after(state, self._texts.get(token, "\0"))
        if new is None:
            raise ValueError(f"token {token} cannot follow")
        return new

    def _choice(self, state: Unfinished) -> Choice:
        tokens, needs, starts = torch.tensor([], dtype=torch.int64), torch.tensor([]), [(self._vocabulary.root, state)]
        ordinary, need = 0, 0.0
        if self._text.is_plain(state):
            plain = self._plain(state.part, state.text)
            _, lines, closing = self._text.ending(state)
            behind = self._count_behind(lines, closing)
            tokens, needs, ordinary, need = plain.tokens, plain.counts + behind, plain.ordinary, plain.need + behind
            starts = [(branch, state._replace(part=part, text=text)) for branch, part, text in plain.places]
        found = {
            token: self.needs(new)
            for branch, start in starts
            for longer, new in self._walk(branch, start)
            for token in longer.tokens
        }
        if self._text.is_whole(state):
            found[self._end] = 0.0
        tokens = torch.cat([tokens, torch.tensor(list(found), dtype=torch.int64)])
        needs = torch.cat([needs, torch.tensor(list(found.values()))])
        return Choice(tokens, needs, needs.max().item(), self._ordinary[:ordinary], need)

    def _plain_choice(self, part: int, text: str) -> _Plain:
        """What the lines have in common."""
        found: dict[int, float] = {}
        places: list[Place] = []
        state = Unfinished(ANY, part, text, -1)
        letters = self._text.letters(state)
        vocabulary = self._odd if letters else self._vocabulary
        for longer, new in self._walk(vocabulary.root, state, places):
            found.update(dict.fromkeys(longer.tokens, self._vocabulary.count(self._text.ending(new).text)))
        ordinary = bisect_right(self._lengths, letters.room) if letters else 0
        need = self._vocabulary.count(self._text.ending(state).text) if letters else 0.0
        tokens = torch.tensor(list(found), dtype=torch.int64)
        return _Plain(tokens, torch.tensor(list(found.values())), places, ordinary, need)

    def _walk(
        self, branch: Branch, state: Unfinished, places: list[Place] | None = None
    ) -> Iterator[tuple[Branch, Unfinished]]:
        """Every branch whose text may follow, with the state after it. With `places`, only plain states: the branches
        that lead out of them are added to `places`.
        """
        for character, longer in branch.longer.items():
            new = self._text.after(state, character)
            if new is None:
                continue
            if places is not None and not self._text.is_plain(new):
                places.append((Branch([], {character: longer}), state.part, state.text))
                continue
            yield longer, new
            yield from self._walk(longer, new, places)

    def _count_behind(self, lines: range, closing: str) -> float:
        """The tokens of the shortest lines of these nodes, of `closing`, and of the end."""
        of_lines = self._lines[lines.stop] - self._lines[lines.start] if lines else 0.0
        return of_lines + self._vocabulary.count(closing) + 1

    def processor(self, prompt_length: int, limits: Sequence[int]) -> "GrammarProcessor":
        """What `generate` needs for a batch. `limits` are the most tokens of each row's answer.

        Raises UserError if no diagram fits into one of them.
        """
        needed = self.needs(self.start)
        if needed > min(limits):
            raise UserError(
                f"the shortest diagram has {needed:.0f} tokens, and there is room for {min(limits)} tokens behind the "
                "prompt. Shorten the request"
            )
        return GrammarProcessor(self, prompt_length, limits)


class GrammarProcessor(LogitsProcessor):
    """Mask the tokens that cannot follow, for one call of `generate`. The rows keep their places."""

    def __init__(self, grammar: DiagramGrammar, prompt_length: int, limits: Sequence[int]) -> None:
        self._grammar, self._prompt_length, self._limits = grammar, prompt_length, limits
        self._states: Sequence[Unfinished | None] = [grammar.start] * len(limits)

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """`input_ids` [rows, tokens so far], `scores` [rows, vocabulary]."""
        written = input_ids.shape[1] - self._prompt_length
        if written:
            self._states = [
                state and self._grammar.after(state, token)
                for state, token in zip(self._states, input_ids[:, -1].tolist(), strict=True)
            ]
        allowed = torch.zeros(scores.shape, dtype=torch.bool)
        for row, state in enumerate(self._states):
            if state is None:  # an answer that has ended; generate puts padding behind it
                allowed[row] = True
                continue
            left = self._limits[row] - written - 1  # after this token
            choice = self._grammar.choice(state)
            allowed[row, choice.tokens if choice.most <= left else choice.tokens[choice.needs <= left]] = True
            if choice.need <= left:
                allowed[row, choice.ordinary] = True
        return scores.masked_fill(~allowed.to(scores.device), float("-inf"))  # type: ignore[return-value]
