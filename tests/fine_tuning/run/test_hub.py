"""A hub model without a network: it comes from the cache at once, or is refused within seconds."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from families import tiny_model
from helpers import ROOT, STEP_1, problems_of

from fine_tuning.run.hub import cached_snapshot, check_hub, is_cached

MODEL, REVISION = "someone/tiny", "a" * 40
NOBODY = "http://127.0.0.1:9"  # nothing listens there


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_ENDPOINT", NOBODY)
    return cached_snapshot(MODEL, REVISION)


def test_a_model_is_in_the_cache_only_with_all_its_files(cache):
    assert not is_cached(MODEL, REVISION)
    tiny_model(cache, "qwen2")
    assert is_cached(MODEL, REVISION) and not is_cached(MODEL, "b" * 40)
    (cache / "model.safetensors").rename(cache / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (cache / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    assert not is_cached(MODEL, REVISION)
    (cache / "model-00002-of-00002.safetensors").write_bytes(b"")
    assert is_cached(MODEL, REVISION)
    (cache / "tokenizer.json").unlink()
    assert not is_cached(MODEL, REVISION)


def test_the_place_of_the_cache_follows_the_libraries_variables(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "elsewhere"))
    assert cached_snapshot(MODEL, REVISION) == tmp_path / "elsewhere" / "models--someone--tiny" / "snapshots" / REVISION


def test_a_model_that_is_nowhere_is_refused_within_seconds(cache, monkeypatch):
    start = time.perf_counter()
    (problem,) = problems_of(check_hub, MODEL, REVISION)
    assert time.perf_counter() - start < 10
    assert f"{NOBODY} cannot be reached" in problem and REVISION in problem and "HF_HUB_OFFLINE=1" in problem
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (problem,) = problems_of(check_hub, MODEL, REVISION)
    assert "HF_HUB_OFFLINE forbids" in problem


def test_a_step_without_network_refuses_a_hub_model_before_torch_is_imported(cache, environment, workspace):
    command = [sys.executable, STEP_1, "--model", MODEL, "--revision", REVISION, "--workspace", str(workspace)]
    start = time.perf_counter()
    run = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=environment | {"HF_ENDPOINT": NOBODY, "HF_HUB_OFFLINE": ""},
    )
    assert time.perf_counter() - start < 30
    assert run.returncode == 2 and len(run.stderr.splitlines()) == 1 and f"{NOBODY} cannot be reached" in run.stderr
    assert not (workspace / "models").exists()


def test_a_cached_model_is_loaded_without_asking_the_hub(cache):
    tiny_model(cache, "qwen2")
    program = f"""
from fine_tuning.run.options import Options, set_environment
options = Options({MODEL!r}, {REVISION!r})
set_environment(options)
import time
from fine_tuning.run.presets import REAL
from fine_tuning.training.base_model import load_base_model
from fine_tuning.training.model_probe import probe
start = time.perf_counter()
probe(options, REAL)
load_base_model(options)
assert time.perf_counter() - start < 30
"""
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=150, env=os.environ.copy()
    )
    assert run.returncode == 0, run.stderr
