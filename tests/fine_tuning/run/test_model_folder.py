"""A model folder or hub id that cannot be used is refused before anything of an earlier run is deleted."""

import shutil
from pathlib import Path

import pytest
from helpers import ROOT, STEP_1, contents, finish_step_1
from safetensors.torch import load_file, save_file


def test_a_model_folder_that_does_not_exist_is_named(refused, workspace, tmp_path):
    folder = tmp_path / "none"
    assert refused(STEP_1, "--model", folder, "--workspace", workspace) == [
        f"error: --model {folder}: there is no such folder"
    ]


def test_everything_that_a_model_folder_lacks_is_named(refused, workspace, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    messages = refused(STEP_1, "--model", tmp_path / "model", "--workspace", workspace)
    assert [message.split(" has no ")[1] for message in messages] == ["tokenizer.json", "weights (*.safetensors)"]


EMBEDDED_WEIGHTS = ROOT / "fine_tuning" / "embedded_model" / "model.safetensors"


def copy_of_embedded(folder: Path) -> Path:
    """Copy the embedded model to a local model folder, such as a user may have."""
    return shutil.copytree(EMBEDDED_WEIGHTS.parent, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))


@pytest.mark.parametrize(
    "content",
    [
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 2693000000\n",
        EMBEDDED_WEIGHTS.read_bytes()[:-1],
        EMBEDDED_WEIGHTS.read_bytes()[:1000],
        b"",
    ],
    ids=["Git LFS pointer", "last byte missing", "cut off in the header", "empty"],
)
def test_cut_off_weights_are_reported_before_an_earlier_run_is_discarded(refused, workspace, tmp_path, content):
    copy_of_embedded(tmp_path / "model").joinpath("model.safetensors").write_bytes(content)
    finish_step_1(workspace)
    (message,) = refused(STEP_1, "--model", tmp_path / "model", "--workspace", workspace, "--restart")
    assert message.startswith(f"error: --model {tmp_path / 'model'}: model.safetensors is cut off or only a Git LFS")


def test_complete_weights_pass_the_check(start, workspace, tmp_path):
    run = start(STEP_1, "--model", copy_of_embedded(tmp_path / "model"), "--workspace", workspace)
    assert run.stderr.endswith(" was imported\n")


def test_weights_without_a_layer_are_reported_before_an_earlier_run_is_discarded(forked, workspace, tmp_path):
    folder = copy_of_embedded(tmp_path / "model")
    weights = load_file(EMBEDDED_WEIGHTS)
    del weights["model.layers.7.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    finish_step_1(workspace)
    before = contents(workspace / "models")
    run = forked.run(STEP_1, "--model", folder, "--workspace", workspace, "--restart")
    assert run.returncode == 2 and "Traceback" not in run.stderr
    assert run.stderr.splitlines()[-1].startswith(f"error: --model {folder}: 1 weights that config.json asks for are ")
    assert contents(workspace / "models") == before


@pytest.mark.parametrize("revision", [[], ["--revision", "main"], ["--revision", "e063262"]])
def test_a_hub_model_needs_a_full_commit_hash(refused, workspace, revision):
    (message,) = refused(STEP_1, "--model", "someone/model", "--workspace", workspace, *revision)
    assert "--revision and 40 hex digits" in message and "someone/model/commits" in message
