"""Cells of the box that no silhouette rules out: the visual hull (Laurentini 1994), generously."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from uner3d import ops

from .photos import PhotoSet


@torch.no_grad()
def carve(photos: PhotoSet, extent: Tensor, n: int, chunk: int = 1 << 16) -> Tensor | None:
    """Cells (n, n, n) bool that every view which sees them could cover with its mask; None without masks.

    First at a quarter of the resolution, then only where that left something. Masks are dilated by a cell's radius, so
    that thin parts survive.
    """
    if photos.masks is None:
        return None
    coarse = _carve_cells(photos, extent, _centres(n // 4, extent), n // 4, chunk).view(1, 1, n // 4, n // 4, n // 4)
    candidates = F.interpolate(coarse.float(), size=(n, n, n), mode="nearest").view(-1) > 0
    allowed = torch.zeros(n**3, dtype=torch.bool, device=photos.device)
    index = candidates.nonzero()[:, 0]
    allowed[index] = _carve_cells(photos, extent, _centres(n, extent)[index], n, chunk)
    return allowed.view(n, n, n)


class Silhouettes:
    """Membership in the visual hull, exact to the masks' pixels: what ``carve`` bounds to a cell, a point is asked."""

    def __init__(self, photos: PhotoSet) -> None:
        if photos.masks is None:
            raise ValueError("silhouettes need masks")
        self.masks = photos.masks.float() / 255
        self.K, self.pose = photos.K, photos.cam_from_unit
        # One view in thirty may be wrong about a point: real masks are.
        self.dissenters = len(photos) // 30

    @torch.no_grad()
    def contain(self, x: Tensor) -> Tensor:
        """Whether points (N, 3) lie in the masks (at one half) of all views that see them, but for a few: (N,) bool."""
        height, width = self.masks.shape[1:]
        inside = ops.view_weights(x, self.K, self.pose, height, width)
        covered = ops.view_weights(x, self.K, self.pose, height, width, masks=self.masks)
        return ((inside > 0) & (covered < 0.5)).sum(1) <= self.dissenters


def _centres(n: int, extent: Tensor) -> Tensor:
    axis = (torch.arange(n, device=extent.device) + 0.5) / n * 2 - 1
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).view(-1, 3) * extent


def _carve_cells(photos: PhotoSet, extent: Tensor, centres: Tensor, n: int, chunk: int) -> Tensor:
    if photos.masks is None:
        raise ValueError("carving needs masks")
    height, width = photos.size
    pose = photos.cam_from_unit
    depth = pose[:, 2, 3].clamp_min(1e-3)  # of the box's centre in each camera
    cell_pixels = float((photos.K[:, 0, 0] / depth).max() * (extent.norm() / n))
    radius = int(cell_pixels) + 1
    masks = (photos.masks.float()[:, None] > 64).float()
    # Two passes of a separable window: one large square window would be quadratic in the radius.
    masks = F.max_pool2d(masks, (2 * radius + 1, 1), stride=1, padding=(radius, 0))
    masks = F.max_pool2d(masks, (1, 2 * radius + 1), stride=1, padding=(0, radius))[:, 0].contiguous()
    out = []
    for x in centres.split(chunk):
        inside = ops.view_weights(x, photos.K, pose, height, width)
        masked = ops.view_weights(x, photos.K, pose, height, width, masks=masks)
        out.append(((inside == 0) | (masked > 0)).all(1) & (inside > 0).any(1))
    return torch.cat(out)
