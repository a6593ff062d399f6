"""The region that photos have in common, from the geometry of their cameras alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .scene import Camera

__all__ = ["CommonRegion", "bounds", "common_region", "grid_in", "sees"]

_N_GRID = 32
_N_LEVELS = 4
_MAX_CAMERAS = 64
# Depths, in units of the depth of the point that the axes converge on: an object around that point which the cameras
# are outside of cannot reach farther than twice that depth.
_NEAR, _FAR = 0.05, 2.0
# Where the axes do not converge: the disparity, as a share of the photo's width, between the cameras farthest apart.
_MAX_DISPARITY, _MIN_DISPARITY = 0.5, 0.04
_MIN_CERTAINTY = 2e-3


def sees(camera: Camera, xyz_in_world: np.ndarray, near: float = 0.0, far: float = math.inf) -> np.ndarray:
    """Which of the points (N, 3) fall into the photo with a depth between near and far, bool (N,)."""
    pixels, depth = camera.project(xyz_in_world)
    inside = (pixels >= 0).all(axis=1) & (pixels[:, 0] <= camera.width) & (pixels[:, 1] <= camera.height)
    return inside & (depth > near) & (depth <= far)


def count_views(cameras: list[Camera], xyz_in_world: np.ndarray, nears: np.ndarray, fars: np.ndarray) -> np.ndarray:
    """How many of the truncated frusta contain each point, int (N,)."""
    count = np.zeros(len(xyz_in_world), dtype=np.int64)
    for camera, near, far in zip(cameras, nears, fars, strict=True):
        count += sees(camera, xyz_in_world, near, far)
    return count


def optical_axes(cameras: list[Camera]) -> tuple[np.ndarray, np.ndarray]:
    """Centres (V, 3) and unit directions (V, 3) through the middle of each photo."""
    centers = np.stack([camera.center for camera in cameras])
    middles = np.stack([np.linalg.inv(c.K) @ [c.width / 2, c.height / 2, 1] for c in cameras])
    rotations = np.stack([camera.cam_from_world[:, :3] for camera in cameras])
    directions = np.einsum("vji,vj->vi", rotations, middles)
    return centers, directions / np.linalg.norm(directions, axis=1, keepdims=True)


def focus(centers: np.ndarray, directions: np.ndarray, n_steps: int = 20) -> tuple[np.ndarray, float]:
    """The point nearest to all axes (least sum of distances, by reweighting) and how well it is determined.

    The second value is the smallest eigenvalue of the mean of I - d d^T: 0 for parallel axes, 2/3 for a full sphere.
    """
    across = np.eye(3) - directions[:, :, None] * directions[:, None, :]
    weights = np.ones(len(centers))
    point = centers.mean(axis=0)
    certainty = float(np.linalg.eigvalsh(across.mean(axis=0))[0])
    if certainty < 1e-9:
        return point, certainty
    for _ in range(n_steps):
        A = np.einsum("v,vij->ij", weights, across)
        point = np.linalg.solve(A, np.einsum("v,vij,vj->i", weights, across, centers))
        distance = np.linalg.norm(np.einsum("vij,vj->vi", across, point - centers), axis=1)
        weights = 1.0 / np.maximum(distance, 1e-3 * distance.mean() + 1e-30)
    return point, certainty


def grid_in(box: np.ndarray, n: int = _N_GRID) -> np.ndarray:
    """Centres of n^3 equal cells of a box (2, 3), as (n^3, 3)."""
    axes = [box[0, i] + (np.arange(n) + 0.5) * (box[1, i] - box[0, i]) / n for i in range(3)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def bounds(points: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """The box (2, 3) of grid cells of size `cell` (3,) around their centres."""
    return np.stack([points.min(axis=0) - cell / 2, points.max(axis=0) + cell / 2])


@dataclass(frozen=True)
class CommonRegion:
    """box (2, 3); share: its part that the required number of views see; converges: whether the axes meet."""

    box: np.ndarray
    share: float
    converges: bool


def common_region(cameras: list[Camera], share: float = 0.9) -> CommonRegion | None:
    """The box around the points that at least `share` of the views see; None where not even two see one.

    Where the optical axes converge on a point that the views see, depth is limited to twice the distance to it; where
    they do not (cameras side by side, cameras looking outwards) to the depths at which the cameras farthest apart see
    a disparity between 4 % and 50 % of the width, and two or three views are enough.
    """
    cameras = cameras[:: math.ceil(len(cameras) / _MAX_CAMERAS)]
    centers, directions = optical_axes(cameras)
    point, certainty = focus(centers, directions)
    depth = np.einsum("vi,vi->v", point - centers, directions)
    seen = np.mean([sees(camera, point[None])[0] for camera in cameras])
    converges = certainty > _MIN_CERTAINTY and bool(np.mean(depth > 0) >= 0.9) and seen >= 0.5
    if converges:
        nears, fars = _NEAR * depth, _FAR * np.maximum(depth, np.median(depth))
        needed = math.ceil((share if seen >= 0.95 else 0.5 * seen) * len(cameras))
        reach = float(np.abs(depth).max()) * _FAR
    else:
        baseline = float(np.linalg.norm(centers[:, None] - centers[None], axis=-1).max())
        focal = np.array([camera.K[0, 0] / camera.width for camera in cameras])
        nears, fars = focal * baseline / _MAX_DISPARITY, focal * baseline / _MIN_DISPARITY
        needed = 2 if len(cameras) < 6 else 3
        point, reach = centers.mean(axis=0), float(fars.max()) * 1.5 + baseline
    start = np.stack([point - reach, point + reach])
    box, filled = _shrink(cameras, start, nears, fars, max(2, needed))
    return None if box is None else CommonRegion(box, filled, converges)


def _shrink(
    cameras: list[Camera], box: np.ndarray, nears: np.ndarray, fars: np.ndarray, needed: int
) -> tuple[np.ndarray | None, float]:
    """The box of the grid points that enough views see, refined level by level, and the share of it that they fill."""
    filled = 0.0
    for _ in range(_N_LEVELS):
        points = grid_in(box)
        cell = (box[1] - box[0]) / _N_GRID
        enough = count_views(cameras, points, nears, fars) >= needed
        if not enough.any():
            return None, 0.0
        filled = float(enough.mean())
        tight = bounds(points[enough], cell)
        # A cell more to each side: the region may reach between the last point that counts and the next.
        box = np.stack([np.maximum(box[0], tight[0] - cell), np.minimum(box[1], tight[1] + cell)])
    return box, filled
