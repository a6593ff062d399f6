"""Surfaces moved to where the photos' pixels agree: patch matching that starts from the field's depths."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from uner3d import ops
from uner3d.device import upload
from uner3d.train.photos import PhotoSet, Ranking

from .raster import lookup, raster_normals
from .surface import SurfaceMaps

SOURCES = 6
ACCEPTED = 0.5  # mean correlation from which on the photos are believed rather than the field
REACH = 3.0  # pixels by which matching may move a point in the sources at first; a field is right to one to three
WIDE = 600  # pixels of a photo, from which on a pass at half resolution finds what lies farther off
MOST_PIXELS = 24_000_000  # of all views together, beyond which the half resolution is where matching ends


def refine_surfaces(maps: SurfaceMaps, photos: dict[int, PhotoSet], ranking: Ranking, iterations: int,
                    progress: Callable[[float], None] | None = None) -> SurfaceMaps:  # fmt: skip
    """Surface maps matched between the photos (by reduction, 1 and 2) on their device, at full resolution where memory
    allows it.

    Where the photos do not correlate, for want of texture or because the sources do not see the place, the field's
    depth stays.
    """
    full = photos[1]
    n_pixels = len(full) * full.size[0] * full.size[1]
    passes = [2] if n_pixels > MOST_PIXELS else [2, 1] if full.size[1] >= WIDE else [1]
    for done, reduction in enumerate(passes):
        report = (lambda share, done=done: progress((done + share) / len(passes))) if progress else None
        maps = match_views(maps, photos[reduction], reduction, ranking, iterations, report)
    return maps


@torch.no_grad()
def match_views(maps: SurfaceMaps, photos: PhotoSet, reduction: int, ranking: Ranking, iterations: int,
                progress: Callable[[float], None] | None = None) -> SurfaceMaps:  # fmt: skip
    """One pass of patch matching on the raster of ``photos``, which are reduced by ``reduction``."""
    grey = photos.grey()
    depths, normals = torch.zeros_like(grey), grey.new_zeros(*grey.shape, 3)
    for view in range(len(photos)):
        start = resampled(maps, view, photos.K[view], grey.shape[1], grey.shape[2])
        if (start > 0).any():
            views = upload(torch.cat([torch.tensor([view]), ranking[view][:SOURCES]]), photos.device)
            depths[view], normals[view] = match_view(start, grey[views], photos.K[views], maps.cam_from_unit[views],
                                                     iterations)  # fmt: skip
        if progress:
            progress((view + 1) / len(photos))
    certainty = maps.certainty
    if certainty is not None:
        certainty = F.interpolate(certainty[:, None], size=grey.shape[1:], mode="nearest")[:, 0]
    return SurfaceMaps(depths, photos.K, maps.cam_from_unit, reduction, normals, certainty)


def match_view(start: Tensor, grey: Tensor, K: Tensor, poses: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """Depths (h, w) and normals (h, w, 3) of the first of the views ``grey`` (V, h, w), matched with the others."""
    if len(grey) < 2:
        return start, _normals(start, K[0], poses[0])
    found = start[start > 0]
    limits = (0.5 * float(found.min()), 2 * float(found.max()))
    others = torch.arange(1, len(grey), device="cpu")
    depth, normal, score, _ = ops.patch_match(grey, K, poses, 0, others, start, _normals(start, K[0], poses[0]), limits,
                                              iterations=iterations, reach=REACH)  # fmt: skip
    believed = score >= ACCEPTED
    depth = torch.where(believed, depth, start)
    return depth, torch.where(believed[..., None], normal, _normals(depth, K[0], poses[0]))


def _normals(depth: Tensor, K: Tensor, pose: Tensor) -> Tensor:
    return raster_normals(SurfaceMaps(depth[None], K[None], pose[None], 1).points(0), depth, pose)


def resampled(maps: SurfaceMaps, view: int, K: Tensor, height: int, width: int) -> Tensor:
    """Depths (height, width) of a view on the raster of another camera matrix K (3, 3) of it."""
    rows, columns = torch.arange(height, device=K.device), torch.arange(width, device=K.device)
    row, column = torch.meshgrid(rows + 0.5, columns + 0.5, indexing="ij")
    pixels = torch.stack([column, row, torch.ones_like(row)], -1).reshape(-1, 3)
    there = pixels @ (maps.K[view] @ K.inverse()).T
    depth, valid = lookup(maps.depth[view], there[:, :2])
    return torch.where(valid, depth, torch.zeros_like(depth)).view(height, width)
