"""Rays of pixels and where they cross a box; plain torch, differentiable."""

from __future__ import annotations

import torch
from torch import Tensor


def pixel_rays(K: Tensor, cam_from_world: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Rays in world coordinates through pixels, so parametrised that t is the depth z in the camera.

    The point at depth t is origin + t * direction; directions have z = 1 in the camera's frame (no unit length).

    Args:
        K: (3, 3) pinhole matrix in pixels, or (N, 3, 3), one per pixel. Skew is respected.
        cam_from_world: (3, 4), or (N, 3, 4), rotation and translation, x right, y down, z forward.
        pixels: (N, 2), x then y; the centre of the pixel in row i and column j is (j + 0.5, i + 0.5).

    Returns:
        origins (N, 3) in the world's unit, directions (N, 3).

    Raises:
        ValueError: naming the argument, what was expected and what came.

    >>> K = torch.tensor([[100.0, 0, 50], [0, 100, 50], [0, 0, 1]])
    >>> pixel_rays(K, torch.eye(4)[:3], torch.tensor([[50.0, 50], [150, 50]]))[1]
    tensor([[0., 0., 1.],
            [1., 0., 1.]])
    """
    n = _rows("pixels", pixels, 2)
    _check_camera("K", K, n, 3)
    _check_camera("cam_from_world", cam_from_world, n, 4)
    y = (pixels[:, 1] - K[..., 1, 2]) / K[..., 1, 1]
    x = (pixels[:, 0] - K[..., 0, 2] - K[..., 0, 1] * y) / K[..., 0, 0]
    rotation, translation = cam_from_world[..., :3], cam_from_world[..., 3]
    in_camera = torch.stack([x, y, torch.ones_like(x)], -1)
    directions = (in_camera[:, None, :] @ rotation).squeeze(-2)  # a row times R is R^T times a column
    origins = -(translation[..., None, :] @ rotation).squeeze(-2)
    return origins.expand(n, 3), directions


def ray_box(origins: Tensor, directions: Tensor, box: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays enter and leave an axis-aligned box (slab method, Kay and Kajiya 1986).

    Args:
        origins: (N, 3).
        directions: (N, 3), any length; zero components are allowed.
        box: (2, 3), lowest corner, highest corner.

    Returns:
        t0 (N,), t1 (N,): the part of the ray from t0 to t1 is inside, t0 >= 0 (it starts at the origin where that is
        inside). t1 <= t0 where the ray misses.

    Raises:
        ValueError: naming the argument, what was expected and what came.
    """
    n = _rows("origins", origins, 3)
    if _rows("directions", directions, 3) != n:
        raise ValueError(f"directions: expected shape ({n}, 3) as origins, got {tuple(directions.shape)}")
    if box.shape != (2, 3):
        raise ValueError(f"box: expected shape (2, 3), lowest and highest corner, got {tuple(box.shape)}")
    # A ray parallel to a slab crosses it for all t or for none, which 0 / 0 on its border would leave undecided.
    parallel = directions == 0
    safe = torch.where(parallel, torch.ones_like(directions), directions)
    low, high = (box[0] - origins) / safe, (box[1] - origins) / safe
    inside = (origins >= box[0]) & (origins <= box[1])
    unbounded = torch.where(inside, torch.inf, -torch.inf).to(low.dtype)
    enter = torch.where(parallel, -unbounded, torch.minimum(low, high)).amax(-1).clamp(min=0)
    leave = torch.where(parallel, unbounded, torch.maximum(low, high)).amin(-1)
    missed = leave < enter
    return torch.where(missed, torch.zeros_like(enter), enter), torch.where(missed, torch.zeros_like(leave), leave)


def _rows(name: str, value: Tensor, width: int) -> int:
    if value.dim() != 2 or value.shape[1] != width:
        raise ValueError(f"{name}: expected shape (N, {width}), got {tuple(value.shape)}")
    return value.shape[0]


def _check_camera(name: str, value: Tensor, n: int, width: int) -> None:
    if value.shape not in ((3, width), (n, 3, width)):
        raise ValueError(f"{name}: expected shape (3, {width}) or ({n}, 3, {width}), got {tuple(value.shape)}")
