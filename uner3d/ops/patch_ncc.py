"""How well a slanted window around a pixel agrees with other views: a loss on depths and normals."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ._check import check_range, check_single_precision, check_tensor
from ._output import empty, empty_cpu
from ._register import cuda_kernel, cuda_scratch, cuda_stream, define, differentiable, typed
from ._views import address, check_images, contiguous
from .patch_match import MAX_SOURCES


def patch_ncc(
    images: Tensor,
    K: Tensor,
    cam_from_world: Tensor,
    views: Tensor,
    pixels: Tensor,
    depth: Tensor,
    normal: Tensor,
    sources: Tensor,
    *,
    side: int = 5,
    step: int = 2,
) -> Tensor:
    """Normalised cross-correlation of the window around each pixel with each source, over the pixel's tangent plane.

    The window lies on whole pixels of the view and is mapped into a source by the homography of the plane, where it is
    sampled bilinearly; samples weigh less the farther off they are and the more their grey differs from the centre's,
    and those outside an image take its border. Correlation as in ``patch_match``, which maximises it. Bleyer et al.
    2011 (slanted windows); Darmon et al. 2022 (warped patches as a loss on a rendered surface).

    Differentiable in ``depth`` and ``normal``: a gradient is that of the bilinear samples, piecewise smooth, and the
    edge weights, which belong to the photo, take none. Not differentiable in the others.

    Args:
        images: (V, H, W) grey, usually in [0, 1]; float32, on the CPU also float64.
        K: (V, 3, 3) pinhole matrices in pixels of the images; centres of pixels at +0.5.
        cam_from_world: (V, 3, 4), x right, y down, z forward.
        views: (N,) int64, the view of each pixel.
        pixels: (N, 2) int64, whole column and row.
        depth: (N,) z-depths in scene units.
        normal: (N, 3) in the world, of any length; one that does not face the camera counts as facing it squarely and
            gets no gradient.
        sources: (S,) int64, views to correlate with, at most 31, on the same device.
        side, step: samples along a side of the window (1, 3, 5 or 7), and pixels between them.

    Returns:
        (N, S) in [-1, 1]: -1, without gradient, where the source does not see the pixel's point or is its own view, and
        where a number of a view, a pixel or a depth is not valid.

    Raises:
        TypeError, ValueError: naming the argument, what was expected and what came.
    """
    sizes: dict[str, int] = {}
    check_images(images, K, cam_from_world, sizes)
    check_tensor("views", views, ("N",), dtype=torch.int64, like=images, sizes=sizes)
    check_tensor("pixels", pixels, ("N", 2), dtype=torch.int64, like=images, sizes=sizes)
    check_tensor("depth", depth, ("N",), like=images, sizes=sizes)
    check_tensor("normal", normal, ("N", 3), like=images, sizes=sizes)
    check_tensor("sources", sources, ("S",), dtype=torch.int64, like=images)
    if len(sources) > MAX_SOURCES:
        raise ValueError(f"sources: expected at most {MAX_SOURCES} views, got {len(sources)}")
    if side not in (1, 3, 5, 7):
        raise ValueError(f"side: expected 1, 3, 5 or 7, got {side}")
    check_range("step", step, 1, 64)
    return _OP(images, K, cam_from_world, views, pixels, depth, normal, sources, side, step)


def _call(kernel: Callable, inputs: tuple[Tensor, ...], side: int, step: int, rest: tuple[int, ...]) -> None:
    images, K, cam_from_world, views, pixels, depth, normal, sources = inputs
    kernel(
        address(images), address(K), address(cam_from_world), *images.shape, address(views), address(pixels),
        address(depth), address(normal), len(depth), address(sources), len(sources), side, step, *rest,
    )  # fmt: skip


def _on_cuda(inputs: tuple[Tensor, ...]) -> tuple[Tensor, tuple[int, int, int]]:
    """Scratch memory, and the last arguments of the launchers."""
    images, sources = inputs[0], inputs[-1]
    check_single_precision("images", images)
    scratch = cuda_scratch(images, cuda_kernel("patch_ncc_scratch")(len(images), len(sources)))
    return scratch, (scratch.data_ptr(), *cuda_stream(images))


def _split(args: tuple) -> tuple[tuple[Tensor, ...], int, int]:
    return contiguous(*args[:8]), args[8], args[9]  # type: ignore[return-value]


def _cpu(*args) -> Tensor:
    inputs, side, step = _split(args)
    scores = empty_cpu(inputs[5], (len(inputs[5]), len(inputs[7])))
    _call(typed("patch_ncc_forward", inputs[0]), inputs, side, step, (address(scores), torch.get_num_threads()))
    return scores


def _cuda(*args) -> Tensor:
    inputs, side, step = _split(args)
    scores = _fake(*args)
    _scratch, launch = _on_cuda(inputs)
    _call(cuda_kernel("patch_ncc_forward"), inputs, side, step, (address(scores), *launch))
    return scores


def _fake(images, K, cam_from_world, views, pixels, depth, normal, sources, side, step) -> Tensor:
    return empty(depth, (depth.shape[0], sources.shape[0]))


def _backward_cpu(grad: Tensor, *args) -> tuple[Tensor, Tensor]:
    (inputs, side, step), grad = _split(args), grad.contiguous()
    out = empty_cpu(inputs[5], inputs[5].shape), empty_cpu(inputs[6], inputs[6].shape)
    rest = (address(grad), *map(address, out), torch.get_num_threads())
    _call(typed("patch_ncc_backward", inputs[0]), inputs, side, step, rest)
    return out


def _backward_cuda(grad: Tensor, *args) -> tuple[Tensor, Tensor]:
    (inputs, side, step), grad = _split(args), grad.contiguous()
    out = _backward_fake(grad, *args)
    _scratch, launch = _on_cuda(inputs)
    _call(cuda_kernel("patch_ncc_backward"), inputs, side, step, (address(grad), *map(address, out), *launch))
    return out


def _backward_fake(
    grad, images, K, cam_from_world, views, pixels, depth, normal, sources, side, step
) -> tuple[Tensor, Tensor]:
    return empty(depth, depth.shape), empty(normal, normal.shape)


_ARGS = (
    "Tensor images, Tensor K, Tensor cam_from_world, Tensor views, Tensor pixels, Tensor depth, Tensor normal, "
    "Tensor sources, int side, int step"
)
_OP = define("patch_ncc", f"({_ARGS}) -> Tensor", cpu=_cpu, cuda=_cuda, fake=_fake)
_BACKWARD = define(
    "patch_ncc_backward", f"(Tensor grad, {_ARGS}) -> (Tensor, Tensor)",
    cpu=_backward_cpu, cuda=_backward_cuda, fake=_backward_fake,
)  # fmt: skip


def _setup_context(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs[:8])
    ctx.window = inputs[8:]


def _backward(ctx, grad: Tensor):
    to_depth, to_normal = _BACKWARD(grad, *ctx.saved_tensors, *ctx.window)
    needs = ctx.needs_input_grad
    return (None,) * 5 + (to_depth if needs[5] else None, to_normal if needs[6] else None) + (None,) * 3


differentiable("patch_ncc", setup_context=_setup_context, backward=_backward)
