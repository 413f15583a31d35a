"""What is computed on, and what is said where a GPU cannot be used."""

import platform
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fine_tuning.run.options import Options
from fine_tuning.run.workspace import Workspace
from fine_tuning.training import device
from fine_tuning.training.device import PACKAGES, check_gpu, choose_dtype, machine, peak_memory_mib

EMBEDDED = Options("embedded", None, Workspace(Path("nowhere")), 2025, None, "auto", False, False)


def test_a_gpu_that_this_torch_cannot_use_is_told_for_any_model_that_is_to_use_it(monkeypatch, tmp_path, capsys):
    other = replace(EMBEDDED, model=str(tmp_path))
    monkeypatch.setattr(device, "has_cuda_device", lambda: True)
    check_gpu(EMBEDDED)
    with pytest.raises(SystemExit) as stopped:
        check_gpu(other)
    assert stopped.value.code == 2 and "Install a CUDA build of torch" in capsys.readouterr().err
    monkeypatch.setattr(device, "has_cuda_device", lambda: False)
    check_gpu(other)


def test_a_gpu_that_this_torch_has_no_code_for_is_told(monkeypatch, capsys):
    def no_kernel(*_, **__):
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device\nmore")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Old 1")
    monkeypatch.setattr(torch, "zeros", no_kernel)
    with pytest.raises(SystemExit) as stopped:
        check_gpu(EMBEDDED)
    assert stopped.value.code == 2 and "without code for this GPU (Old 1)" in capsys.readouterr().err


def test_auto_dtype_is_float32_without_a_gpu():
    assert choose_dtype("auto") is torch.float32
    assert choose_dtype("bfloat16") is torch.bfloat16


@pytest.mark.parametrize(
    "capability, dtype", [((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)]
)
def test_auto_dtype_follows_the_gpu(monkeypatch, capability, dtype):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert choose_dtype("auto") is dtype


def test_the_machines_facts_name_the_packages_that_decide_a_training():
    facts = machine()
    assert facts.keys() >= {"system", "processor threads", "GPU", *PACKAGES}
    assert facts["python"] == platform.python_version() and facts["torch"] == torch.__version__


def test_peak_memory_without_a_gpu_is_that_of_the_process(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert 100 < peak_memory_mib() < 100_000  # torch alone takes more than 100 MiB
