"""Plain-torch twin of idw."""

from __future__ import annotations

import torch
from torch import Tensor

from .knn import knn


def idw(
    points: Tensor,
    values: Tensor,
    queries: Tensor,
    k: int = 8,
    power: float = 2.0,
    eps: float | None = None,
    weights: Tensor | None = None,
    normals: Tensor | None = None,
    query_normals: Tensor | None = None,
    max_radius: float | None = None,
) -> Tensor:
    """See :func:`uner3d.ops.idw`; the formula as it stands, so evaluate in float64."""
    if points.shape[0] == 0:
        return values.new_zeros(queries.shape[0], values.shape[1])
    dist2, idx = knn(points, queries, k, max_radius)
    found = idx >= 0
    idx = idx.clamp_min(0)
    counts = found & _same_side(idx, found, normals, query_normals)
    own = torch.where(counts, 1.0 if weights is None else weights[idx], 0.0)
    dist2 = torch.where(found, dist2, 1.0)
    softening = _spacing_eps(dist2, found, power) if eps is None else torch.full_like(dist2[:, :1], eps)
    coincident = (dist2 == 0) & (softening == 0)
    on_point = (coincident & (own > 0)).any(1, keepdim=True)
    distance = torch.where(dist2 > 0, dist2, 1.0).sqrt()  # the root has no derivative at 0
    denominator = torch.where(dist2 > 0, distance**power, 0.0) + softening
    share = torch.where(coincident, 0.0, own / torch.where(coincident, 1.0, denominator))
    share = torch.where(on_point, torch.where(coincident, own, 0.0), share)
    total = share.sum(1, keepdim=True)
    share = share / torch.where(total > 0, total, 1.0)
    return torch.einsum("mk,mkc->mc", share, values[idx])


def _same_side(idx: Tensor, found: Tensor, normals: Tensor | None, query_normals: Tensor | None) -> Tensor:
    if normals is None or query_normals is None:
        return found
    positive = found & (torch.einsum("mkd,md->mk", normals[idx], query_normals) > 0)
    return torch.where(positive.any(1, keepdim=True), positive, found)


def _spacing_eps(dist2: Tensor, found: Tensor, power: float) -> Tensor:
    """(half the distance of the farthest neighbour over the root of how many there are)^power, (M, 1), detached."""
    farthest2 = torch.where(found, dist2, 0.0).amax(1, keepdim=True).detach()
    return (0.25 * farthest2 / found.sum(1, keepdim=True).clamp_min(1)) ** (power / 2)
