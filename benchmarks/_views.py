"""What the benchmarks of the ops over views share: cameras on a ring, and eager PyTorch's way to project and sample."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from benchmarks._timing import check_close


def ring(n_views: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """K (V, 3, 3) and cam_from_world (V, 3, 4) of cameras that look at the origin from 3 units away."""
    poses = []
    for view in range(n_views):
        angle = 2 * math.pi * view / n_views
        centre = torch.tensor([3 * math.cos(angle), 3 * math.sin(angle), 1.0])
        z = -centre / centre.norm()
        x = torch.nn.functional.normalize(torch.linalg.cross(z, torch.tensor([0.0, 0.0, 1.0])), dim=0)
        rotation = torch.stack([x, torch.linalg.cross(z, x), z])
        poses.append(torch.cat([rotation, -(rotation @ centre)[:, None]], 1))
    K = torch.tensor([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1.0]])
    return K.expand(n_views, 3, 3).contiguous(), torch.stack(poses)


def inputs(n_views: int, n_points: int, n_channels: int, height: int = 150, width: int = 200) -> tuple[Tensor, ...]:
    """maps (V, H, W, C), K, cam_from_world, and points (N, 3) uniform in the cube [-1, 1]^3, in no order."""
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(n_views, height, width, n_channels, generator=generator)
    points = 2 * torch.rand(n_points, 3, generator=generator) - 1
    return maps, *ring(n_views, height, width), points


def project(K: Tensor, cam_from_world: Tensor, points: Tensor, height: int, width: int) -> tuple[Tensor, ...]:
    """The sampling grid (V, N, 2) of torch's grid_sample, depths (V, N), and which are seen (V, N)."""
    xyz_in_cam = points @ cam_from_world[:, :, :3].transpose(1, 2) + cam_from_world[:, None, :, 3]
    homogeneous = xyz_in_cam @ K.transpose(1, 2)
    z = homogeneous[..., 2]
    uv = homogeneous[..., :2] / z[..., None].clamp(min=1e-6)
    size = uv.new_tensor([width, height])
    seen = (z > 0) & (uv >= 0).all(-1) & (uv < size).all(-1)
    return uv / size * 2 - 1, z, seen


def sample(maps_nchw: Tensor, grid: Tensor) -> Tensor:
    """Samples (V, C, N) of maps (V, C, H, W)."""
    return torch.nn.functional.grid_sample(
        maps_nchw, grid[:, :, None], mode="bilinear", padding_mode="border", align_corners=False
    )[..., 0]


def off_borders(K: Tensor, cam_from_world: Tensor, points: Tensor, height: int, width: int) -> Tensor:
    """Points whose projections stay 0.01 px off the image borders, where rounding decides whether they are seen."""
    grid, _, _ = project(K, cam_from_world, points, height, width)
    uv = (grid + 1) / 2 * grid.new_tensor([width, height])
    size = grid.new_tensor([width, height])
    return ((uv.abs() > 0.01) & ((uv - size).abs() > 0.01)).all(-1).all(0)


def check_gradient(a: Tensor, b: Tensor, name: str, tol: float = 2e-3, share: float = 1e-3) -> None:
    """Compare gradients, but for a small share of points within rounding of a pixel border, where bilinear kinks."""
    wrong = ((a - b).abs() > tol * b.abs().max()).double().mean()
    check_close(wrong, torch.zeros_like(wrong), share, f"{name}: share of values off by over {tol:g} of the largest")
