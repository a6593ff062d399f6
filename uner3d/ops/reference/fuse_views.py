"""Plain-torch twin of fuse_views."""

from __future__ import annotations

import torch
from torch import Tensor

from ._views import bilinear, project


def fuse_views(
    maps: Tensor, K: Tensor, cam_from_world: Tensor, points: Tensor, view_weights: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """See :func:`uner3d.ops.fuse_views`; holds (N, V, C)."""
    u, v, _, seen = project(K, cam_from_world, points, maps.shape[1], maps.shape[2])
    weights = torch.ones_like(u) if view_weights is None else view_weights.expand_as(u).clamp(min=0)
    weights = torch.where(seen, weights, torch.zeros_like(u))
    weight_sum = weights.sum(1)
    # No weight: share and its gradient are 0.
    safe_sum = torch.where(weight_sum > 0, weight_sum, torch.full_like(weight_sum, torch.inf))
    share = (weights / safe_sum[:, None])[..., None]
    samples = bilinear(maps, u, v)
    mean = (share * samples).sum(1)
    var = (share * (samples - mean[:, None]) ** 2).sum(1)
    return mean, var, weight_sum
