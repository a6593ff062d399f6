"""Plain-torch twin of knn: every distance, then a stable sort."""

from __future__ import annotations

import torch
from torch import Tensor

_CHUNK = 1 << 22  # distances at a time


def knn(points: Tensor, queries: Tensor, k: int, max_radius: float | None = None) -> tuple[Tensor, Tensor]:
    """See :func:`uner3d.ops.knn`; equal to it bit by bit in the same dtype."""
    rows = max(1, _CHUNK // max(points.shape[0], 1))
    parts = [_knn_chunk(points, chunk, k, max_radius) for chunk in queries.split(rows)]
    return torch.cat([dist2 for dist2, _ in parts]), torch.cat([idx for _, idx in parts])


def _knn_chunk(points: Tensor, queries: Tensor, k: int, max_radius: float | None) -> tuple[Tensor, Tensor]:
    dx, dy, dz = (points[None] - queries[:, None]).unbind(-1)
    dist2 = (dx * dx + dy * dy) + dz * dz
    idx = dist2.detach().sort(dim=1, stable=True).indices[:, :k]
    dist2 = dist2.gather(1, idx)
    near = torch.isfinite(dist2)
    if max_radius is not None:
        radius = torch.tensor(max_radius, dtype=points.dtype)
        near &= dist2 <= radius * radius
    dist2 = torch.where(near, dist2, torch.inf)
    idx = torch.where(near, idx, -1)
    missing = k - idx.shape[1]
    if missing > 0:
        dist2 = torch.nn.functional.pad(dist2, (0, missing), value=torch.inf)
        idx = torch.nn.functional.pad(idx, (0, missing), value=-1)
    return dist2, idx
