"""What the ops over views share: checks of the cameras and the sizes that the kernels take."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ._check import check_tensor


def check_maps(name: str, value: object, shape: tuple[int | str, ...], sizes: dict[str, int]) -> Tensor:
    """Check a float tensor that starts the argument list and fixes the dtype and device of the others."""
    check_tensor(name, value, shape, sizes=sizes)
    assert isinstance(value, Tensor)  # for the type checker; check_tensor has refused all else
    return value


def check_views(K: object, cam_from_world: object, points: object, like: Tensor, sizes: dict[str, int]) -> None:
    """Check the cameras and points: shapes, and the dtype and device of ``like``."""
    check_tensor("K", K, ("V", 3, 3), like=like, sizes=sizes)
    check_tensor("cam_from_world", cam_from_world, ("V", 3, 4), like=like, sizes=sizes)
    check_tensor("points", points, ("N", 3), like=like, sizes=sizes)


def address(tensor: Tensor | None) -> int:
    """Where the data starts, 0 for None; ``tensor`` must be contiguous and outlive the call."""
    return 0 if tensor is None else tensor.data_ptr()


def contiguous(*tensors: Tensor | None) -> tuple[Tensor | None, ...]:
    """Each tensor laid out as the kernels expect; None stays None."""
    return tuple(None if t is None else t.contiguous() for t in tensors)


def empty_grads(inputs: Sequence[Tensor | None], wanted: Sequence[bool]) -> tuple[Tensor, ...]:
    """A contiguous tensor for the gradient of each wanted input, an empty one (an op cannot return None) for others."""
    like = next(t for t in inputs if t is not None)
    return tuple(
        torch.empty_like(t, memory_format=torch.contiguous_format) if want and t is not None else like.new_empty(0)
        for t, want in zip(inputs, wanted, strict=True)
    )
