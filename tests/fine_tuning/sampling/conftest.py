"""The embedded model and its tokenizer, loaded once for the tests of sampling. No test may leave them changed."""

import pytest
import torch
from helpers import ROOT
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from fine_tuning.sampling import decoder

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


@pytest.fixture
def short_comparison(monkeypatch):
    """Compare only a few tokens before answers are decoded fast."""
    monkeypatch.setattr(decoder, "CHECKED_TOKENS", 12)
    monkeypatch.setattr(decoder, "CHECKED_PROMPTS", 2)
