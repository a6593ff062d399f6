"""The region to reconstruct: given, else from masks, else from sparse points, else from the cameras."""

from __future__ import annotations

from typing import Any

import numpy as np

from .errors import SceneError
from .hull import hull_box
from .region import CommonRegion, common_region
from .scene import View

_MASK_PADDING = 0.05
_POINT_MARGIN = 0.10
_MIN_POINTS = 20


def given_box(box: Any) -> np.ndarray:
    """A box of the user as (2, 3) float64: six numbers (min x, y, z, max x, y, z) or two corners."""
    try:
        corners = np.asarray(box, dtype=np.float64).reshape(2, 3)
    except (TypeError, ValueError) as error:
        raise SceneError(f"box: expected 6 numbers (min x y z, max x y z), got {box!r}") from error
    if not np.isfinite(corners).all():
        raise SceneError(f"box: expected finite numbers, got {corners.tolist()}")
    for axis, low, high in zip("xyz", *corners.tolist(), strict=True):
        if low >= high:
            raise SceneError(f"box: min {axis} = {low:g} must be below max {axis} = {high:g}")
    return corners


def _padded(box: np.ndarray, share: float) -> np.ndarray:
    """A margin of `share` of the mean extent to each side: flat objects get one, too."""
    margin = share * float((box[1] - box[0]).mean())
    return np.stack([box[0] - margin, box[1] + margin])


def box_of_points(points: np.ndarray) -> np.ndarray | None:
    """The box of sparse points without stray ones: 1st to 99th percentile of those within 10 MAD, and a margin."""
    middle = np.median(points, axis=0)
    spread = np.median(np.abs(points - middle), axis=0)
    near = (np.abs(points - middle) <= 10 * spread + 1e-12).all(axis=1)
    if near.sum() < _MIN_POINTS:
        return None
    box = np.percentile(points[near], [1, 99], axis=0)
    return _padded(box, _POINT_MARGIN) if (box[1] > box[0]).all() else None


def _intersection(hint: np.ndarray, region: CommonRegion | None) -> np.ndarray:
    """The part of the stated box that the views see, the whole of it where they see none."""
    if region is None:
        return hint
    both = np.stack([np.maximum(hint[0], region.box[0]), np.minimum(hint[1], region.box[1])])
    return both if (both[1] > both[0]).all() else hint


def find_box(
    views: list[View], sparse_points: np.ndarray | None, hint: np.ndarray | None, warnings: list[str]
) -> tuple[np.ndarray, str]:
    """The box (2, 3) and where it comes from: "masks", "points" or "cameras"."""
    cameras = [view.camera for view in views]
    if all(view.use_mask for view in views):
        wide = common_region(cameras, share=0.5)
        start = wide.box if wide is not None else hint
        carved = hull_box(views, start, warnings) if start is not None else None
        if carved is not None:
            return _padded(carved, _MASK_PADDING), "masks"
        warnings.append("no point lies inside the masks of all views: do masks and cameras belong together?")
    if sparse_points is not None and len(sparse_points):
        box = box_of_points(sparse_points)
        if box is not None:
            return box, "points"
    region = common_region(cameras) if hint is None else common_region(cameras, share=0.5)
    if hint is not None:
        return _intersection(hint, region), "cameras"
    if region is None:
        raise SceneError("the box cannot be found from the cameras: no two photos see a common point; give box=...")
    return region.box, "cameras"
