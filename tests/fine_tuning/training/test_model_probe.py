"""Models that cannot be trained, or that would be trained wrong in silence, are refused before anything is written."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from families import CHATML, tiny_model
from helpers import STEP_1, contents, problems_of
from safetensors.torch import save_file
from transformers import AutoTokenizer, BertConfig, Gemma3Config, JetMoeConfig, RwkvConfig

from fine_tuning.run.model_folder import folder_problems
from fine_tuning.run.options import Options
from fine_tuning.run.presets import REAL
from fine_tuning.training.model_probe import probe

SHORT = replace(REAL, max_length=256)


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model") / "tiny", "qwen2")


@pytest.fixture
def model(original, tmp_path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "tiny"))


def edit(path: Path, **changes) -> None:
    """Change or, with None, remove entries of a JSON file."""
    stored = json.loads(path.read_text("utf-8")) | changes
    path.write_text(json.dumps({name: value for name, value in stored.items() if value is not None}))


def as_folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


def refusals(model: Path) -> tuple[str, ...]:
    problems = problems_of(probe, Options(str(model)), REAL)
    assert all("\n" not in problem and model.name in problem for problem in problems)
    return problems


def test_a_sound_model_is_taken(model):
    assert folder_problems(model) == []
    probed = probe(Options(str(model)), REAL)
    assert probed.max_length == REAL.max_length
    assert sorted(probed.settings) == ["chat sha256", "tokenizer sha256"]


def test_a_model_bounds_the_length_of_a_row_by_its_positions(model):
    edit(model / "config.json", max_position_embeddings=512)
    probed = probe(Options(str(model)), REAL)
    assert (probed.max_length, probed.settings["max length of the model"]) == (512, 512)
    assert probe(Options(str(model)), SHORT).max_length == 256


def test_a_padding_token_outside_of_the_embedding_is_named(model):
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(model)
    edit(model / "config.json", vocab_size=len(tokenizer) - 1)
    (problem,) = refusals(model)
    assert "'[PAD]', its pad_token" in problem and f"there are {len(tokenizer) - 1} embeddings" in problem


def test_ordinary_tokens_outside_of_the_embedding_are_counted(model):
    tokens = len(AutoTokenizer.from_pretrained(model))
    edit(model / "config.json", vocab_size=1000)
    (problem,) = refusals(model)
    assert f"no embedding for {tokens - 1000} tokens" in problem


def test_a_padding_id_of_the_configuration_must_lie_inside_of_the_embedding(model):
    edit(model / "config.json", pad_token_id=5000)
    (problem,) = refusals(model)
    assert "config.json has pad_token_id 5000" in problem


def test_problems_of_tokenizer_and_configuration_are_reported_together(model):
    (model / "chat_template.jinja").write_text("{{ raise_exception('no') }}")
    edit(model / "config.json", is_encoder_decoder=True)
    template, kind = refusals(model)
    assert "chat template fails" in template and "encoder-decoder" in kind


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"architectures": ["Qwen2ForSequenceClassification"]}, "this is a Qwen2ForSequenceClassification"),
        ({"architectures": ["Qwen2Model"]}, "this is a Qwen2Model"),
        ({"architectures": "Qwen2ForCausalLM"}, "architectures 'Qwen2ForCausalLM', which is not a list of names"),
        ({"architectures": [5]}, "architectures [5], which is not a list of names"),
        ({"is_causal": False}, "looks ahead"),
        ({"return_dict": False}, "sets return_dict to false"),
        ({"quantization_config": {"quant_method": "awq"}}, "the weights are quantised (awq)"),
        ({"quantization_config": {}}, "the weights are quantised"),
        (
            {"use_sliding_window": True, "sliding_window": 0, "max_window_layers": 0, "layer_types": None},
            "sliding_window",
        ),
        ({"max_position_embeddings": "2048"}, "expected int, got str"),
        ({"model_type": None}, "model_type"),
        ({"model_type": "brand_new"}, "brand_new"),
        ({"hidden_size": "wide"}, "hidden_size"),
        ({"num_attention_heads": 0}, ""),
        ({"layer_types": ["unheard of"]}, ""),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_configuration_of_another_kind_or_a_broken_one_is_refused(model, changes, said):
    edit(model / "config.json", **changes)
    (problem,) = refusals(model)
    assert said in problem


@pytest.mark.parametrize(
    "config", [BertConfig(), Gemma3Config(), RwkvConfig()], ids=["encoder", "text and pictures", "no attention"]
)
def test_models_that_are_no_causal_text_models_are_refused(model, config):
    config.save_pretrained(model)
    assert len(refusals(model)) == 1


def test_a_family_without_sdpa_attention_is_refused(tmp_path):
    (problem,) = refusals(tiny_model(tmp_path / "tiny", "gemma2"))
    assert "no SDPA attention for Gemma2ForCausalLM" in problem


def test_a_family_without_the_adapters_modules_is_refused(tmp_path):
    (problem,) = refusals(tiny_model(tmp_path / "tiny", "phi3"))
    assert "no modules q_proj" in problem


def test_a_family_without_gradient_checkpointing_needs_a_setting(model):
    config = JetMoeConfig(hidden_size=64, num_hidden_layers=1, num_local_experts=2, vocab_size=1856, pad_token_id=0)
    config.save_pretrained(model)
    own = replace(REAL, lora=replace(REAL.lora, modules=("kv_proj",)))
    (problem,) = problems_of(probe, Options(str(model)), own)
    assert problem.endswith("Add --set gradient_checkpointing=false, which needs more memory")
    probe(Options(str(model)), replace(own, gradient_checkpointing=False))


def test_a_broken_tokenizer_is_refused_in_one_line(model):
    for content in ("{}", "not JSON", '{"model": {"type": "BPE"}}'):
        (model / "tokenizer.json").write_text(content)
        assert len(refusals(model)) == 1


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda model: (model / "adapter_config.json").write_text("{}"), "adapter_config.json"),
        (lambda model: (model / "config.json").write_text("{"), "config.json is not valid JSON"),
        (lambda model: (model / "added_tokens.json").write_text("{"), "added_tokens.json is not valid JSON"),
        (lambda model: (model / "special_tokens_map.json").write_text("[]"), "special_tokens_map.json is not a JSON"),
        (lambda model: (model / "generation_config.json").write_text("x"), "generation_config.json is not valid JSON"),
        (lambda model: as_folder(model / "config.json"), "config.json cannot be read: Is a directory"),
        (lambda model: as_folder(model / "tokenizer.json"), "tokenizer.json cannot be read: Is a directory"),
        (lambda model: as_folder(model / "chat_template.jinja"), "chat_template.jinja cannot be read: Is a directory"),
        (lambda model: (model / "chat_template.jinja").write_bytes(b"\xff"), "chat_template.jinja is not UTF-8 text"),
        (
            lambda model: edit(model / "config.json", quantization_config={"quant_method": "gptq"}),
            "the weights are quantised (gptq), and an adapter on them cannot be merged exactly",
        ),
        (
            lambda model: save_file({"a.weight": torch.zeros(2, 2, dtype=torch.int8)}, model / "model.safetensors"),
            "model.safetensors: the weights are quantised (such as a.weight)",
        ),
        (
            lambda model: (model / "model.safetensors").rename(model / "consolidated.safetensors"),
            "but neither model.safetensors nor model.safetensors.index.json",
        ),
        (lambda model: (model / "config.json").write_text("[]"), "config.json is not a JSON object"),
        (lambda model: (model / "tokenizer_config.json").write_text("{,"), "tokenizer_config.json is not valid JSON"),
        (lambda model: edit(model / "config.json", auto_map={"AutoConfig": "x.C"}), "own code (auto_map)"),
        (lambda model: edit(model / "tokenizer_config.json", auto_map={"AutoTokenizer": ["x.T", None]}), "own code"),
        (
            lambda model: (model / "model.safetensors").rename(model / "pytorch_model.bin"),
            "weights only as *.bin, which are not read: they can contain code. To convert them: python -c",
        ),
        (
            lambda model: (model / "tokenizer.json").rename(model / "tokenizer.model"),
            "no tokenizer.json, only tokenizer.model. To make one (needs sentencepiece): python -c",
        ),
        (
            lambda model: (model / "model.safetensors.index.json").write_text('{"weight_map": {"a": "b.safetensors"}}'),
            "weights are missing or their index cannot be read: b.safetensors",
        ),
    ],
)
def test_a_folder_with_other_files_is_refused_before_torch_is_imported(refused, workspace, model, damage, said):
    damage(model)
    (message,) = refused(STEP_1, "--model", model, "--workspace", workspace)
    assert message.startswith(f"error: --model {model}: ") and said in message


def test_a_step_refuses_a_template_that_loses_the_request_and_writes_nothing(forked, workspace, model):
    (model / "chat_template.jinja").write_text(CHATML.replace("message['content']", "message['content'][0].text"))
    before = contents(workspace)
    run = forked.run(STEP_1, "--model", model, "--workspace", workspace)
    assert run.returncode == 2 and "Traceback" not in run.stderr
    assert [line for line in run.stderr.splitlines() if line.startswith("error: ")] == run.stderr.splitlines()[-1:]
    assert contents(workspace) == before
