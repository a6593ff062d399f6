"""Surface points that other views contradict with better evidence: what an untextured surface has sunk or risen to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from uner3d.train.photos import Ranking, camera_centres

from .raster import footprint, lookup, project
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
        count = agreed.n_views[view].view(-1)[rows].float()
        against = torch.zeros_like(count)
        if len(rows):
            nearest = _nearest(maps.depth[view])
            for other in ranking[view].tolist():
                against += _contradicts(maps, agreed, view, rows, other, nearest)
        found.append(rows[count <= OUTNUMBERED * against])
    return found


def _nearest(depth: Tensor) -> Tensor:
    """The least depth (h, w) of each pixel and its neighbours, 0 where none has any: what lies before that is looked
    through, and not past an edge."""
    inverse = torch.where(depth > 0, 1 / depth, torch.zeros_like(depth))
    return (1 / F.max_pool2d(inverse[None], 3, stride=1, padding=1)[0]).nan_to_num(posinf=0.0)


def _contradicts(maps: SurfaceMaps, agreed: Agreed, view: int, rows: Tensor, other: int, nearest: Tensor) -> Tensor:
    """Whether view ``other`` contradicts the points (M,) of ``view`` at raster pixels ``rows`` (M,); ``nearest``: the
    least depths (h, w) of ``view``."""
    points, normals = agreed.points[view].view(-1, 3)[rows], agreed.normals[view].view(-1, 3)[rows]
    count, size = agreed.n_views[view].view(-1)[rows], footprint(maps, view)[rows] / maps.stride
    pixel, depth = project(maps.K[other], maps.cam_from_unit[other], points)
    seen, valid = lookup(maps.depth[other], pixel)
    height, width = maps.depth.shape[1:]
    column, row = pixel.nan_to_num(-1, -1, -1).floor().long().clamp(-1, max(height, width)).unbind(1)
    column, row = column.clamp(0, width - 1), row.clamp(0, height - 1)
    valid &= (depth > 0) & agreed.kept[other][row, column]
    valid &= agreed.n_views[other][row, column] > STRONGER * count
    behind = (seen - depth) / size
    ray = torch.cat([pixel, torch.ones_like(depth)[:, None]], 1) @ maps.K[other].inverse().T * seen[:, None]
    shown = (ray - maps.cam_from_unit[other][:, 3]) @ maps.cam_from_unit[other][:, :3]
    back, back_depth = project(maps.K[view], maps.cam_from_unit[view], shown)
    own, is_surface = lookup(nearest, back)
    no_occluder = is_surface & (back_depth > 0) & (own - back_depth > APART * size)
    alike = (agreed.normals[other][row, column] * normals).sum(-1) > ALIKE
    towards = F.normalize(camera_centres(maps.cam_from_unit[other, None]) - points, dim=-1)
    facing = (towards * normals).sum(-1) > 0  # else a rounded surface hides its own far side
    no_occluder |= alike & facing & (behind > -REACH)
    return valid & ((behind > APART) | ((behind < -APART) & no_occluder))
