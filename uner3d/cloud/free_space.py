"""Free space that photos prove: where one shows the bare background, nothing visible stands in the way."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from uner3d.train.photos import shows

from .raster import project, raster_place
from .surface import SurfaceMaps

BARE = 0.1  # largest difference of a channel from the background's colour in a pixel that shows nothing else
DISTINCT = 0.2  # difference from which on a surface could not be taken for the background
OCCLUDED = 0.01  # relative depth by which another surface must lie in front to hide a point
INNER = 2  # pixels of the raster from an outline, within which what is not thin has inner ones
CHUNK = 1 << 18  # points at a time
BLACK, RIM = 0.1, 0.165  # brightest channel of a black background, and of a silhouette's blurred rim before it
LEAST_AREA = 0.001  # of the photo: smaller dark regions are cracks and shadows


def is_black(background: Tensor) -> bool:
    """Whether an unlit surface could not be told from the ``background`` (3,)."""
    return float(background.max()) < BLACK


def bare_pixels(photos, background: Tensor) -> Tensor:
    """Pixels (V, H, W) of the photos that show the ``background`` (3,) alone.

    A black background is where an unlit object ends, too: what hangs together with a large black region is taken to be
    background up to the brightness ``RIM`` (thresholds with hysteresis, Canny 1986), so that the blurred rim of an
    object's silhouette counts as what it mostly shows.
    """
    bare = torch.stack([~shows(image.float() / 255, background, BARE) for image in photos.images])
    if is_black(background):
        for mask, image in zip(bare, photos.images, strict=True):
            dark = image.amax(-1) < 255 * RIM
            mask |= torch.from_numpy(_regions_with(dark.numpy(), mask.numpy(), LEAST_AREA * mask.numel()))
    return bare


def _regions_with(mask: np.ndarray, seeds: np.ndarray, least: float) -> np.ndarray:
    """The connected regions of ``mask`` (H, W) of at least ``least`` pixels among ``seeds`` (H, W)."""
    from scipy.ndimage import label

    regions, n_regions = label(mask)
    sizes = np.bincount(regions[seeds & mask], minlength=n_regions + 1)
    sizes[0] = 0
    return sizes[regions] >= max(least, 1)


def mixed_pixels(kept: Tensor, bare: Tensor, stride: int) -> Tensor:
    """Raster pixels (h, w) beside the bare background (H, W) of a photo, whose colours are the background's in part:
    the same surface is seen better from elsewhere. Where no ``kept`` pixel (h, w) within INNER of the raster is free of
    the background, as in what is thin, they are all that is there, and none of these."""
    height, width = kept.shape
    beside = F.max_pool2d(bare[None].float(), 2 * stride + 1, 1, stride)[0] > 0
    half = stride // 2
    beside = beside[half::stride, half::stride][:height, :width]
    inside = F.max_pool2d((kept & ~beside)[None].float(), 2 * INNER + 1, 1, INNER)[0] > 0
    return beside & inside


@torch.no_grad()
def contradictions(points: Tensor, colours: Tensor, maps: SurfaceMaps, photos, bare: Tensor,
                   background: Tensor) -> Tensor:  # fmt: skip
    """In how many views each point (N, 3) of the unit frame, of colour (N, 3), would hide a background that the photo
    shows: (N,) int64. Points that look like the background contradict nothing."""
    count = torch.zeros(len(points), dtype=torch.int64)
    distinct = shows(colours, background, DISTINCT).nonzero()[:, 0]
    height, width = photos.size
    rows, columns = maps.depth.shape[1:]
    for part in distinct.split(CHUNK):
        x = points[part]
        for view in range(len(photos)):
            pixel, z = project(photos.K[view], maps.cam_from_unit[view], x)
            row, column, inside = raster_place(pixel, height, width)
            in_front = maps.depth[view][(row // maps.stride).clamp(max=rows - 1),
                                        (column // maps.stride).clamp(max=columns - 1)]  # fmt: skip
            hidden = (in_front > 0) & (in_front < z * (1 - OCCLUDED))
            count[part] += inside & (z > 0) & ~hidden & bare[view, row, column]
    return count
