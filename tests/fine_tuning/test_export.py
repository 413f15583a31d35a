"""export.py as a user runs it: what it refuses before torch is imported, and what it writes."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers import EMBEDDED_RUN, ROOT, contents, finish_step_1, problems_of
from transformers import AutoModelForCausalLM, AutoTokenizer

from create_dataset.create_dataset import INSTRUCTION
from fine_tuning import export
from fine_tuning.common import tuned_model
from fine_tuning.data.prompt_frame import FRAME_FILE, PromptFrame
from fine_tuning.data.tokens import encode_prompt
from fine_tuning.exporting import llama_server
from fine_tuning.exporting.merged import save_merged
from fine_tuning.exporting.plan import make_plan
from fine_tuning.exporting.target import is_exported, new_export
from fine_tuning.run.command_line import make_parser, to_options
from fine_tuning.run.run_state import RunState
from fine_tuning.run.step_preset import preset_for
from fine_tuning.sampling.generation import generate_batch, merge_for_generation
from fine_tuning.training.adapter import add_adapter, save_adapter
from fine_tuning.training.base_model import load_base_model, load_tokenizer

EXPORT = "fine_tuning/export.py"
EMBEDDED = ROOT / "fine_tuning" / "embedded_model"
REQUEST = f"Draw how 3 inputs feed 2 neurons.\n\n{INSTRUCTION}"
FRAME = PromptFrame("", "\n\nOne {{line}} per shape.")
# deepseek-coder's pre-tokenizer: the embedded model's own has no counterpart in llama.cpp.
PRE_TOKENIZER = {
    "type": "Sequence",
    "pretokenizers": [
        *(
            {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}
            for regex in ("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+")
        ),
        {"type": "Digits", "individual_digits": True},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
    ],
}


def options_for(workspace: Path, model: str):
    return to_options(make_parser("").parse_args(["--model", model, "--workspace", str(workspace)]))


def tune(workspace: Path, model: str, seed: int = 1) -> None:
    """Step 1's result with a random adapter."""
    options = options_for(workspace, model)
    adapted = add_adapter(load_base_model(options), preset_for(options).lora, seed)
    for name, weights in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights, std=0.02)
    state = RunState(options.workspace.sft_model)
    state.begin(options.settings(), restart=False)
    save_adapter(adapted, load_tokenizer(options), state.folder, options, FRAME)
    state.finish(options.settings(), {"final average training loss": 0.1})


def answer_like_ask(workspace: Path, model: str, tokens: int) -> str:
    options = options_for(workspace, model)
    tokenizer = load_tokenizer(options)
    merged = merge_for_generation(tuned_model(options, preset_for(options), options.workspace.sft_model))
    return generate_batch(merged, tokenizer, [encode_prompt(tokenizer, REQUEST)], tokens, 0, 0)[0].text


def answer_like_the_card(folder: Path, tokens: int) -> str:
    """What the program in the export's README prints."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    messages = [{"role": "user", "content": REQUEST}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    inputs = tokenizer(text, return_tensors="pt", add_special_tokens=False)
    answer = model.generate(**inputs, max_new_tokens=tokens)[0, inputs.input_ids.shape[1] :]
    return str(tokenizer.decode(answer, skip_special_tokens=True)).removesuffix("\n")


@pytest.fixture
def run_export(monkeypatch, capsys):
    """Run export.py in this process, without comparing; returns the JSON object on its last line."""

    def run_export(workspace: Path, model: str, *flags: str) -> dict:
        flags = flags if "--compare" in flags else (*flags, "--compare", "0")
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        monkeypatch.setattr(sys, "argv", [EXPORT, "--model", model, "--workspace", str(workspace), *flags])
        export.main()
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    return run_export


@pytest.fixture
def local_model(tmp_path) -> str:
    """The embedded model with deepseek-coder's pre-tokenizer, as a local model."""
    folder = tmp_path / "tiny"
    shutil.copytree(EMBEDDED, folder)
    stored = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    (folder / "tokenizer.json").write_text(json.dumps(stored | {"pre_tokenizer": PRE_TOKENIZER}), encoding="utf-8")
    return str(folder)


def test_merged_weights_answer_as_ask_does(tmp_path, run_export):
    tune(tmp_path, "embedded")
    folder = tmp_path / "models" / "merged"
    printed = run_export(tmp_path, "embedded", "--to", "merged")
    assert printed["export"] == str(folder) and set(printed["files"]) >= {"model.safetensors", "config.json"}
    text = answer_like_the_card(folder, 60)
    assert text == answer_like_ask(tmp_path, "embedded", 60) and len(text) > 20
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".")] == []


def test_a_new_adapter_replaces_the_export_of_an_older_one(tmp_path, run_export):
    tune(tmp_path, "embedded")
    run_export(tmp_path, "embedded", "--to", "merged")
    weights = tmp_path / "models" / "merged" / "model.safetensors"
    before = weights.read_bytes()
    shutil.rmtree(tmp_path / "models" / "sft")
    tune(tmp_path, "embedded", seed=2)
    run_export(tmp_path, "embedded", "--to", "merged")
    assert weights.read_bytes() != before


