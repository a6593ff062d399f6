"""Projection and bilinear sampling in plain torch, for the twins of the ops over views."""

from __future__ import annotations

import torch
from torch import Tensor


def project(
    K: Tensor, cam_from_world: Tensor, points: Tensor, height: int, width: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pixel coordinates u, v, depth z and whether the point is seen, each (N, V); u = v = 0 where it is not."""
    xyz_in_cam = torch.einsum("vij,nj->nvi", cam_from_world[:, :, :3], points) + cam_from_world[:, :, 3]
    x, y, z = xyz_in_cam.unbind(-1)
    safe_z = torch.where(z > 0, z, torch.ones_like(z))
    u = (K[:, 0, 0] * x + K[:, 0, 1] * y + K[:, 0, 2] * z) / safe_z
    v = (K[:, 1, 1] * y + K[:, 1, 2] * z) / safe_z
    seen = (z > 0) & (u >= 0) & (u < width) & (v >= 0) & (v < height)
    zero = torch.zeros_like(u)
    return torch.where(seen, u, zero), torch.where(seen, v, zero), z, seen


def centres(cam_from_world: Tensor) -> Tensor:
    """Camera centres (V, 3); without a product that autocast would round."""
    return -(cam_from_world[:, :, :3] * cam_from_world[:, :, 3:]).sum(1)


def taps(maps: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The four pixels around (u, v) (N, V) in ``maps`` (V, H, W, C), each (N, V, C), and both fractions (N, V, 1)."""
    n_views, height, width = maps.shape[:3]
    view = torch.arange(n_views)
    x0, y0 = torch.floor(u.detach() - 0.5), torch.floor(v.detach() - 0.5)
    ax, ay = (u - 0.5 - x0)[..., None], (v - 0.5 - y0)[..., None]
    left, right = (i.clamp(0, width - 1).long() for i in (x0, x0 + 1))
    top, bottom = (i.clamp(0, height - 1).long() for i in (y0, y0 + 1))
    corners = (maps[view, row, column] for row in (top, bottom) for column in (left, right))
    return *corners, ax, ay  # type: ignore[return-value]


def bilinear(maps: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Bilinear samples (N, V, C), edge pixels repeated beyond the outermost centres."""
    if 0 in maps.shape[1:3]:
        return maps.new_zeros(*u.shape, maps.shape[-1])
    p00, p01, p10, p11, ax, ay = taps(maps, u, v)
    return (1 - ay) * ((1 - ax) * p00 + ax * p01) + ay * ((1 - ax) * p10 + ax * p11)
