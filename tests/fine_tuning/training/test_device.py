"""The device and the dtype that a run computes with, and GPUs that this torch cannot use."""

import platform

import pytest
import torch
from helpers import problems_of

from fine_tuning.training import device
from fine_tuning.training.device import PACKAGES, check_gpu, choose_dtype, machine, peak_memory_mib


def test_a_gpu_that_torch_cannot_use_is_refused_only_if_needed(monkeypatch):
    monkeypatch.setattr(device, "has_cuda_device", lambda: True)
    check_gpu(needed=False)
    (problem,) = problems_of(check_gpu, needed=True)
    assert "Install a CUDA build of torch" in problem
    monkeypatch.setattr(device, "has_cuda_device", lambda: False)
    check_gpu(needed=True)


def test_a_gpu_that_torch_has_no_kernels_for_is_refused(monkeypatch):
    def no_kernel(*_, **__):
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device\nmore")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Old 1")
    monkeypatch.setattr(torch, "zeros", no_kernel)
    (problem,) = problems_of(check_gpu, needed=False)
    assert "without code for this GPU (Old 1)" in problem


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


def test_the_facts_about_the_machine_include_package_versions():
    facts = machine()
    assert facts.keys() >= {"system", "processor threads", "GPU", *PACKAGES}
    assert facts["python"] == platform.python_version() and facts["torch"] == torch.__version__


def test_peak_memory_without_a_gpu_is_that_of_the_process(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert 100 < peak_memory_mib() < 100_000  # torch alone takes more than 100 MiB
