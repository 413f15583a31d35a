"""Compare a GGUF file in llama.cpp: its tokens with the tokenizer's, its greedy answers with base model and adapter."""

import csv
import time
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from fine_tuning.data.chat_format import render, token_ids
from fine_tuning.exporting.alike import SECONDS, Comparison, Difference, Question, first_difference
from fine_tuning.exporting.llama_cpp import LlamaCpp
from fine_tuning.run.commands import PROJECT
from fine_tuning.run.errors import UserError
from fine_tuning.run.workspace import ORPO_CSV, SFT_CSV

MOST_TEXTS = 1000
ODD_TEXTS = (
    "로그인 화면에서 시작해 결제까지 가는 순서도를 그려 주세요. 상자는 4개입니다.",
    "한국어와 English, 日本語, 中文을 섞은 문장: '입력' -> \"출력\"",
    "Un café à Orléans, dessiné très tôt; naïve Übergröße, señor, Ångström, œuvre, ß.",
    "Á ü ÷ ø — “quotes” … 🙂",
    "two  spaces,\ttab,\r\n\n\n and 1234567.89 [0, 100, 300, 'circle', (255, 228, 196)]",
)
SPARE = 64  # positions beyond the longest prompt and answer


def compare_gguf(
    path: Path, name: str, tokenizer: PreTrainedTokenizerBase, questions: Sequence[Question], limit: float
) -> tuple[Comparison, list[str]]:
    """Compare a file; returns the comparison, and notes for whoever uses the file.

    `name` is the file's in messages, `limit` the largest gap between tied tokens. Raises UserError if llama.cpp cannot
    load the file, reads other tokens or answers otherwise, and LlamaCppFailed if llama.cpp does not run here.
    """
    comparison = Comparison(name, limit)
    longest = max(len(each.ids) + len(each.answer) for each in questions)
    with LlamaCpp(path, longest + SPARE) as llama:
        texts = [*(each.text for each in questions), *(render(tokenizer, text) for text in known_prompts()), *ODD_TEXTS]
        comparison.texts = _check_tokens(llama, name, tokenizer, list(dict.fromkeys(texts)))
        start = time.monotonic()
        with tqdm(total=len(questions), desc=f"comparing: {name}", unit="answer", disable=None) as progress:
            for number, question in enumerate(questions, start=1):
                if number > 1 and time.monotonic() - start > SECONDS:
                    break
                comparison.add(question.answer, _differences(llama, tokenizer, question, number))
                progress.update()
        notes = []
        if any(llama.prompt(each.prompt) != each.text for each in questions):
            notes.append(
                f"{name}: llama.cpp's server makes another prompt of a message than the tokenizer's chat template. "
                "Send whole prompts to /completion instead of messages"
            )
    comparison.check()
    return comparison, notes


def known_prompts() -> list[str]:
    """The distinct prompts of the project's two CSVs, MOST_TEXTS at most; fewer if a file cannot be read."""
    prompts: dict[str, None] = {}
    for name in (SFT_CSV, ORPO_CSV):
        try:
            with open(PROJECT / "create_dataset" / name, encoding="utf-8", newline="") as file:
                prompts |= dict.fromkeys(row["input_data"] for row in csv.DictReader(file))
        except (OSError, ValueError, KeyError, csv.Error):
            continue
    return list(prompts)[:MOST_TEXTS]


def _check_tokens(llama: LlamaCpp, name: str, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> int:
    """Raise UserError unless llama.cpp reads the tokenizer's tokens from every text; returns how many texts there are.

    So a prompt has the BOS that the chat template writes, and no second one.
    """
    other = [text for text in texts if llama.tokens(text) != token_ids(tokenizer, text)]
    if other:
        raise UserError(
            f"{name}: llama.cpp reads other tokens than the tokenizer from {len(other)} of {len(texts)} texts, such as "
            f"{other[0][:60]!r}. Nothing is exported. Export with --to merged instead"
        )
    return len(texts)


def _differences(
    llama: LlamaCpp, tokenizer: PreTrainedTokenizerBase, question: Question, number: int
) -> list[Difference]:
    """Every place where llama.cpp chooses another token, given the answer of base model and adapter up to there."""
    differences: list[Difference] = []
    start, expected = 0, question.answer
    while start < len(expected):
        answer = llama.answer(question.ids + expected[:start], len(expected) - start)
        place = first_difference(answer, expected[start:])
        if place is None:
            break
        place += start
        likely = llama.log_probabilities(question.ids + expected[:place])
        chosen = answer[place - start] if place - start < len(answer) else max(likely, key=likely.__getitem__)
        # Where a token is not among the likely ones, the gap is at least that to the last of them.
        least = min(likely.values())
        gap = abs(likely.get(chosen, least) - likely.get(expected[place], least))
        ours, other = (str(tokenizer.decode([token])) for token in (chosen, expected[place]))
        differences.append(Difference(number, place + 1, ours, other, gap))
        start = place + 1
    return differences
