"""Which device a name means, and what is said where it cannot be had."""

import pytest
import torch

from uner3d import device
from uner3d.device import cuda_problem, describe, resolve_device, upload


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(device, "cuda_problem", lambda: None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)


NAMES = [("auto", "cuda:1"), ("cuda", "cuda:1"), ("cuda:0", "cuda:0"), ("cuda:1", "cuda:1"), ("cpu", "cpu")]


@pytest.mark.parametrize(("name", "meant"), NAMES)
def test_names_with_gpus(two_gpus, name, meant):
    assert str(resolve_device(name)) == meant


def test_an_index_that_does_not_exist(two_gpus):
    with pytest.raises(ValueError, match="--device cuda:2: expected an index below 2"):
        resolve_device("cuda:2")


@pytest.mark.parametrize("problem", ["PyTorch finds no usable CUDA device"])
def test_without_a_gpu(monkeypatch, problem):
    monkeypatch.setattr(device, "cuda_problem", lambda: problem)
    assert resolve_device("auto") == resolve_device("cpu") == torch.device("cpu")
    for name in ("cuda", "cuda:0"):
        with pytest.raises(RuntimeError, match=f"--device {name}: {problem}; use --device cpu"):
            resolve_device(name)


@pytest.mark.parametrize("name", ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1:2", "cpu:0", "CUDA"])
def test_other_names_are_refused(two_gpus, name):
    with pytest.raises(ValueError, match="expected auto, cpu, cuda or cuda:N, got"):
        resolve_device(name)


def test_problems_are_told_one_after_another(monkeypatch):
    """First PyTorch's own build, then the driver, then our kernels'."""
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)
    assert "built without CUDA" in cuda_problem()
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "finds no usable CUDA device" in cuda_problem()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(device._native.cuda, "cuda_problem", lambda: "uner3d was built without CUDA")
    assert cuda_problem() == "uner3d was built without CUDA"
    monkeypatch.setattr(device._native.cuda, "cuda_problem", lambda: "")
    assert cuda_problem() is None


def test_the_cpu_needs_no_copies():
    values = torch.rand(3)
    assert upload(values, torch.device("cpu")) is values and describe(torch.device("cpu")) == "cpu"
