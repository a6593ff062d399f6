"""Any density: new points on the agreed surface, thinned to an even spacing, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from uner3d import ops

from .agree import Agreed
from .surface import SurfaceMaps

BATCH = 1 << 16  # candidates at a time
OVERSAMPLING = 0.6  # candidate distance over thinning radius: dense enough to fill the surface
SPACING_OF_RADIUS = 0.85  # thinning radius over the mean nearest-neighbour distance it leads to


@dataclass
class Quads:
    """Surface patches between four neighbouring raster pixels of a view: corners (Q, 4, 3), normals (Q, 4, 3),
    confidence (Q,), n_views (Q,) uint8, size (Q,): longest edge; view (Q,)."""

    corners: Tensor
    normals: Tensor
    confidence: Tensor
    n_views: Tensor
    size: Tensor
    view: Tensor


def surface_quads(maps: SurfaceMaps, agreed: Agreed) -> Quads:
    """All quads whose four corners are kept and lie on one surface, and of which this view is the best observer."""
    parts = []
    for view in range(maps.depth.shape[0]):
        depth = maps.depth[view]
        corners, normals = _corners(agreed.points[view]), _corners(agreed.normals[view])
        taps = _corners(depth[..., None])[..., 0]
        ok = _corners(agreed.kept[view][..., None])[..., 0].all(1) & (taps.amax(1) < 1.03 * taps.amin(1))
        ok &= _corners(agreed.owner[view][..., None])[..., 0].any(1)
        if not ok.any():
            continue
        corners, normals = corners[ok], normals[ok]
        edges = (corners - corners[:, [1, 3, 0, 2]]).norm(dim=-1).amax(1)
        confidence = _corners(agreed.confidence[view][..., None])[ok, :, 0].mean(1)
        n_views = _corners(agreed.n_views[view][..., None])[ok, :, 0].amin(1)
        parts.append((corners, normals, confidence, n_views, edges, torch.full((len(corners),), view)))
    if not parts:
        empty = torch.zeros(0)
        return Quads(torch.zeros(0, 4, 3), torch.zeros(0, 4, 3), empty, empty.to(torch.uint8), empty, empty.long())
    return Quads(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _corners(raster: Tensor) -> Tensor:
    """(h, w, C) -> ((h - 1) (w - 1), 4, C): upper left, upper right, lower left, lower right."""
    channels = raster.shape[-1]
    taps = [raster[:-1, :-1], raster[:-1, 1:], raster[1:, :-1], raster[1:, 1:]]
    return torch.stack([tap.reshape(-1, channels) for tap in taps], 1)


def candidates(quads: Quads, radius: float) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Batches of candidate points: positions (B, 3), their quads (B,) and barycentric coordinates (B, 2), jittered on a
    raster finer than ``radius``; the same sequence every time, whatever the batch's size."""
    n_sides = (quads.size / (OVERSAMPLING * radius)).ceil().clamp(min=1).long()
    for n_side in torch.unique(n_sides).tolist():
        members = (n_sides == n_side).nonzero()[:, 0]
        generator = torch.Generator().manual_seed(n_side)
        cell = torch.stack(torch.meshgrid(torch.arange(n_side), torch.arange(n_side), indexing="ij"), -1).view(-1, 2)
        per_quad = n_side * n_side
        for some in members.split(max(1, BATCH // per_quad)):
            # Very large quads are cut further, so that one batch stays a batch.
            for cells in cell.split(BATCH):
                jitter = torch.rand(len(some), len(cells), 2, generator=generator)
                uv = ((cells + jitter) / n_side).view(-1, 2)
                quad = some.repeat_interleave(len(cells))
                yield _bilinear(quads.corners[quad], uv), quad, uv


def _bilinear(corners: Tensor, uv: Tensor) -> Tensor:
    u, v = uv[:, :1], uv[:, 1:]
    top = corners[:, 0] * (1 - u) + corners[:, 1] * u
    return top * (1 - v) + (corners[:, 2] * (1 - u) + corners[:, 3] * u) * v


def thin(quads: Quads, radius: float, limit: int | None = None) -> tuple[int, list[np.ndarray]]:
    """Poisson-disk thinning of all candidates: how many are kept, and which (per batch, a bit per candidate)."""
    thinner = ops.PoissonThinner(radius, capacity_hint=limit or 1 << 16, origin=torch.zeros(3, dtype=torch.float64))
    masks = []
    for points, _, _ in candidates(quads, radius):
        masks.append(np.packbits(thinner.insert(points).numpy()))
    return thinner.count, masks


def kept_rows(bits: np.ndarray, n_candidates: int) -> Tensor:
    """Indices of the kept candidates of a batch, from what ``thin`` returned for it."""
    return torch.from_numpy(np.unpackbits(bits, count=n_candidates).nonzero()[0])


def expected_count(quads: Quads, radius: float) -> float:
    """About how many points thinning by ``radius`` keeps."""
    return 0.7 * float((quads.size.double() ** 2).sum()) / radius**2


def radius_for_count(quads: Quads, n_points: int) -> tuple[float, int, list[np.ndarray]]:
    """Thinning radius that keeps at least ``n_points`` (and not many more), with the count and the masks it gives.

    The number of points on a surface goes with 1 / radius^2; a thin trial fixes the constant, then the exact count is
    approached from above.
    """
    radius = math.sqrt(expected_count(quads, 1.0) / max(1, min(n_points, 50_000)))
    for _ in range(12):
        trial, _ = thin(quads, radius)
        if trial >= min(n_points, 2_000) or n_points < 10:
            break
        radius *= 0.6
    radius *= math.sqrt(trial / n_points) * 0.985
    for _ in range(20):
        count, masks = thin(quads, radius, n_points)
        if n_points <= count <= 1.06 * n_points + 10:
            break
        radius *= math.sqrt(max(count, 1) / n_points) * (0.99 if count < n_points else 0.985)
    return radius, count, masks


def attributes(quads: Quads, quad: Tensor, uv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Normals (B, 3), confidence (B,) and n_views (B,) of candidates."""
    return F.normalize(_bilinear(quads.normals[quad], uv), dim=-1), quads.confidence[quad], quads.n_views[quad]
