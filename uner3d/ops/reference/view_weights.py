"""Plain-torch twin of view_weights."""

from __future__ import annotations

import torch
from torch import Tensor

from ._views import bilinear, centres, project, taps


def view_weights(
    points: Tensor, K: Tensor, cam_from_world: Tensor, height: int, width: int, depths: Tensor | None = None,
    masks: Tensor | None = None, directions: Tensor | None = None, angle_power: float = 8.0,
    depth_tolerance: float = 0.01,
) -> Tensor:  # fmt: skip
    """See :func:`uner3d.ops.view_weights`."""
    u, v, z, seen = project(K, cam_from_world, points, height, width)
    weights = torch.ones_like(u)
    if directions is not None:
        rays = torch.nn.functional.normalize(points[:, None] - centres(cam_from_world), dim=-1)
        weights = weights * (rays * directions[:, None]).sum(-1).clamp(min=0) ** angle_power
    if masks is not None:
        weights = weights * bilinear(masks[..., None], u, v)[..., 0]
    if depths is not None:
        weights = weights * _visibility(depths, u, v, z, depth_tolerance)
    return torch.where(seen, weights, torch.zeros_like(u))


def _visibility(depths: Tensor, u: Tensor, v: Tensor, z: Tensor, tolerance: float) -> Tensor:
    if 0 in depths.shape[1:]:
        return torch.ones_like(u)
    corners = torch.cat(taps(depths[..., None], u, v)[:4], -1)
    known = ((corners > 0) & corners.isfinite()).all(-1)
    fill = torch.ones((), dtype=depths.dtype)
    depth = torch.where(known, bilinear(torch.where(depths.isfinite(), depths, fill)[..., None], u, v)[..., 0], fill)
    visible = (2 - (z / depth - 1) / tolerance).clamp(0, 1)
    return torch.where(known, visible, torch.ones_like(u))
