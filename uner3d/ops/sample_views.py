"""Image features at the projections of points, view by view."""

from __future__ import annotations

import torch
from torch import Tensor

from . import _native
from ._output import Empty, empty, empty_cpu
from ._register import define, differentiable, typed
from ._views import (
    add_sorted,
    address,
    check_maps,
    check_pixels,
    check_views,
    contiguous,
    cuda_views,
    empty_grads,
    zeroed_accumulator,
)


def sample_views(maps: Tensor, K: Tensor, cam_from_world: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Project points into maps and sample them bilinearly, one sample per point and view.

    The unfused sibling of :func:`fuse_views`, with the same geometry: a view sees a point that lies in front of its
    camera and projects into [0, W) x [0, H); pixel (i, j) has its centre at (j + 0.5, i + 0.5); beyond the outermost
    centres the edge pixel is repeated. On CUDA the gradient of ``maps`` is summed by atomics, or, under
    ``torch.use_deterministic_algorithms(True)``, in the order of the points from sorted (point, view) pairs.

    Args:
        maps: (V, H, W, C) channels last: float32 or float64 (CPU); float32, float16 or bfloat16 (CUDA, where all else
            is float32, the values included).
        K: (V, 3, 3) pinhole matrices [fx s cx; 0 fy cy; 0 0 1] in pixels of the maps.
        cam_from_world: (V, 3, 4), x right, y down, z forward.
        points: (N, 3) in the world.

    Returns:
        values (N, V, C), zeros where the view does not see the point, and valid (N, V) bool. Values are differentiable
        (once) in ``maps`` and ``points``, not in ``K`` and ``cam_from_world``.

    Raises:
        TypeError, ValueError: naming the argument, what was expected and what came.

    >>> maps, K = torch.tensor([0.0, 1.0]).reshape(1, 1, 2, 1), torch.eye(3)[None]
    >>> sample_views(maps, K, torch.eye(3, 4)[None], torch.tensor([[0.75, 0.5, 1.0], [2.5, 0.5, 1.0]]))
    (tensor([[[0.2500]],
    <BLANKLINE>
            [[0.0000]]]), tensor([[ True],
            [False]]))
    """
    sizes: dict[str, int] = {}
    maps = check_maps("maps", maps, ("V", "H", "W", "C"), sizes)
    check_pixels(*maps.shape[1:3])
    check_views(K, cam_from_world, points, maps, sizes)
    return _OP(maps, K, cam_from_world, points)


def _cpu(maps: Tensor, K: Tensor, cam_from_world: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    out = _fake(maps, K, cam_from_world, points, empty_cpu)
    inputs = contiguous(maps, K, cam_from_world, points)
    typed("sample_views_forward", maps)(
        *map(address, inputs), *map(address, out), *maps.shape, points.shape[0], torch.get_num_threads()
    )
    return out


def _fake(
    maps: Tensor, K: Tensor, cam_from_world: Tensor, points: Tensor, empty: Empty = empty
) -> tuple[Tensor, Tensor]:
    n, v = points.shape[0], maps.shape[0]
    return empty(points, (n, v, maps.shape[3])), empty(points, (n, v), torch.bool)


def _cuda(maps: Tensor, K: Tensor, cam_from_world: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    views = cuda_views(K, cam_from_world, points, (maps.shape[0], maps.shape[1], maps.shape[2]), maps)
    out = _fake(maps, K, cam_from_world, points)
    maps = maps.contiguous()
    _native.cuda.sample_views_forward_cuda(
        *map(address, (maps, views.K, views.cam_from_world, views.points, *out)), *maps.shape, points.shape[0],
        *views.launch,
    )  # fmt: skip
    return out


def _backward_cpu(
    grad: Tensor, maps: Tensor, K: Tensor, cam_from_world: Tensor, points: Tensor, wanted: list[bool]
) -> tuple[Tensor, Tensor]:
    out = _backward_fake(grad, maps, K, cam_from_world, points, wanted, empty_cpu)
    inputs = contiguous(maps, K, cam_from_world, points, grad)
    typed("sample_views_backward", maps)(
        *map(address, inputs), *(address(t) if want else 0 for t, want in zip(out, wanted, strict=True)),
        *maps.shape, points.shape[0], torch.get_num_threads(),
    )  # fmt: skip
    return out


def _backward_cuda(
    grad: Tensor, maps: Tensor, K: Tensor, cam_from_world: Tensor, points: Tensor, wanted: list[bool]
) -> tuple[Tensor, Tensor]:
    views = cuda_views(K, cam_from_world, points, (maps.shape[0], maps.shape[1], maps.shape[2]), maps)
    out = _backward_fake(grad, maps, K, cam_from_world, points, wanted)
    maps, grad = maps.contiguous(), grad.contiguous()
    first = tuple(map(address, (maps, views.K, views.cam_from_world, views.points, grad)))
    sizes = (*maps.shape, points.shape[0])
    grad_maps = zeroed_accumulator(out[0]) if wanted[0] else None
    in_order = wanted[0] and torch.are_deterministic_algorithms_enabled()
    _native.cuda.sample_views_backward_cuda(
        *first, 0 if in_order else address(grad_maps), address(out[1]) if wanted[1] else 0, *sizes, *views.launch
    )
    if in_order:
        to_maps = (address(grad_maps), 0)
        add_sorted(
            views, lambda p: _native.cuda.sample_views_backward_sorted_cuda(*first, *to_maps, *sizes, *p, *views.launch)
        )
    if grad_maps is not None and grad_maps is not out[0]:
        out[0].copy_(grad_maps)
    return out


def _backward_fake(
    grad: Tensor,
    maps: Tensor,
    K: Tensor,
    cam_from_world: Tensor,
    points: Tensor,
    wanted: list[bool],
    empty: Empty = empty,
) -> tuple[Tensor, Tensor]:
    grad_maps, grad_points = empty_grads((maps, points), wanted, empty)
    return grad_maps, grad_points


_ARGS = "Tensor maps, Tensor K, Tensor cam_from_world, Tensor points"
_OP = define("sample_views", f"({_ARGS}) -> (Tensor, Tensor)", cpu=_cpu, cuda=_cuda, fake=_fake)
_BACKWARD = define(
    "sample_views_backward", f"(Tensor grad, {_ARGS}, bool[] wanted) -> (Tensor, Tensor)",
    cpu=_backward_cpu, cuda=_backward_cuda, fake=_backward_fake,
)  # fmt: skip


def _setup_context(ctx, inputs, output) -> None:
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(*inputs)


def _backward(ctx, grad: Tensor, _grad_valid: Tensor | None):
    maps, K, cam_from_world, points = ctx.saved_tensors
    wanted = [ctx.needs_input_grad[0], ctx.needs_input_grad[3]]
    grad_maps, grad_points = _BACKWARD(grad, maps, K, cam_from_world, points, wanted)
    return grad_maps if wanted[0] else None, None, None, grad_points if wanted[1] else None


differentiable("sample_views", setup_context=_setup_context, backward=_backward)
