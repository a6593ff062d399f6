"""The box of what the masks of all views have in common: a coarse visual hull."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from .assemble import parallel_map
from .region import bounds, grid_in
from .scene import Camera, View

_MAX_VIEWS = 64
_MAX_SIDE = 320
_N_GRID = 40
_N_LEVELS = 3
# A pixel belongs to the object from this coverage on (of 255): thin parts cover little of a coarse pixel.
_MIN_COVERAGE = 8
_DILATION = 1.5


def _distance_to_mask(view: View) -> tuple[Camera, np.ndarray] | None:
    """A small camera, and for each of its pixels the distance to the mask, in pixels; None for an empty mask."""
    from scipy.ndimage import distance_transform_edt

    side = max(view.camera.width, view.camera.height)
    small = replace(view, camera=view.camera.scaled(max(1.0, side / _MAX_SIDE)))
    mask = small.mask()
    if mask is None or not (mask >= _MIN_COVERAGE).any():
        return None
    return small.camera, distance_transform_edt(mask < _MIN_COVERAGE).astype(np.float32)


def _carve(silhouettes: list[tuple[Camera, np.ndarray]], points: np.ndarray, radius: float) -> np.ndarray:
    """Points (N, 3) that no view excludes, where a view excludes a ball of `radius` that lies beside its mask.

    What a view does not see it does not exclude, but half of the views must see a point.
    """
    kept = np.arange(len(points))
    n_seen = np.zeros(len(points), dtype=np.int64)
    for camera, distance in silhouettes:
        pixels, depth = camera.project(points[kept])
        column, row = np.floor(pixels.T)
        inside = (depth > 0) & (column >= 0) & (row >= 0) & (column < camera.width) & (row < camera.height)
        gap = distance[row[inside].astype(int), column[inside].astype(int)]
        outside_mask = np.zeros(len(kept), dtype=bool)
        outside_mask[inside] = gap > camera.K[0, 0] * radius / depth[inside] + _DILATION
        n_seen[kept[inside]] += 1
        kept = kept[~outside_mask]
    return points[kept[2 * n_seen[kept] >= len(silhouettes)]]


def hull_box(views: list[View], start: np.ndarray, warnings: list[str]) -> np.ndarray | None:
    """The box (2, 3) of the visual hull inside the box `start`, before padding; None where the masks share nothing.

    Cells count as soon as their bounding ball, grown by 1.5 coarse pixels, touches the mask in each view that sees
    them, so no thin part is lost.
    """
    views = views[:: math.ceil(len(views) / _MAX_VIEWS)]
    results = parallel_map(_distance_to_mask, views)
    silhouettes = [result for result in results if result is not None]
    empty = [view.name for view, result in zip(views, results, strict=True) if result is None]
    if empty:
        warnings.append(f"{len(empty)} of {len(views)} masks are empty and say nothing about the box: {empty[0]}")
    box = start
    for _ in range(_N_LEVELS):
        cell = (box[1] - box[0]) / _N_GRID
        points = _carve(silhouettes, grid_in(box, _N_GRID), float(np.linalg.norm(cell)) / 2)
        if len(points) == 0 or not silhouettes:
            return None
        box = bounds(points, cell)
    return box
