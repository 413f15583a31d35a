"""The embedded model and its tokenizer, loaded once for the tests of sampling. No test may leave them changed."""

import pytest
import torch
from helpers import ROOT, SFT_CSV, rows_of
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from fine_tuning.data.tokens import encode_completion, encode_prompt
from fine_tuning.sampling import decoder
from fine_tuning.sampling.batches import Task, token_limit
from fine_tuning.sampling.generation import answer_tasks

FOLDER = ROOT / "fine_tuning" / "embedded_model"


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(FOLDER)


@pytest.fixture(scope="session")
def load_model():
    """A function that loads a model which a test may change."""
    return lambda: AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval()


@pytest.fixture(scope="session")
def model(load_model) -> PreTrainedModel:
    return load_model()


@pytest.fixture(scope="session")
def tasks(tokenizer):
    """Greedy answers and samples to prompts of several lengths. Some end by themselves, others at their limits."""
    rows = [rows_of(SFT_CSV)[k] for k in (0, 40, 90, 150)]
    limits = [token_limit(len(encode_completion(tokenizer, row["output_data"]))) for row in rows]
    prompts = [encode_prompt(tokenizer, row["input_data"]) for row in rows]
    found = [
        Task(prompt, min(limit, 65), sample)
        for prompt, limit in zip(prompts, limits, strict=True)
        for sample in (None, 0, 1)
    ]
    return [*found, Task(prompts[0], 1, None), Task(prompts[1], 1, 5), Task(prompts[2], 9, 3)]


@pytest.fixture(scope="session")
def plain(model, tokenizer, tasks):
    answers = answer_tasks(model, tokenizer, tasks, 1.0, seed=3)
    assert {answer.ended for answer in answers} == {True, False}
    return answers


@pytest.fixture
def short_comparison(monkeypatch):
    """Compare only a few tokens before answers are decoded fast."""
    monkeypatch.setattr(decoder, "CHECKED_TOKENS", 12)
    monkeypatch.setattr(decoder, "CHECKED_PROMPTS", 2)