def test_gguf_files_answer_as_ask_does(tmp_path, run_export, local_model, llama):
    pytest.importorskip("gguf", reason="the optional package gguf is missing")
    tune(tmp_path, local_model)
    folder = tmp_path / "elsewhere" / "gguf"
    printed = run_export(tmp_path, local_model, "--to", "gguf", "--output", str(folder))
    files = {"Modelfile", "README.md", FRAME_FILE, "tiny-diagrams-f16.gguf", "tiny-diagrams-q8_0.gguf"}
    assert printed["files"].keys() == files
    tokenizer, server = AutoTokenizer.from_pretrained(local_model), llama(folder / "tiny-diagrams-f16.gguf")
    ids = server.answer(server.prompt(REQUEST), 60)
    text = tokenizer.decode(ids, skip_special_tokens=True).removesuffix("\n")
    assert text == answer_like_ask(tmp_path, local_model, 60) and len(text) > 20


def chat(llama, request: str, longest: int) -> str:
    """What llama.cpp's server answers to a message, over HTTP."""
    messages = [{"role": "user", "content": request}]
    answer = llama.post("v1/chat/completions", messages=messages, temperature=0, max_tokens=longest)
    return str(answer["choices"][0]["message"]["content"]).removesuffix("\n")


def test_a_gguf_file_is_compared_in_llama_cpp_and_its_server_answers_as_ask_does(
    tmp_path, run_export, local_model, llama
):
    pytest.importorskip("gguf", reason="the optional package gguf is missing")
    tune(tmp_path, local_model)
    printed = run_export(tmp_path, local_model, "--to", "gguf", "--quantize", "f16", "--compare", "2")
    if "not compared" in printed:
        pytest.skip(printed["not compared"])
    found = printed["compared"]["f16"]
    assert found["prompts"] == 2 and found["identical"] + len(found["ties"]) >= 2
    assert found["texts with the same tokens"] >= 905  # 900 prompts, and 5 odd texts
    server = llama(tmp_path / "models" / "gguf" / "tiny-diagrams-f16.gguf")
    assert chat(server, REQUEST, 60) == answer_like_ask(tmp_path, local_model, 60)


def test_a_crash_of_llama_cpp_becomes_a_line_and_the_export_is_kept(
    tmp_path, run_export, local_model, monkeypatch, capsys
):
    pytest.importorskip("gguf", reason="the optional package gguf is missing")
    (tmp_path / "server.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGILL)\n")
    monkeypatch.setattr(llama_server, "__file__", str(tmp_path / "server.py"))
    monkeypatch.setattr("fine_tuning.exporting.llama_cpp.is_installed", lambda: True)
    monkeypatch.setattr("fine_tuning.exporting.held_out.is_installed", lambda: True)
    tune(tmp_path, local_model)
    flags = ("--to", "gguf", "--quantize", "f16", "--compare", "1")
    printed = run_export(tmp_path, local_model, *flags)
    assert printed["not compared"].startswith("llama.cpp ended with SIGILL") and printed["compared"] == {}
    assert "tiny-diagrams-f16.gguf" in printed["files"]
    card = (tmp_path / "models" / "gguf" / "README.md").read_text()
    assert "not compared with base model + adapter: llama.cpp ended with SIGILL" in card
    assert run_export(tmp_path, local_model, *flags) == printed  # done already


def test_merged_weights_are_compared_with_base_model_and_adapter(tmp_path, run_export):
    tune(tmp_path, "embedded")
    printed = run_export(tmp_path, "embedded", "--to", "merged", "--compare", "3")
    found = printed["compared"]["merged"]
    assert (found["prompts"], found["identical"], found["ties"]) == (3, 3, []) and found["tokens"] > 30
    folder = tmp_path / "models" / "merged"
    assert "3 of 3 held-out prompts have the same answer" in (folder / "README.md").read_text()
    assert json.loads((folder / "export.json").read_text())["compared"] == printed["compared"]


def test_an_export_that_answers_otherwise_is_refused_and_leaves_the_earlier_one(tmp_path, run_export, monkeypatch):
    tune(tmp_path, "embedded")
    run_export(tmp_path, "embedded", "--to", "merged")
    folder = tmp_path / "models" / "merged"
    before = contents(folder)

    def save_other_weights(model, tokenizer, place):
        model.lm_head.weight.data = model.lm_head.weight.data.roll(1, 0)
        save_merged(model, tokenizer, place)

    monkeypatch.setattr("fine_tuning.exporting.write.save_merged", save_other_weights)
    # The earlier one was not compared, so it would be replaced now.
    (problem,) = problems_of(run_export, tmp_path, "embedded", "--to", "merged", "--compare", "2")
    assert "answers differ from those of base model + adapter" in problem and "logit gap" in problem
    assert contents(folder) == before
    assert not list(folder.parent.glob(".merged*"))


