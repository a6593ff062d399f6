"""Plain-torch twin of sample_views."""

from __future__ import annotations

from torch import Tensor

from ._views import bilinear, project


def sample_views(maps: Tensor, K: Tensor, cam_from_world: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """See :func:`uner3d.ops.sample_views`."""
    u, v, _, valid = project(K, cam_from_world, points, maps.shape[1], maps.shape[2])
    return bilinear(maps, u, v).masked_fill(~valid[..., None], 0.0), valid
