"""Image features at the projections of points, view by view."""

from __future__ import annotations

import torch
from torch import Tensor

from ._register import define, differentiable, typed
from ._views import address, check_maps, check_views, contiguous, empty_grads


def sample_views(maps: Tensor, K: Tensor, cam_from_world: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Project points into maps and sample them bilinearly, one sample per point and view.

    The unfused sibling of :func:`fuse_views`, with the same geometry: a view sees a point that lies in front of its
    camera and projects into [0, W) x [0, H); pixel (i, j) has its centre at (j + 0.5, i + 0.5); beyond the outermost
    centres the edge pixel is repeated.

    Args:
        maps: (V, H, W, C) float32 or float64, channels last.
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
    check_views(K, cam_from_world, points, maps, sizes)
    return _OP(maps, K, cam_from_world, points)


def _cpu(maps: Tensor, K: Tensor, cam_from_world: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    out = _fake(maps, K, cam_from_world, points)
    inputs = contiguous(maps, K, cam_from_world, points)
    typed("sample_views_forward", maps)(
        *map(address, inputs), *map(address, out), *maps.shape, points.shape[0], torch.get_num_threads()
    )
    return out


def _fake(maps: Tensor, K: Tensor, cam_from_world: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    n, v = points.shape[0], maps.shape[0]
    return maps.new_empty(n, v, maps.shape[3]), maps.new_empty(n, v, dtype=torch.bool)


def _backward_cpu(
    grad: Tensor, maps: Tensor, K: Tensor, cam_from_world: Tensor, points: Tensor, wanted: list[bool]
) -> tuple[Tensor, Tensor]:
    out = _backward_fake(grad, maps, K, cam_from_world, points, wanted)
    inputs = contiguous(maps, K, cam_from_world, points, grad)
    typed("sample_views_backward", maps)(
        *map(address, inputs), *(address(t) if want else 0 for t, want in zip(out, wanted, strict=True)),
        *maps.shape, points.shape[0], torch.get_num_threads(),
    )  # fmt: skip
    return out


def _backward_fake(
    grad: Tensor, maps: Tensor, K: Tensor, cam_from_world: Tensor, points: Tensor, wanted: list[bool]
) -> tuple[Tensor, Tensor]:
    grad_maps, grad_points = empty_grads((maps, points), wanted)
    return grad_maps, grad_points


_ARGS = "Tensor maps, Tensor K, Tensor cam_from_world, Tensor points"
_OP = define("sample_views", f"({_ARGS}) -> (Tensor, Tensor)", cpu=_cpu, fake=_fake)
_BACKWARD = define(
    "sample_views_backward", f"(Tensor grad, {_ARGS}, bool[] wanted) -> (Tensor, Tensor)",
    cpu=_backward_cpu, fake=_backward_fake,
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
