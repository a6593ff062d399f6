"""Argument checks that name the argument, what was expected and what came."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

FLOATS = (torch.float32, torch.float64)


def check_tensor(
    name: str,
    value: object,
    shape: Sequence[int | str | None],
    *,
    dtype: Sequence[torch.dtype] | torch.dtype | None = FLOATS,
    like: Tensor | None = None,
    sizes: dict[str, int] | None = None,
) -> None:
    """Check type, rank, sizes, dtype and device of one argument.

    ``shape`` mixes numbers (required), names (any size, but equal wherever the name stands in the same call when
    ``sizes`` is shared between the checks) and None (any size). ``like`` is a tensor whose dtype (unless ``dtype`` is
    given as a single one) and device must be matched.
    """
    if not isinstance(value, Tensor):
        raise TypeError(f"{name}: expected a tensor {_show(shape)}, got {type(value).__name__}")
    sizes = {} if sizes is None else sizes
    ok = value.dim() == len(shape)
    if ok:
        for got, want in zip(value.shape, shape, strict=True):
            if isinstance(want, str):
                want = sizes.setdefault(want, got)
            ok &= want is None or got == want
    if not ok:
        known = ", ".join(f"{k} = {v}" for k, v in sizes.items() if k in shape)
        raise ValueError(
            f"{name}: expected shape {_show(shape)}{f' with {known}' if known else ''}, got {tuple(value.shape)}"
        )
    wanted = (dtype,) if isinstance(dtype, torch.dtype) else tuple(dtype or ())
    if like is not None and not isinstance(dtype, torch.dtype):
        wanted = (like.dtype,)
    if wanted and value.dtype not in wanted:
        raise TypeError(f"{name}: expected dtype {' or '.join(map(str, wanted))}, got {value.dtype}")
    if like is not None and value.device != like.device:
        raise ValueError(f"{name}: expected device {like.device}, got {value.device}")


def check_single_precision(name: str, value: Tensor) -> None:
    """Check the dtype of an argument of a CUDA kernel."""
    if value.dtype != torch.float32:
        raise TypeError(f"{name}: expected float32 on CUDA, got {value.dtype}")


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Check that a number lies in [low, high]."""
    if not low <= value <= high:
        raise ValueError(f"{name}: expected a value from {low} to {high}, got {value}")


def _show(shape: Sequence[int | str | None]) -> str:
    return "(" + ", ".join("any" if s is None else str(s) for s in shape) + ("," if len(shape) == 1 else "") + ")"
