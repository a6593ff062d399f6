"""One place where the ops meet torch.library: schema, CPU and CUDA implementations, fake, backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from . import _native

_LIBRARY = torch.library.Library("uner3d", "DEF")


def define(name: str, schema: str, *, cpu: Callable, cuda: Callable, fake: Callable) -> Any:
    """Define ``uner3d::name`` with ``schema`` (arguments and returns) and return its OpOverload."""
    _LIBRARY.define(name + schema, tags=(torch.Tag.pt2_compliant_tag,))
    _LIBRARY.impl(name, cpu, "CPU")
    _LIBRARY.impl(name, cuda, "CUDA")
    torch.library.register_fake(f"uner3d::{name}", fake, lib=_LIBRARY)
    return getattr(torch.ops.uner3d, name).default


def differentiable(name: str, *, setup_context: Callable, backward: Callable) -> None:
    """Register the backward of ``uner3d::name``; ``backward`` must itself call registered ops only."""
    torch.library.register_autograd(f"uner3d::{name}", backward, setup_context=setup_context, lib=_LIBRARY)


def typed(name: str, like: Tensor) -> Callable:
    """The CPU kernel ``name`` for the dtype of ``like``, in the instruction set chosen at run time."""
    return getattr(_native.cpu, f"{name}_{'f64' if like.dtype == torch.float64 else 'f32'}")


def cuda_stream(like: Tensor) -> tuple[int, int]:
    """Device index and torch's current stream on it, as the launchers take them."""
    problem = _native.cuda.cuda_problem()
    if problem:
        raise RuntimeError(problem)
    index = like.device.index
    return index, torch.cuda.current_stream(index).cuda_stream


def cuda_kernel(name: str) -> Callable:
    """The launcher ``name`` of the CUDA kernels."""
    return getattr(_native.cuda, f"{name}_cuda")


def cuda_scratch(like: Tensor, n_bytes: int) -> Tensor:
    """Memory that a launcher asked for, in the order of torch's current stream; may be dropped once it returned."""
    return like.new_empty(n_bytes, dtype=torch.uint8)
