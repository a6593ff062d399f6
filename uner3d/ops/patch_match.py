"""Stereo matching without learning: depths and normals of one view refined until the photos agree."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from uner3d import _C

from ._check import check_range, check_single_precision, check_tensor
from ._register import cuda_kernel, cuda_scratch, cuda_stream, define, typed
from ._views import address, check_images, contiguous

MAX_SOURCES: int = _C.max_patch_sources


def patch_match(
    images: Tensor,
    K: Tensor,
    cam_from_world: Tensor,
    reference: int,
    sources: Tensor,
    depth: Tensor,
    normal: Tensor,
    depth_range: tuple[float, float],
    *,
    iterations: int = 3,
    reach: float = 4.0,
    n_best: int = 3,
    side: int = 5,
    step: int = 2,
    least_variance: float = 6e-5,
    seed: int = 0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Refine the depth and normal of every pixel of one view by slanted-window matching against other views.

    A pixel's hypothesis is its tangent plane, which maps a window of ``side`` x ``side`` samples into each source; its
    score is the mean of the ``n_best`` normalised cross-correlations, so that sources which do not see the surface are
    passed over. Samples weigh less the more their grey differs from the centre's. Every iteration tries the planes of
    eight pixels nearby and three random perturbations, on the two colours of a chessboard in turn. Bleyer et al. 2011
    (slanted windows), Galliani et al. 2015 (red-black propagation); the scoring by the best few is ours.

    Args:
        images: (V, H, W) grey, usually in [0, 1]; float32, on the CPU also float64.
        K: (V, 3, 3) pinhole matrices in pixels of the images; centres of pixels at +0.5.
        cam_from_world: (V, 3, 4), x right, y down, z forward.
        reference: the view whose depths are refined.
        sources: (S,) int64, views to match it with, 1 <= S <= 31, the reference not among them; always on the CPU.
        depth: (H, W) z-depths to start from, in scene units. Pixels without one (not positive or finite) are left out.
        normal: (H, W, 3) in the world, of any length; those that do not face the camera count as facing it squarely.
        depth_range: nearest and farthest depth allowed.
        iterations: 0 only scores what is given.
        reach: pixels in the sources by which the first iteration moves a depth at most; halved each time.
        n_best: correlations averaged, at most 8; all where there are fewer sources.
        side, step: samples along a side of the window (1, 3, 5 or 7), and pixels between them.
        least_variance: of the grey values in a window, below which the pixel keeps its plane: it has no texture.
        seed: of the perturbations, which depend on it, the pixel and the iteration alone.

    Returns:
        depth (H, W), 0 where left out; normal (H, W, 3), unit length, towards the camera; score (H, W) in [-1, 1];
        chosen (H, W) int32, bit i set where source i correlates by 0.5 or more. Nothing is differentiable. The result
        depends on neither the number of threads nor chance; that of a GPU differs in the last bits of the scores, so
        that single pixels may end at another plane. There the call does not wait for the device.

    Raises:
        TypeError, ValueError: naming the argument, what was expected and what came.
    """
    sizes: dict[str, int] = {}
    check_images(images, K, cam_from_world, sizes)
    check_tensor("depth", depth, ("H", "W"), like=images, sizes=sizes)
    check_tensor("normal", normal, ("H", "W", 3), like=images, sizes=sizes)
    views = _check_sources(sources, reference, images)
    near, far = depth_range
    if not (0 < near <= far and math.isfinite(far)):
        raise ValueError(f"depth_range: expected 0 < near <= far, both finite, got {near}, {far}")
    for name, value, low, high in (("iterations", iterations, 0, 100), ("n_best", n_best, 1, 8), ("step", step, 1, 64)):
        check_range(name, value, low, high)
    if side not in (1, 3, 5, 7):
        raise ValueError(f"side: expected 1, 3, 5 or 7, got {side}")
    if not (reach >= 0 and math.isfinite(reach)):
        raise ValueError(f"reach: expected a finite number of pixels from 0, got {reach}")
    return _OP(images, K, cam_from_world, reference, views, depth, normal, near, far, iterations, reach,
               min(n_best, len(views)), side, step, least_variance, seed)  # fmt: skip


def _check_sources(sources: Tensor, reference: int, images: Tensor) -> list[int]:
    """The views as numbers, which the host has to know to launch the matching."""
    n_views = images.shape[0]
    check_tensor("sources", sources, ("S",), dtype=torch.int64)
    if sources.device.type != "cpu":
        raise ValueError(f"sources: expected device cpu, got {sources.device}")
    if not 0 <= reference < n_views:
        raise ValueError(f"reference: expected a view from 0 to {n_views - 1}, got {reference}")
    if not 1 <= len(sources) <= MAX_SOURCES:
        raise ValueError(f"sources: expected 1 to {MAX_SOURCES} views, got {len(sources)}")
    views = sources.tolist()
    for view in views:
        if not 0 <= view < n_views or view == reference:
            raise ValueError(f"sources: expected views from 0 to {n_views - 1} other than {reference}, got {view}")
    return views


def _cpu(images: Tensor, *args: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return _run(typed("patch_match_forward", images), images, *args, tail=(torch.get_num_threads(),))


def _cuda(images: Tensor, *args: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    check_single_precision("images", images)
    scratch = cuda_scratch(images, cuda_kernel("patch_match_scratch")(images.shape[1] * images.shape[2]))
    tail = (scratch.data_ptr(), *cuda_stream(images))
    return _run(cuda_kernel("patch_match_forward"), images, *args, tail=tail)


def _run(
    kernel: Callable, images: Tensor, K: Tensor, cam_from_world: Tensor, reference: int, sources: list[int],
    depth: Tensor, normal: Tensor, near: float, far: float, iterations: int, reach: float, n_best: int, side: int,
    step: int, least_variance: float, seed: int, *, tail: tuple[int, ...],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    out = tuple(torch.empty_like(t, memory_format=torch.contiguous_format) for t in (depth, normal, depth))
    chosen = torch.empty_like(depth, dtype=torch.int32, memory_format=torch.contiguous_format)
    images, K, cam_from_world, depth, normal = contiguous(  # type: ignore[assignment]
        images, K, cam_from_world, depth, normal
    )
    views = torch.tensor(sources, dtype=torch.int64, device="cpu")
    kernel(
        address(images), address(K), address(cam_from_world), *images.shape, reference, address(views), len(views),
        address(depth), address(normal), *map(address, out), address(chosen), near, far, reach, least_variance, n_best,
        side, step, iterations, seed % 2**32, *tail,
    )  # fmt: skip
    return *out, chosen  # type: ignore[return-value]


def _fake(
    images: Tensor, K: Tensor, cam_from_world: Tensor, reference: int, sources: list[int], depth: Tensor,
    normal: Tensor, near: float, far: float, iterations: int, reach: float, n_best: int, side: int, step: int,
    least_variance: float, seed: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    out = (torch.empty_like(t, memory_format=torch.contiguous_format) for t in (depth, normal, depth))
    return *out, torch.empty_like(depth, dtype=torch.int32, memory_format=torch.contiguous_format)  # type: ignore[return-value]


_OP = define(
    "patch_match",
    "(Tensor images, Tensor K, Tensor cam_from_world, int reference, int[] sources, Tensor depth, Tensor normal, "
    "float near, float far, int iterations, float reach, int n_best, int side, int step, float least_variance, "
    "int seed) -> (Tensor, Tensor, Tensor, Tensor)",
    cpu=_cpu,
    cuda=_cuda,
    fake=_fake,
)
