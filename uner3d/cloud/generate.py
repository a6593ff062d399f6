"""From a trained run to a cloud on disk, point by point, in the user's frame."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from uner3d import ops
from uner3d.train.photos import PhotoSet, Ranking, UnitFrame

from .agree import Agreed
from .ply import PlyWriter
from .raster import footprint
from .resample import (
    SPACING_OF_RADIUS,
    attributes,
    candidates,
    expected_count,
    kept_rows,
    radius_for_count,
    surface_quads,
    thin,
)
from .surface import SurfaceMaps

COLOUR_SOURCES = 6
MOST_POINTS = 2**31 - 1


class EmptyCloud(Exception):
    """No point survived; the message says which evidence was missing."""


@dataclass
class CloudResult:
    """What was written: number of points, their mean spacing in world units."""

    n_points: int
    spacing: float


def write_cloud(path: Path, maps: SurfaceMaps, agreed: Agreed, photos: PhotoSet, ranking: Ranking, frame: UnitFrame, *,
                n_points: int | None = None, spacing: float | None = None,
                progress: Callable[[float], None] | None = None) -> CloudResult:  # fmt: skip
    """Write the surface at the density asked for: ``n_points`` (exact), or ``spacing`` in world units, or by default
    half a photo pixel's footprint. Raises EmptyCloud where the views agree on nothing, ValueError where the density
    would make more than 2^31 - 1 points.
    """
    quads = surface_quads(maps, agreed)
    if len(quads.size) == 0:
        raise EmptyCloud(explain(maps, agreed))
    if n_points is not None and n_points > MOST_POINTS:
        raise ValueError(f"points: expected at most {MOST_POINTS:,}, got {n_points:,}")
    if n_points is not None:
        radius, count, masks = radius_for_count(quads, n_points)
    else:
        mean = spacing / frame.half if spacing is not None else 0.5 * pixel_footprint(maps)
        radius = mean * SPACING_OF_RADIUS
        expected = expected_count(quads, radius)
        if expected > MOST_POINTS:
            raise ValueError(f"spacing: expected at most {MOST_POINTS:,} points, got {mean * frame.half:.3g} scene "
                             f"units: about {expected:.1g}")  # fmt: skip
        count, masks = thin(quads, radius)
    wanted = min(count, n_points) if n_points is not None else count
    written, seen = 0, 0
    scale = float(abs(frame.center).max() + frame.half)
    with PlyWriter(path, double=scale > 2**20 * radius * frame.half) as writer:
        for mask, (points, quad, uv) in zip(masks, candidates(quads, radius), strict=True):
            kept = kept_rows(mask, len(points))
            if count > wanted:  # the surplus of a percent or two is dropped evenly
                rank = torch.arange(seen, seen + len(kept))
                kept_here = ((rank + 1) * wanted) // count > (rank * wanted) // count
                seen += len(kept)
                kept = kept[kept_here]
            if len(kept) == 0:
                continue
            points, quad, uv = points[kept], quad[kept], uv[kept]
            normals, confidence, n_views = attributes(quads, quad, uv)
            rgb = photo_colours(points, normals, quads.view[quad], maps, photos, ranking)
            writer.write(frame.to_world(points.numpy()), normals.numpy(), (rgb * 255 + 0.5).to(torch.uint8).numpy(),
                         confidence.numpy(), n_views.numpy())  # fmt: skip
            written += len(points)
            if progress:
                progress(written / wanted)
    return CloudResult(written, radius / SPACING_OF_RADIUS * frame.half)


def photo_colours(points: Tensor, normals: Tensor, views: Tensor, maps: SurfaceMaps, photos: PhotoSet,
                  ranking: Ranking) -> Tensor:  # fmt: skip
    """Colours (N, 3): of the least oblique photos that see the points unoccluded, the observing view among them."""
    out = torch.empty(len(points), 3)
    for view in torch.unique(views).tolist():
        index = (views == view).nonzero()[:, 0]
        used = torch.cat([torch.tensor([view]), ranking[view][: COLOUR_SOURCES - 1]])
        x, n = points[index], normals[index]
        images = photos.images[used].float() / 255
        height, width = maps.depth.shape[1:]
        visible = ops.view_weights(x, maps.K[used], maps.cam_from_unit[used], height, width,
                                   depths=maps.depth[used].contiguous(), directions=-n, angle_power=4.0,
                                   depth_tolerance=0.01)  # fmt: skip
        rgb, valid = ops.sample_views(images, photos.K[used], photos.cam_from_unit[used], x)
        weight = visible * valid
        weight[:, 0] = weight[:, 0] + 1e-3
        out[index] = (weight[..., None] * rgb).sum(1) / weight.sum(1, keepdim=True)
    return out.clamp(0, 1)


def pixel_footprint(maps: SurfaceMaps) -> float:
    """Median width of a photo pixel on the surface, unit frame."""
    sizes = torch.cat([footprint(maps, view)[maps.depth[view].view(-1) > 0] for view in range(len(maps.depth))])
    return float(sizes.median()) / maps.stride if len(sizes) else math.nan


def explain(maps: SurfaceMaps, agreed: Agreed) -> str:
    """Why a cloud came out empty."""
    surface = int((maps.depth > 0).sum())
    if surface == 0:
        return "the field holds no surface inside the box: train longer, or give a box with --box"
    return (
        f"the views agree on none of the {surface} surface points: "
        f"{int((agreed.n_views > 1).sum())} were met by another view, {int(agreed.kept.sum())} by enough of them; "
        "check the camera poses, or train longer"
    )
