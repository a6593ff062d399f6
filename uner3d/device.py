"""Which device a run uses, and the few things that a program must do differently where it is not the CPU."""

from __future__ import annotations

import torch
from torch import Tensor

from .ops import _native


def cuda_problem() -> str | None:
    """Why neither torch nor the kernels can use a CUDA device here, in a sentence; None where both can."""
    if not torch.backends.cuda.is_built():
        return f"this PyTorch ({torch.__version__}) was built without CUDA"
    if not torch.cuda.is_available():
        return "PyTorch finds no usable CUDA device"
    return _native.cuda.cuda_problem() or None


def resolve_device(name: str) -> torch.device:
    """The device that ``name`` (auto, cpu, cuda or cuda:N) means here, with its index; auto takes CUDA where it can.

    Raises ValueError for another name or an index that does not exist, RuntimeError where CUDA cannot be used.
    """
    kind, colon, index = name.partition(":")
    numbered = kind == "cuda" and index.isascii() and index.isdecimal()
    if name not in ("auto", "cpu", "cuda") and not numbered:
        raise ValueError(f"--device: expected auto, cpu, cuda or cuda:N, got {name!r}")
    problem = cuda_problem() if name != "cpu" else None
    if name == "cpu" or (name == "auto" and problem):
        return torch.device("cpu")
    if problem:
        raise RuntimeError(f"--device {name}: {problem}; use --device cpu")
    number = int(index) if colon else torch.cuda.current_device()
    if number >= torch.cuda.device_count():
        raise ValueError(f"--device {name}: expected an index below {torch.cuda.device_count()}, the devices found")
    return torch.device("cuda", number)


def describe(device: torch.device) -> str:
    """The device for people and metrics.json: "cpu", or "cuda:0 (NVIDIA H100)"."""
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


def upload(values: Tensor, device: torch.device) -> Tensor:
    """``values`` on ``device``; from the CPU to a GPU through pinned memory, because the copy would wait otherwise."""
    if device.type == "cuda" and values.device.type == "cpu":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


def at_once(n: int, device: torch.device) -> int:
    """How many items to take at a time where the CPU takes ``n``: on a GPU more, which needs them to be busy while the
    host prepares the next."""
    return n if device.type == "cpu" else 8 * n


def synchronise(device: torch.device) -> None:
    """Wait until everything that was started on ``device`` is done; to be called before a clock is read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
