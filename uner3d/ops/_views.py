"""What the ops over views share: checks of the cameras, and what their CUDA kernels take besides the tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor

from . import _native
from ._check import FLOATS, check_tensor
from ._output import Empty
from ._output import empty as torch_empty
from ._register import cuda_stream

MAP_DTYPES = (torch.float32, torch.float16, torch.bfloat16)  # on CUDA, in the order of MapType in csrc/ops/views.h
_PAIRS_AT_ONCE = 1 << 24  # sorted together: bounds the memory of deterministic gradients of maps to 0.5 GiB


def check_maps(name: str, value: object, shape: tuple[int | str, ...], sizes: dict[str, int]) -> Tensor:
    """Check maps, which start the argument list and fix the device of the others, and on the CPU their dtype."""
    on_cuda = isinstance(value, Tensor) and value.is_cuda
    check_tensor(name, value, shape, dtype=MAP_DTYPES if on_cuda else FLOATS, sizes=sizes)
    return cast(Tensor, value)


def like_points(maps: Tensor) -> dict:
    """What ``check_tensor`` is to ask of all tensors but the maps: their dtype on the CPU, float32 on CUDA."""
    return {"like": maps, "dtype": torch.float32} if maps.is_cuda else {"like": maps}


def check_pixels(height: int, width: int) -> None:
    """Check that the kernels can count the pixels of one map in 32 bits."""
    if height * width > 2**31 - 1:
        raise ValueError(f"height * width: expected at most 2^31 - 1 pixels a view, got {height} * {width}")


def check_images(images: object, K: object, cam_from_world: object, sizes: dict[str, int]) -> None:
    """Check grey images (V, H, W) and their cameras, which start the argument list of the ops that match windows."""
    dtype = torch.float32 if isinstance(images, Tensor) and images.is_cuda else FLOATS
    check_tensor("images", images, ("V", "H", "W"), dtype=dtype, sizes=sizes)
    like = cast(Tensor, images)
    check_pixels(*like.shape[1:])
    check_tensor("K", K, ("V", 3, 3), like=like, sizes=sizes)
    check_tensor("cam_from_world", cam_from_world, ("V", 3, 4), like=like, sizes=sizes)


def check_views(K: object, cam_from_world: object, points: object, like: Tensor, sizes: dict[str, int]) -> None:
    """Check the cameras and points: shapes, and the dtype and device that go with ``like``."""
    check_tensor("K", K, ("V", 3, 3), **like_points(like), sizes=sizes)
    check_tensor("cam_from_world", cam_from_world, ("V", 3, 4), **like_points(like), sizes=sizes)
    check_tensor("points", points, ("N", 3), **like_points(like), sizes=sizes)


def address(tensor: Tensor | None) -> int:
    """Where the data starts, 0 for None; ``tensor`` must be contiguous and outlive the call."""
    return 0 if tensor is None else tensor.data_ptr()


def contiguous(*tensors: Tensor | None) -> tuple[Tensor | None, ...]:
    """Each tensor laid out as the kernels expect; None stays None."""
    return tuple(None if t is None else t.contiguous() for t in tensors)


def empty_grads(
    inputs: Sequence[Tensor | None], wanted: Sequence[bool], empty: Empty = torch_empty
) -> tuple[Tensor, ...]:
    """A contiguous tensor for the gradient of each wanted input, an empty one (an op cannot return None) for others."""
    like = next(t for t in inputs if t is not None)
    return tuple(
        empty(t, t.shape) if want and t is not None else like.new_empty(0)
        for t, want in zip(inputs, wanted, strict=True)
    )


class CudaViews(NamedTuple):
    """What every CUDA kernel over views needs; the tensors are contiguous."""

    K: Tensor
    cam_from_world: Tensor
    points: Tensor
    sizes: tuple[int, int, int]
    """Views, height and width."""
    launch: tuple[int, int, int, int]
    """Type of the maps, scratch, device and stream: the last arguments of the launchers."""
    scratch: Tensor
    """For the cameras; the caching allocator may reuse it once the stream is past the kernels that read it."""


def cuda_views(
    K: Tensor, cam_from_world: Tensor, points: Tensor, sizes: tuple[int, int, int], maps: Tensor | None = None
) -> CudaViews:
    """Scratch and launch arguments on torch's current stream."""
    for name, tensor in (("K", K), ("cam_from_world", cam_from_world), ("points", points)):
        if tensor.dtype != torch.float32:
            raise TypeError(f"{name}: expected float32 on CUDA, got {tensor.dtype}")
    if maps is not None and maps.dtype not in MAP_DTYPES:
        raise TypeError(f"maps: expected float32, float16 or bfloat16 on CUDA, got {maps.dtype}")
    map_type = 0 if maps is None else MAP_DTYPES.index(maps.dtype)
    scratch = points.new_empty(K.shape[0] * _native.cuda.camera_floats)
    launch = (map_type, scratch.data_ptr(), *cuda_stream(points))
    return CudaViews(K.contiguous(), cam_from_world.contiguous(), points.contiguous(), sizes, launch, scratch)


def add_sorted(views: CudaViews, add: Callable[[tuple[int, int, int, int]], None]) -> None:
    """Call ``add`` with sorted (point, view) pairs, a chunk at a time: gradients of maps without atomics.

    The keys say into which pixel a pair falls; a stable sort keeps the order of the points within a pixel.
    """
    n_points, n_views = views.points.shape[0], views.K.shape[0]
    at_once = max(1, _PAIRS_AT_ONCE // max(1, n_views))
    for first in range(0, n_points, at_once):
        n = min(at_once, n_points - first)
        keys = torch.empty(n * n_views, dtype=torch.int64, device=views.points.device)
        _native.cuda.view_pair_keys_cuda(
            views.points[first:].data_ptr(), views.K.data_ptr(), views.cam_from_world.data_ptr(), *views.sizes, n,
            keys.data_ptr(), *views.launch,
        )  # fmt: skip
        keys, order = torch.sort(keys, stable=True)
        add((keys.data_ptr(), order.data_ptr(), n * n_views, first))


def zeroed_accumulator(grad_maps: Tensor) -> Tensor:
    """float32 zeros for kernels to add the gradient of maps to: ``grad_maps`` itself where it is float32."""
    return grad_maps.zero_() if grad_maps.dtype == torch.float32 else torch.zeros_like(grad_maps, dtype=torch.float32)
