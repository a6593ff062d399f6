"""Outputs of the kernels. On the CPU the memory of large ones that were freed is used again."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from . import _native

POOLED_FROM = 1 << 20  # bytes; smaller arrays the C library reuses by itself
_DLPACK_CODES = {torch.float32: 2, torch.float64: 2, torch.int32: 0, torch.int64: 0}

Empty = Callable[..., Tensor]
"""empty(like, shape, dtype=that of ``like``): how the outputs of an op are made."""


def empty(like: Tensor, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
    """An uninitialised tensor as PyTorch makes it, also under tracing and on CUDA."""
    return like.new_empty(shape, dtype=dtype or like.dtype)


def empty_cpu(like: Tensor, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
    """:func:`empty` for the CPU kernels. Large ones lie in pages that an earlier output has left.

    Fresh pages cost more than most kernels do (csrc/cpu/page_pool.h). Such a tensor cannot be resized in place; in
    all else it is like any other.
    """
    dtype = dtype or like.dtype
    n_bytes = math.prod(shape) * dtype.itemsize
    if n_bytes >= POOLED_FROM and dtype in _DLPACK_CODES and sys.platform == "linux":
        capsule = _native.memory.output_tensor(list(shape), _DLPACK_CODES[dtype], dtype.itemsize)
        if capsule is not None:
            return torch.from_dlpack(capsule)
    return empty(like, shape, dtype)


def release_memory() -> int:
    """Give the memory that CPU outputs have left for later ones back to the system.

    That is at most 512 MiB and one larger block, of up to a sixteenth of what the machine or its container has.

    Returns the number of bytes. Tensors in use are not touched.
    """
    return int(_native.memory.output_clear())
