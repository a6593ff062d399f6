"""How much each view should count at a point: angle, mask and visibility in one pass."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from . import _native
from ._check import FLOATS, check_tensor
from ._output import Empty, empty, empty_cpu
from ._register import define, differentiable, typed
from ._views import (
    CudaViews,
    add_sorted,
    address,
    check_pixels,
    check_views,
    contiguous,
    cuda_views,
    empty_grads,
)


def view_weights(
    points: Tensor,
    K: Tensor,
    cam_from_world: Tensor,
    height: int,
    width: int,
    depths: Tensor | None = None,
    masks: Tensor | None = None,
    directions: Tensor | None = None,
    angle_power: float = 8.0,
    depth_tolerance: float = 0.01,
) -> Tensor:
    """Weight of every view at every point: inside x angle x mask x visibility.

    - inside: 1 where the point lies in front of the camera and projects into [0, width) x [0, height), else 0;
    - angle, with ``directions``: max(0, cos)^angle_power of the angle between the direction given for the point and the
      direction from the view's camera centre to the point (a view along the target ray counts most);
    - mask, with ``masks``: its bilinear sample;
    - visibility, with ``depths``: with z the depth of the point in the view, d the bilinear sample of its depth map and
      r = z / d - 1, clamp(2 - r / depth_tolerance, 0, 1): 1 up to the tolerance behind the surface, 0 from twice that.
      Where one of the four pixels is not finite or not positive the depth is unknown and the visibility 1.

    On CUDA the gradients of ``masks`` and ``depths`` are summed by atomics, or, under
    ``torch.use_deterministic_algorithms(True)``, in the order of the points from sorted (point, view) pairs.

    Args:
        points: (N, 3) float32 or float64 (CPU), float32 (CUDA), in the world.
        K: (V, 3, 3) pinhole matrices [fx s cx; 0 fy cy; 0 0 1] in pixels of (height, width) images.
        cam_from_world: (V, 3, 4), x right, y down, z forward.
        height, width: size of the images, masks and depth maps, in pixels.
        depths: (V, height, width) depths along the camera's z axis, in scene units.
        masks: (V, height, width), usually in [0, 1].
        directions: (N, 3) unit vectors of the target rays, pointing away from the target camera.
        angle_power: not negative.
        depth_tolerance: positive, relative to the depth.

    Returns:
        (N, V), differentiable (once) in ``points``, ``directions``, ``masks`` and ``depths``, not in the cameras;
        whether a point is inside or a depth known is taken as fixed.

    Raises:
        TypeError, ValueError: naming the argument, what was expected and what came.

    >>> K, pose = torch.tensor([[[1.0, 0, 1], [0, 1, 1], [0, 0, 1]]]), torch.eye(3, 4)[None]
    >>> points = torch.tensor([[0.0, 0, 1.000], [0, 0, 1.015], [0, 0, 1.1], [9, 0, 1]])
    >>> view_weights(points, K, pose, 2, 2, depths=torch.ones(1, 2, 2))[:, 0]
    tensor([1.0000, 0.5000, 0.0000, 0.0000])
    """
    sizes: dict[str, int] = {}
    on_cuda = isinstance(points, Tensor) and points.is_cuda
    check_tensor("points", points, ("N", 3), dtype=torch.float32 if on_cuda else FLOATS, sizes=sizes)
    check_views(K, cam_from_world, points, points, sizes)
    for name, size in (("height", height), ("width", width)):
        if not isinstance(size, int) or size < 0:
            raise ValueError(f"{name}: expected an integer from 0, got {size!r}")
    check_pixels(height, width)
    for name, maps in (("depths", depths), ("masks", masks)):
        if maps is not None:
            check_tensor(name, maps, ("V", height, width), like=points, sizes=sizes)
    if directions is not None:
        check_tensor("directions", directions, ("N", 3), like=points, sizes=sizes)
    if not (angle_power >= 0 and math.isfinite(angle_power)):
        raise ValueError(f"angle_power: expected a finite value from 0, got {angle_power}")
    if not (depth_tolerance > 0 and math.isfinite(depth_tolerance)):
        raise ValueError(f"depth_tolerance: expected a finite value above 0, got {depth_tolerance}")
    return _OP(points, K, cam_from_world, height, width, depths, masks, directions, angle_power, depth_tolerance)


def _cpu(
    points: Tensor, K: Tensor, cam_from_world: Tensor, height: int, width: int, depths: Tensor | None,
    masks: Tensor | None, directions: Tensor | None, angle_power: float, depth_tolerance: float,
) -> Tensor:  # fmt: skip
    out = empty_cpu(points, (points.shape[0], K.shape[0]))
    inputs = contiguous(points, K, cam_from_world, depths, masks, directions)
    typed("view_weights_forward", points)(
        *map(address, inputs), angle_power, depth_tolerance, out.data_ptr(), K.shape[0], height, width,
        points.shape[0], torch.get_num_threads(),
    )  # fmt: skip
    return out


def _cuda(
    points: Tensor, K: Tensor, cam_from_world: Tensor, height: int, width: int, depths: Tensor | None,
    masks: Tensor | None, directions: Tensor | None, angle_power: float, depth_tolerance: float,
) -> Tensor:  # fmt: skip
    views = cuda_views(K, cam_from_world, points, (K.shape[0], height, width))
    out = points.new_empty(points.shape[0], K.shape[0])
    maps = _cuda_maps(depths, masks, directions)
    _native.cuda.view_weights_forward_cuda(
        *_cuda_inputs(views, maps), angle_power, depth_tolerance, out.data_ptr(), *views.sizes, points.shape[0],
        *views.launch,
    )  # fmt: skip
    return out


def _cuda_maps(*maps: Tensor | None) -> tuple[Tensor | None, ...]:
    for name, tensor in zip(("depths", "masks", "directions"), maps, strict=True):
        if tensor is not None and tensor.dtype != torch.float32:
            raise TypeError(f"{name}: expected float32 on CUDA, got {tensor.dtype}")
    return contiguous(*maps)


def _cuda_inputs(views: CudaViews, maps: tuple[Tensor | None, ...]) -> tuple[int, ...]:
    """The first arguments of both CUDA kernels; the tensors are contiguous."""
    return tuple(map(address, (views.points, views.K, views.cam_from_world, *maps)))


def _fake(
    points: Tensor, K: Tensor, cam_from_world: Tensor, height: int, width: int, depths: Tensor | None,
    masks: Tensor | None, directions: Tensor | None, angle_power: float, depth_tolerance: float,
) -> Tensor:  # fmt: skip
    return points.new_empty(points.shape[0], K.shape[0])


def _backward_cpu(
    grad: Tensor, points: Tensor, K: Tensor, cam_from_world: Tensor, height: int, width: int, depths: Tensor | None,
    masks: Tensor | None, directions: Tensor | None, angle_power: float, depth_tolerance: float, wanted: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    out = _grads(points, directions, masks, depths, wanted, empty_cpu)
    inputs, grad = contiguous(points, K, cam_from_world, depths, masks, directions), grad.contiguous()
    typed("view_weights_backward", points)(
        *map(address, inputs), angle_power, depth_tolerance, grad.data_ptr(),
        *(address(t) if want else 0 for t, want in zip(out, wanted, strict=True)),
        K.shape[0], height, width, points.shape[0], torch.get_num_threads(),
    )  # fmt: skip
    return out


def _backward_cuda(
    grad: Tensor, points: Tensor, K: Tensor, cam_from_world: Tensor, height: int, width: int, depths: Tensor | None,
    masks: Tensor | None, directions: Tensor | None, angle_power: float, depth_tolerance: float, wanted: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    views = cuda_views(K, cam_from_world, points, (K.shape[0], height, width))
    out = _grads(points, directions, masks, depths, wanted)
    maps, grad = _cuda_maps(depths, masks, directions), grad.contiguous()
    first = (*_cuda_inputs(views, maps), angle_power, depth_tolerance, grad.data_ptr())
    to_points = tuple(address(t) if want else 0 for t, want in zip(out[:2], wanted[:2], strict=True))
    to_maps = tuple(address(t.zero_()) if want else 0 for t, want in zip(out[2:], wanted[2:], strict=True))
    in_order = any(wanted[2:]) and torch.are_deterministic_algorithms_enabled()
    sizes = (*views.sizes, points.shape[0])
    _native.cuda.view_weights_backward_cuda(
        *first, *to_points, *((0, 0) if in_order else to_maps), *sizes, *views.launch
    )
    if in_order:
        add_sorted(
            views,
            lambda p: _native.cuda.view_weights_backward_sorted_cuda(*first, 0, 0, *to_maps, *sizes, *p, *views.launch),
        )
    return out


def _backward_fake(
    grad: Tensor, points: Tensor, K: Tensor, cam_from_world: Tensor, height: int, width: int, depths: Tensor | None,
    masks: Tensor | None, directions: Tensor | None, angle_power: float, depth_tolerance: float, wanted: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    return _grads(points, directions, masks, depths, wanted)


def _grads(
    points: Tensor,
    directions: Tensor | None,
    masks: Tensor | None,
    depths: Tensor | None,
    wanted: list[bool],
    empty: Empty = empty,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    inputs = (points, directions, masks, depths)
    grad_points, grad_directions, grad_masks, grad_depths = empty_grads(inputs, wanted, empty)
    return grad_points, grad_directions, grad_masks, grad_depths


_ARGS = (
    "Tensor points, Tensor K, Tensor cam_from_world, int height, int width, Tensor? depths, Tensor? masks, "
    "Tensor? directions, float angle_power, float depth_tolerance"
)
_OP = define("view_weights", f"({_ARGS}) -> Tensor", cpu=_cpu, cuda=_cuda, fake=_fake)
_BACKWARD = define(
    "view_weights_backward", f"(Tensor grad, {_ARGS}, bool[] wanted) -> (Tensor, Tensor, Tensor, Tensor)",
    cpu=_backward_cpu, cuda=_backward_cuda, fake=_backward_fake,
)  # fmt: skip


def _setup_context(ctx, inputs, output) -> None:
    points, K, cam_from_world, height, width, depths, masks, directions, angle_power, depth_tolerance = inputs
    ctx.numbers = (height, width, angle_power, depth_tolerance)
    ctx.save_for_backward(points, K, cam_from_world, depths, masks, directions)


def _backward(ctx, grad: Tensor):
    points, K, cam_from_world, depths, masks, directions = ctx.saved_tensors
    height, width, angle_power, depth_tolerance = ctx.numbers
    wanted = [ctx.needs_input_grad[i] for i in (0, 7, 6, 5)]
    out = _BACKWARD(
        grad, points, K, cam_from_world, height, width, depths, masks, directions, angle_power, depth_tolerance, wanted
    )
    grad_points, grad_directions, grad_masks, grad_depths = (
        g if want else None for g, want in zip(out, wanted, strict=True)
    )
    return grad_points, None, None, None, None, grad_depths, grad_masks, grad_directions, None, None


differentiable("view_weights", setup_context=_setup_context, backward=_backward)