def test_the_modelfile_puts_the_template_around_request_and_instruction(tmp_path, run_export, local_model):
    pytest.importorskip("gguf", reason="the optional package gguf is missing")
    tune(tmp_path, local_model)
    run_export(tmp_path, local_model, "--to", "gguf", "--quantize", "f16")
    text = (tmp_path / "models" / "gguf" / "Modelfile").read_text()
    assert text == (
        "FROM ./tiny-diagrams-f16.gguf\n"
        'TEMPLATE """<|begin|>### Instruction:\n{{ .Prompt }}\n\nOne {{ "{{" }}line}} per shape.\n### Response:\n'
        '{{ .Response }}"""\n'
        "PARAMETER temperature 0\nPARAMETER repeat_penalty 1\nPARAMETER num_ctx 2048\nPARAMETER num_predict 1280\n"
        'PARAMETER stop "<|EOT|>"\n'
    )


def test_a_finished_export_is_left_alone_before_torch_is_imported(tmp_path, start):
    workspace = tmp_path / "demo"
    finish_step_1(workspace)
    options = options_for(workspace, "embedded")
    (options.workspace.sft_model / FRAME_FILE).write_text(FRAME.to_json())
    plan = make_plan(options, options.workspace.sft_model, "merged", None, FRAME)
    with new_export(workspace / "models" / "merged", plan.facts()) as new:
        (new / "model.safetensors").write_text("weights")
    run = start(EXPORT, *EMBEDDED_RUN, workspace, "--to", "merged")
    assert run.returncode == 0, run.stderr
    assert "the export is done" in run.stdout
    assert is_exported(workspace / "models" / "merged", plan.facts())


def test_a_workspace_without_an_adapter_is_refused_with_the_command(refused, tmp_path):
    (line,) = refused(EXPORT, *EMBEDDED_RUN, tmp_path / "demo", "--to", "merged")
    assert "there is no adapter of step 1. Run it first: python fine_tuning/sft_fine_tuning.py --model embedded" in line


def test_all_mistakes_are_reported_together(refused, tmp_path):
    (tmp_path / "file").write_text("mine")
    lines = refused(
        EXPORT, *EMBEDDED_RUN, tmp_path / "demo", "--to", "merged", "--quantize", "f16", "--output", tmp_path / "file"
    )
    assert len(lines) == 3
    assert "--quantize: only --to gguf takes this" in lines[0] and "is a file" in lines[2]


def test_a_folder_that_no_export_wrote_is_refused(refused, tmp_path):
    finish_step_1(tmp_path / "demo")
    (line,) = refused(EXPORT, *EMBEDDED_RUN, tmp_path / "demo", "--to", "merged", "--output", tmp_path / "demo")
    assert "holds files that no export wrote, such as models" in line


def test_the_embedded_model_is_refused_as_gguf_before_torch_is_imported(refused, tmp_path):
    finish_step_1(tmp_path / "demo")
    lines = refused(EXPORT, *EMBEDDED_RUN, tmp_path / "demo", "--to", "gguf")
    assert "splits text in its own way" in lines[-1] and "Export with --to merged instead" in lines[-1]


def plan_for(workspace: Path, format: str, model: str = "embedded", **run):
    finish_step_1(workspace)
    path = workspace / "models" / "sft" / "run.json"
    stored = json.loads(path.read_text())
    stored["settings"] |= run
    path.write_text(json.dumps(stored))
    options = options_for(workspace, model)
    return make_plan(options, options.workspace.sft_model, format, None, FRAME)


def test_a_full_disk_is_noticed_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**6))
    (problem,) = problems_of(plan_for(tmp_path, "merged").check, tmp_path / "new" / "merged")
    assert "the export needs 32 MB and 1 MB are free there" in problem  # 3.8 million weights of 4 bytes, and 16.8 MB


def test_a_missing_package_is_named_with_the_command(tmp_path, monkeypatch, local_model):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    (problem,) = problems_of(plan_for(tmp_path, "gguf", local_model).check, tmp_path / "gguf")
    assert problem == "--to gguf needs the package gguf: python -m pip install gguf==0.19.0"


def test_a_run_in_4_bits_is_merged_into_the_original_weights(tmp_path):
    plan = plan_for(tmp_path, "merged", **{"load in 4 bits": True})
    assert plan.was_4bit and not plan.options.load_in_4bit


def test_the_dtype_is_that_of_the_run(tmp_path):
    assert plan_for(tmp_path, "merged", dtype="bfloat16").options.dtype == "bfloat16"


def test_quantized_base_weights_are_refused(tmp_path, local_model):
    config = Path(local_model) / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"quantization_config": {"quant_method": "gptq"}}))
    (problem,) = problems_of(plan_for(tmp_path, "merged", local_model).check, tmp_path / "merged")
    assert "its weights are quantized" in problem
