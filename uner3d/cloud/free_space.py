"""Free space that photos prove: where one shows the bare background, nothing visible stands in the way."""

from __future__ import annotations

import torch
from torch import Tensor

from .raster import project
from .surface import SurfaceMaps

BARE = 0.1  # largest difference of a channel from the background's colour in a pixel that shows nothing else
DISTINCT = 0.2  # difference from which on a surface could not be taken for the background
OCCLUDED = 0.01  # relative depth by which another surface must lie in front to hide a point
CHUNK = 1 << 18  # points at a time


def bare_pixels(photos, background: Tensor) -> Tensor:
    """Pixels (V, H, W) of the photos that show the ``background`` (3,) alone."""
    return torch.stack([(image.float() / 255 - background).abs().amax(-1) <= BARE for image in photos.images])


@torch.no_grad()
def contradictions(points: Tensor, colours: Tensor, maps: SurfaceMaps, photos, bare: Tensor,
                   background: Tensor) -> Tensor:  # fmt: skip
    """In how many views each point (N, 3) of the unit frame, of colour (N, 3), would hide a background that the photo
    shows: (N,) int64. Points that look like the background contradict nothing."""
    count = torch.zeros(len(points), dtype=torch.int64)
    distinct = ((colours - background).abs().amax(-1) > DISTINCT).nonzero()[:, 0]
    height, width = photos.size
    rows, columns = maps.depth.shape[1:]
    for part in distinct.split(CHUNK):
        x = points[part]
        for view in range(len(photos)):
            pixel, z = project(photos.K[view], maps.cam_from_unit[view], x)
            column, row = pixel.nan_to_num(-1, -1, -1).floor().long().clamp(-1, max(height, width)).unbind(1)
            inside = (z > 0) & (column >= 0) & (row >= 0) & (column < width) & (row < height)
            column, row = column.clamp(0, width - 1), row.clamp(0, height - 1)
            in_front = maps.depth[view][(row // maps.stride).clamp(max=rows - 1),
                                        (column // maps.stride).clamp(max=columns - 1)]  # fmt: skip
            hidden = (in_front > 0) & (in_front < z * (1 - OCCLUDED))
            count[part] += inside & ~hidden & bare[view, row, column]
    return count
