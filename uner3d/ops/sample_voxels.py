"""Values between those of a lattice over a box, for fields that keep a value for every place."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ._check import check_tensor
from ._output import Empty, empty, empty_cpu
from ._register import define, differentiable, typed
from ._views import address, contiguous
from .density_grid import MAX_SIDE
from .reference.sample_voxels import sample_voxels as twin


def sample_voxels(values: Tensor, points: Tensor, extent: Tensor) -> Tensor:
    """Trilinear interpolation at points in the box [-extent, extent], 0 outside it.

    Value (i, j, k) of n^3 lies at (2 i / (n - 1) - 1, 2 j / (n - 1) - 1, 2 k / (n - 1) - 1) extent: the outermost ones
    on the walls. The gradient has the same bytes for any number of threads. On other devices than the CPU this runs as
    torch's operations.

    Args:
        values: (n, n, n) float32 or float64, n from 2 to 1290.
        points: (N, 3) in the dtype of ``values``; one that is not a number lies outside.
        extent: (3,) half sizes of the box, positive.

    Returns:
        (N,), differentiable (once) in ``values``, not in the points.

    Raises:
        TypeError, ValueError: naming the argument, what was expected and what came.

    >>> values = torch.arange(8.0).view(2, 2, 2)
    >>> sample_voxels(values, torch.tensor([[-1.0, -1, 1], [0, 0, 0], [0, 0, 2]]), torch.ones(3))
    tensor([1.0000, 3.5000, 0.0000])
    """
    sizes: dict[str, int] = {}
    check_tensor("values", values, ("n", "n", "n"), sizes=sizes)
    if not 2 <= sizes["n"] <= MAX_SIDE:
        raise ValueError(f"values: expected 2 to {MAX_SIDE} along an axis, got {sizes['n']}")
    check_tensor("points", points, ("N", 3), like=values)
    check_tensor("extent", extent, (3,), like=values)
    if values.device.type != "cpu":
        return twin(values, points, extent)
    return _OP(values, points, extent)


def _lattice(values: Tensor, points: Tensor, extent: Tensor) -> tuple[Any, tuple[int, ...]]:
    """Contiguous extent and points, to be kept while the kernel runs, and what it takes of the lattice first."""
    inputs = contiguous(extent, points)
    return inputs, (address(inputs[0]), values.shape[0], address(inputs[1]), points.shape[0])


def _cpu(values: Tensor, points: Tensor, extent: Tensor) -> Tensor:
    out = _fake(values, points, extent, empty_cpu)
    _kept, first = _lattice(values, points, extent)
    values = values.contiguous()
    typed("sample_voxels", values)(*first, values.data_ptr(), out.data_ptr(), torch.get_num_threads())
    return out


def _fake(values: Tensor, points: Tensor, extent: Tensor, empty: Empty = empty) -> Tensor:
    return empty(points, (points.shape[0],))


def _backward_cpu(grad: Tensor, values: Tensor, points: Tensor, extent: Tensor) -> Tensor:
    out = _backward_fake(grad, values, points, extent, empty_cpu)
    _kept, first = _lattice(values, points, extent)
    grad = grad.contiguous()
    typed("sample_voxels_backward", values)(*first, grad.data_ptr(), out.data_ptr(), torch.get_num_threads())
    return out


def _backward_fake(grad: Tensor, values: Tensor, points: Tensor, extent: Tensor, empty: Empty = empty) -> Tensor:
    return empty(values, values.shape)


def _no_cuda(*_: Tensor) -> Tensor:
    raise RuntimeError("uner3d::sample_voxels has no CUDA kernel: call uner3d.ops.sample_voxels, which does without")


_ARGS = "Tensor values, Tensor points, Tensor extent"
_OP = define("sample_voxels", f"({_ARGS}) -> Tensor", cpu=_cpu, cuda=_no_cuda, fake=_fake)
_BACKWARD = define(
    "sample_voxels_backward", f"(Tensor grad, {_ARGS}) -> Tensor", cpu=_backward_cpu, cuda=_no_cuda, fake=_backward_fake
)


def _setup_context(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx, grad: Tensor):
    return _BACKWARD(grad, *ctx.saved_tensors) if ctx.needs_input_grad[0] else None, None, None


differentiable("sample_voxels", setup_context=_setup_context, backward=_backward)
