"""Mean and variance of image features over the views that see a point."""

from __future__ import annotations

import torch
from torch import Tensor

from . import _native
from ._check import check_tensor
from ._output import Empty, empty, empty_cpu
from ._register import define, differentiable, typed
from ._views import (
    CudaViews,
    add_sorted,
    address,
    check_maps,
    check_pixels,
    check_views,
    contiguous,
    cuda_views,
    empty_grads,
    like_points,
    zeroed_accumulator,
)


def fuse_views(
    maps: Tensor, K: Tensor, cam_from_world: Tensor, points: Tensor, view_weights: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Project points into feature maps, sample them bilinearly and fuse the samples over the views.

    With x_v the sample of view v and w_v its weight, over the views that see the point:
    W = sum_v w_v, mean = sum_v w_v x_v / W, var = sum_v w_v (x_v - mean)^2 / W (population variance, accumulated by
    West's weighted form of Welford's recurrence, 1979). A view sees a point that lies in front of its camera and
    projects into [0, W) x [0, H). Pixel (i, j) has its centre at (j + 0.5, i + 0.5); beyond the outermost centres the
    edge pixel is repeated. Nothing of size (N, V, C) is ever held. On the CPU results and gradients have the same bytes
    for any number of threads. On CUDA so have all but the gradient of ``maps``, which is summed by atomics; under
    ``torch.use_deterministic_algorithms(True)`` it is summed in the order of the points, from sorted (point, view)
    pairs, which is slower.

    Args:
        maps: (V, H, W, C) channels last: float32 or float64 (CPU); float32, float16 or bfloat16 (CUDA, where all else
            is float32, sums and results included).
        K: (V, 3, 3) pinhole matrices [fx s cx; 0 fy cy; 0 0 1] in pixels of the maps.
        cam_from_world: (V, 3, 4), x right, y down, z forward.
        points: (N, 3) in the world.
        view_weights: (V,) or (N, V), not negative (a negative weight counts as zero); None weighs all views alike.

    Returns:
        mean (N, C), var (N, C) and weight_sum (N,); zeros where no view with a positive weight sees the point.
        Differentiable (once) in ``maps``, ``points`` and ``view_weights``, not in ``K`` and ``cam_from_world``; whether
        a view sees a point is taken as fixed.

    Raises:
        TypeError, ValueError: naming the argument, what was expected and what came.

    >>> maps, K = torch.ones(2, 4, 4, 1), torch.tensor([[2.0, 0, 2], [0, 2, 2], [0, 0, 1]]).expand(2, 3, 3)
    >>> mean, var, weight_sum = fuse_views(maps, K, torch.eye(3, 4).expand(2, 3, 4), torch.tensor([[0.0, 0, 1]]))
    >>> mean, var, weight_sum
    (tensor([[1.]]), tensor([[0.]]), tensor([2.]))
    """
    sizes: dict[str, int] = {}
    maps = check_maps("maps", maps, ("V", "H", "W", "C"), sizes)
    check_pixels(*maps.shape[1:3])
    check_views(K, cam_from_world, points, maps, sizes)
    if view_weights is not None:
        per_point = isinstance(view_weights, Tensor) and view_weights.dim() == 2
        shape = ("N", "V") if per_point else ("V",)
        check_tensor("view_weights", view_weights, shape, **like_points(maps), sizes=sizes)
    return _OP(maps, K, cam_from_world, points, view_weights)


def _sizes(maps: Tensor, points: Tensor) -> tuple[int, ...]:
    return (*maps.shape, points.shape[0])


def _cpu(
    maps: Tensor, K: Tensor, cam_from_world: Tensor, points: Tensor, view_weights: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    out = _fake(maps, K, cam_from_world, points, view_weights, empty_cpu)
    inputs = contiguous(maps, K, cam_from_world, points, view_weights)
    typed("fuse_views_forward", maps)(
        *map(address, inputs), view_weights is not None and view_weights.dim() == 2, *map(address, out),
        *_sizes(maps, points), torch.get_num_threads(),
    )  # fmt: skip
    return out


def _fake(
    maps: Tensor, K: Tensor, cam_from_world: Tensor, points: Tensor, view_weights: Tensor | None, empty: Empty = empty
) -> tuple[Tensor, Tensor, Tensor]:
    n, c = points.shape[0], maps.shape[3]
    return empty(points, (n, c)), empty(points, (n, c)), empty(points, (n,))


def _cuda(
    maps: Tensor, K: Tensor, cam_from_world: Tensor, points: Tensor, view_weights: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    views = cuda_views(K, cam_from_world, points, _map_sizes(maps), maps)
    out = _fake(maps, K, cam_from_world, points, view_weights)
    maps, weights = maps.contiguous(), None if view_weights is None else view_weights.contiguous()
    _native.cuda.fuse_views_forward_cuda(
        *_cuda_inputs(maps, views, weights), *map(address, out), *_sizes(maps, points), *views.launch
    )
    return out


def _map_sizes(maps: Tensor) -> tuple[int, int, int]:
    return maps.shape[0], maps.shape[1], maps.shape[2]


def _cuda_inputs(maps: Tensor, views: CudaViews, view_weights: Tensor | None) -> tuple[int | bool, ...]:
    """The first arguments of all CUDA kernels; the tensors are contiguous."""
    if view_weights is not None and view_weights.dtype != torch.float32:
        raise TypeError(f"view_weights: expected float32 on CUDA, got {view_weights.dtype}")
    inputs = (maps, views.K, views.cam_from_world, views.points, view_weights)
    return *map(address, inputs), view_weights is not None and view_weights.dim() == 2


def _backward_cpu(
    grad_mean: Tensor | None, grad_var: Tensor | None, grad_weight_sum: Tensor | None, maps: Tensor, K: Tensor,
    cam_from_world: Tensor, points: Tensor, view_weights: Tensor | None, mean: Tensor, var: Tensor,
    weight_sum: Tensor, wanted: list[bool],
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    shared = view_weights is not None and view_weights.dim() == 1
    results, grads = contiguous(mean, var, weight_sum), contiguous(grad_mean, grad_var, grad_weight_sum)
    inputs = contiguous(maps, K, cam_from_world, points, view_weights)
    out = _grads(maps, points, view_weights, wanted, empty_cpu)
    typed("fuse_views_backward", maps)(
        *map(address, inputs), view_weights is not None and not shared, *map(address, results), *map(address, grads),
        *(address(t) if want else 0 for t, want in zip(out, wanted, strict=True)),
        *_sizes(maps, points), torch.get_num_threads(),
    )  # fmt: skip
    return out


def _backward_cuda(
    grad_mean: Tensor | None, grad_var: Tensor | None, grad_weight_sum: Tensor | None, maps: Tensor, K: Tensor,
    cam_from_world: Tensor, points: Tensor, view_weights: Tensor | None, mean: Tensor, var: Tensor,
    weight_sum: Tensor, wanted: list[bool],
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    views = cuda_views(K, cam_from_world, points, _map_sizes(maps), maps)
    out = _grads(maps, points, view_weights, wanted)
    maps, weights = maps.contiguous(), None if view_weights is None else view_weights.contiguous()
    rows = contiguous(mean, var, weight_sum, grad_mean, grad_var, grad_weight_sum)
    first, sizes = (*_cuda_inputs(maps, views, weights), *map(address, rows)), _sizes(maps, points)
    grad_maps = zeroed_accumulator(out[0]) if wanted[0] else None
    in_order = wanted[0] and torch.are_deterministic_algorithms_enabled()
    shared = wanted[1] and view_weights is not None and view_weights.dim() == 1
    partials = None
    if shared:
        n_rows = _native.cuda.fuse_views_partial_rows_cuda(points.shape[0], maps.shape[3])
        partials = points.new_zeros(n_rows, maps.shape[0], dtype=torch.float64)
    _native.cuda.fuse_views_backward_cuda(
        *first, 0 if in_order else address(grad_maps), 0 if shared or not wanted[1] else address(out[1]),
        address(out[2]) if wanted[2] else 0, *sizes, address(partials), *views.launch,
    )  # fmt: skip
    if in_order:
        to_maps = (address(grad_maps), 0, 0)
        add_sorted(
            views, lambda p: _native.cuda.fuse_views_backward_sorted_cuda(*first, *to_maps, *sizes, *p, *views.launch)
        )
    if grad_maps is not None and grad_maps is not out[0]:
        out[0].copy_(grad_maps)
    if partials is not None:
        out[1].copy_(partials.sum(0))
    return out


def _backward_fake(
    grad_mean: Tensor | None, grad_var: Tensor | None, grad_weight_sum: Tensor | None, maps: Tensor, K: Tensor,
    cam_from_world: Tensor, points: Tensor, view_weights: Tensor | None, mean: Tensor, var: Tensor,
    weight_sum: Tensor, wanted: list[bool],
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    return _grads(maps, points, view_weights, wanted)


def _grads(
    maps: Tensor, points: Tensor, view_weights: Tensor | None, wanted: list[bool], empty: Empty = empty
) -> tuple[Tensor, Tensor, Tensor]:
    grad_maps, grad_weights, grad_points = empty_grads((maps, view_weights, points), wanted, empty)
    return grad_maps, grad_weights, grad_points


_OP = define(
    "fuse_views",
    "(Tensor maps, Tensor K, Tensor cam_from_world, Tensor points, Tensor? view_weights) -> (Tensor, Tensor, Tensor)",
    cpu=_cpu, cuda=_cuda, fake=_fake,
)  # fmt: skip
_BACKWARD = define(
    "fuse_views_backward",
    "(Tensor? grad_mean, Tensor? grad_var, Tensor? grad_weight_sum, Tensor maps, Tensor K, Tensor cam_from_world, "
    "Tensor points, Tensor? view_weights, Tensor mean, Tensor var, Tensor weight_sum, bool[] wanted)"
    " -> (Tensor, Tensor, Tensor)",
    cpu=_backward_cpu, cuda=_backward_cuda, fake=_backward_fake,
)  # fmt: skip


def _setup_context(ctx, inputs, output) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs, *output)


def _backward(ctx, *grads: Tensor | None):
    maps, K, cam_from_world, points, view_weights, mean, var, weight_sum = ctx.saved_tensors
    wanted = [ctx.needs_input_grad[i] for i in (0, 4, 3)]
    out = _BACKWARD(*grads, maps, K, cam_from_world, points, view_weights, mean, var, weight_sum, wanted)
    grad_maps, grad_weights, grad_points = (g if want else None for g, want in zip(out, wanted, strict=True))
    return grad_maps, None, None, grad_points, grad_weights


differentiable("fuse_views", setup_context=_setup_context, backward=_backward)
