"""Whether the photos that see a point show its colour: what windows of matching cannot tell at an outline."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from uner3d import ops

from .surface import SurfaceMaps

VISIBLE, DEPTH_TOLERANCE = 0.5, 0.01
CHUNK = 20_000  # points at a time: bounds the memory of one view
LEAST_PIXELS = 100  # that two photos must both show before their exposures are compared


@torch.no_grad()
def colour_deviation(photos, view: int, near: Tensor, points: Tensor, rows: Tensor, columns: Tensor,
                     maps: SurfaceMaps) -> Tensor:  # fmt: skip
    """How far (N,) the colours that other photos show at points (N, 3) lie outside those of the own photo within a
    raster pixel of (rows, columns): the median over the views ``near`` (M,) that see the point; 0 where none does.

    A window that reaches across an outline correlates by the outline and puts what lies beside it at the depth of the
    foreground; other views then show another piece of the background there. Photos may differ in exposure: a gain a
    channel is taken out of each pair.
    """
    if len(near) == 0:
        return torch.zeros(len(points))
    height, width = maps.depth.shape[1:]
    visible = ops.view_weights(points, maps.K[near], maps.cam_from_unit[near], height, width,
                               depths=maps.depth[near].contiguous(), depth_tolerance=DEPTH_TOLERANCE)  # fmt: skip
    images, cameras = photos.images[near].float() / 255, (photos.K[near], photos.cam_from_unit[near])
    own = photos.images[view].permute(2, 0, 1)[None].float() / 255
    side = 2 * maps.stride + 1  # an error of a pixel of the raster costs nothing
    low, high = -F.max_pool2d(-own, side, 1, side // 2)[0], F.max_pool2d(own, side, 1, side // 2)[0]
    low, high, middle = (image[:, rows, columns].T for image in (low, high, own[0]))
    some = torch.arange(0, len(points), max(1, len(points) // CHUNK))
    seen, valid = ops.sample_views(images, *cameras, points[some])
    gains = _gains(middle[some], seen, (visible[some] > VISIBLE) & (valid > 0))
    result = torch.empty(len(points))
    for chunk in torch.arange(len(points)).split(CHUNK):
        seen, valid = ops.sample_views(images, *cameras, points[chunk])
        seen = seen * gains
        outside = torch.maximum(low[chunk, None] - seen, seen - high[chunk, None]).clamp_min(0).amax(-1)
        outside = torch.where((visible[chunk] > VISIBLE) & (valid > 0), outside, torch.nan)
        result[chunk] = outside.nanmedian(1).values.nan_to_num(0.0)
    return result


def _gains(own: Tensor, seen: Tensor, shown: Tensor) -> Tensor:
    """Factors (M, 3) from the colours ``seen`` (N, M, 3), where ``shown`` (N, M), to the exposure of ``own`` (N, 3)."""
    gains = torch.ones(seen.shape[1], 3)
    for other in range(seen.shape[1]):
        rows = shown[:, other].nonzero()[:, 0]
        if len(rows) >= LEAST_PIXELS:
            gains[other] = own[rows].mean(0) / seen[rows, other].mean(0).clamp_min(1e-3)
    return gains
