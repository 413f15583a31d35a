"""Loading, adapters and dtypes."""

import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from fine_tuning.common import add_adapter, choose_dtype, for_generation, load_base_model, load_tokenizer
from fine_tuning.options import Options
from fine_tuning.presets import EMBEDDED, REAL
from fine_tuning.workspace import Workspace

FOLDER = Path(__file__).resolve().parent.parent / "fine_tuning" / "embedded_model"


def options(model="embedded", dtype="auto"):
    return Options(str(model), None, Workspace(Path("nowhere")), 2025, None, dtype, False, False)


def test_auto_dtype_is_float32_without_a_gpu():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert choose_dtype("auto") is torch.float32
    assert choose_dtype("bfloat16") is torch.bfloat16


@pytest.mark.parametrize(
    "capability, dtype", [((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)]
)
def test_auto_dtype_follows_the_gpu(monkeypatch, capability, dtype):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert choose_dtype("auto") is dtype


def test_a_tokenizer_whose_padding_is_eos_is_refused(tmp_path, capsys):
    shutil.copytree(FOLDER, tmp_path / "model", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(tmp_path / "model")
    with pytest.raises(SystemExit) as stopped:
        load_tokenizer(options(tmp_path / "model"))
    assert stopped.value.code == 2 and "three different tokens" in capsys.readouterr().err


def test_only_the_adapter_is_trained_and_it_is_float32():
    model = add_adapter(load_base_model(options()), options(), EMBEDDED)
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    assert trained and all("lora_" in name and weight.dtype is torch.float32 for name, weight in trained.items())


def test_the_same_seed_starts_from_the_same_adapter():
    first, second = (add_adapter(load_base_model(options()), options(), EMBEDDED) for _ in range(2))
    for (name, a), (_, b) in zip(first.named_parameters(), second.named_parameters(), strict=True):
        assert torch.equal(a, b), name


def test_merging_the_adapter_for_generation_changes_no_prediction():
    model = add_adapter(load_base_model(options()), options(), REAL).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.05)
        ids = torch.arange(5, 60)[None]
        unmerged = model(ids).logits
        merged = for_generation(model)(ids).logits
    assert torch.allclose(unmerged, merged, atol=1e-3)
    assert not torch.allclose(unmerged, load_base_model(options())(ids).logits, atol=1e-1)
