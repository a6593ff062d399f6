"""Surface points that other views contradict with better evidence: what an untextured surface has sunk or risen to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from uner3d.train.photos import Ranking, camera_centres

from .raster import footprint, lookup, project, raster_place, unproject
from .surface import SurfaceMaps

if TYPE_CHECKING:
    from .agree import Agreed

APART = 3.0  # photo pixels along a ray from which two surfaces are not the same one
STRONGER = 1.5  # times as many views hold what contradicts a point
OUTNUMBERED = 4.0  # views that hold a point for each that contradicts it
ALIKE, REACH = 0.7, 25.0  # cosine between the normals of one surface at two depths; photo pixels between them


def contradicted(maps: SurfaceMaps, agreed: Agreed, ranking: Ranking) -> list[Tensor]:
    """For each view the kept raster pixels (M,), counted row by row, whose points are contradicted.

    A few views can agree on a wrong place of a surface without texture, since one field made all their depths; the
    views on every side of them then show it elsewhere, and agree about it in greater number. Such a view contradicts
    a point where it looks through it, and where it shows something before it that is no occluder: the point's own view
    looks through that, or it faces the same way and lies just before the point (a roof and what sank below it).
    ``ranking``: for each view those that are asked. Decides on what is kept at the call; changes nothing.
    """
    most = max((len(row) for row in ranking), default=0) + 1
    found = []
    for view in range(len(maps.depth)):
        rows = (agreed.kept[view] & (agreed.n_views[view] * STRONGER < most)).view(-1).nonzero()[:, 0]
        against = _against(maps, agreed, view, rows, ranking[view])
        found.append(rows[agreed.n_views[view].view(-1)[rows] <= OUTNUMBERED * against])
    return found


def _nearest(depth: Tensor) -> Tensor:
    """The least depth (h, w) of each pixel and its neighbours, 0 where none has any: what lies before that is looked
    through, and not past an edge."""
    inverse = torch.where(depth > 0, 1 / depth, torch.zeros_like(depth))
    return (1 / F.max_pool2d(inverse[None], 3, stride=1, padding=1)[0]).nan_to_num(posinf=0.0)


def _against(maps: SurfaceMaps, agreed: Agreed, view: int, rows: Tensor, near: Tensor) -> Tensor:
    """How many of the views ``near`` contradict the points of ``view`` at raster pixels ``rows`` (M,): (M,)."""
    points, normals = agreed.points[view].view(-1, 3)[rows], agreed.normals[view].view(-1, 3)[rows]
    count, size = agreed.n_views[view].view(-1)[rows], footprint(maps, view)[rows] / maps.stride
    K, poses, nearest = maps.K, maps.cam_from_unit, _nearest(maps.depth[view])
    against = torch.zeros(len(rows))
    for other in near.tolist():
        pixel, depth = project(K[other], poses[other], points)
        seen, valid = lookup(maps.depth[other], pixel)
        row, column, _ = raster_place(pixel, *nearest.shape)
        valid &= (depth > 0) & agreed.kept[other][row, column]
        valid &= agreed.n_views[other][row, column] > STRONGER * count
        behind = (seen - depth) / size
        shown, shown_depth = project(K[view], poses[view], unproject(K[other], poses[other], pixel, seen))
        own, is_surface = lookup(nearest, shown)
        no_occluder = is_surface & (shown_depth > 0) & (own - shown_depth > APART * size)
        alike = (agreed.normals[other][row, column] * normals).sum(-1) > ALIKE
        towards = camera_centres(poses[other, None]) - points
        facing = (towards * normals).sum(-1) > 0  # else a rounded surface hides its own far side
        no_occluder |= alike & facing & (behind > -REACH)
        against += valid & ((behind > APART) | ((behind < -APART) & no_occluder))
    return against
