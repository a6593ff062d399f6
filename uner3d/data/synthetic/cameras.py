"""Where the photos are taken from: pinhole cameras around the object, in OpenGL axes (x right, y up, z backward)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))


@dataclass(frozen=True)
class Viewpoint:
    """A pinhole camera: ``focal`` in pixels, the principal point in the middle, ``world_from_camera`` (4, 4) OpenGL."""

    width: int
    height: int
    focal: float
    world_from_camera: NDArray[np.float64]

    @property
    def center(self) -> Tensor:
        """The camera's place in the world (3,)."""
        return torch.from_numpy(self.world_from_camera[:3, 3].astype(np.float32))

    def directions(self, u: Tensor, v: Tensor) -> Tensor:
        """Unit directions (3, N), in the world, of the rays through image positions u, v (N,) in pixels."""
        x = (u - self.width / 2) / self.focal
        y = (self.height / 2 - v) / self.focal
        scale = torch.rsqrt(x * x + y * y + 1)
        r = self.world_from_camera[:3, :3]
        rows = [(x * float(r[k, 0]) + y * float(r[k, 1]) - float(r[k, 2])) * scale for k in range(3)]
        return torch.stack(rows)

    def project(self, p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Image position u, v in pixels and depth along the view axis, each (N,), of world points (3, N)."""
        m = torch.from_numpy(self.world_from_camera).to(p.dtype)
        q = m[:3, :3].T @ (p - m[:3, 3:])
        depth = -q[2]
        return self.width / 2 + self.focal * q[0] / depth, self.height / 2 - self.focal * q[1] / depth, depth


def camera_distance(radius: float, fov_degrees: float, width: int, height: int, fill: float = 0.8) -> float:
    """How far to stand so that a ball of that radius fills a share of the smaller image side (a shape in it less)."""
    focal = width / 2 / math.tan(math.radians(fov_degrees) / 2)
    return radius / math.sin(math.atan(fill * min(width, height) / 2 / focal))


def place_cameras(
    n: int,
    distance: float,
    radius: float,
    size: tuple[int, int],
    fov_degrees: float,
    table: bool,
    rng: np.random.Generator,
) -> list[Viewpoint]:
    """Cameras on a golden spiral over the sphere, or over a band above the table, each jittered, all looking inward.

    ``distance`` from the origin, ``radius`` of the object; ``rng`` draws the jitter and the spiral's start.
    """
    start = rng.uniform(0, 2 * math.pi)
    low, high = (0.12, 0.92) if table else (-0.96, 0.96)
    width, height = size
    focal = width / 2 / math.tan(math.radians(fov_degrees) / 2)
    views = []
    for k in range(n):
        jitter = rng.uniform(-1, 1, 6)
        y = np.clip(low + (high - low) * (k + 0.5 + 0.3 * jitter[0]) / n, low, high)
        azimuth = start + k * _GOLDEN_ANGLE + 0.1 * jitter[1]
        ring = math.sqrt(1 - y * y)
        direction = np.array([ring * math.cos(azimuth), y, ring * math.sin(azimuth)])
        center = direction * distance * (1 + 0.03 * jitter[2])
        views.append(Viewpoint(width, height, focal, look_at(center, 0.02 * radius * jitter[3:])))
    return views


def look_at(center: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """World from camera (4, 4), OpenGL axes, y up; the caller keeps off the poles."""
    back = center - target
    back /= np.linalg.norm(back)
    right = np.cross([0.0, 1.0, 0.0], back)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(back, right), back], 1)
    pose[:3, 3] = center
    return pose
