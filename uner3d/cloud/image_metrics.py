"""How well a cloud itself looks like the held-out photos: it is drawn into them, without any field.

A picture is drawn point by point, so that nothing but the cloud's own colours, completeness and floaters decides. The
same drawing measures any PLY file, whoever made it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.scene import Scene, View
from ..optional import MissingPackageError, require
from .types import Cloud

FRONT_PX = 1.5  # footprints behind its nearest point from which a pixel still takes colours
BEHIND_PX = 10.0  # footprints behind what surrounds it from which a pixel shows a far side through a gap
REACH = 2.0  # pixels from which an empty one borrows a colour


def cloud_image_metrics(cloud: Cloud, scene: Scene, footprint: float | None = None) -> dict[str, Any]:
    """PSNR of a cloud drawn into a scene's held-out views.

    A pixel takes the mean colour of the points that fall into it and lie within 1.5 pixel footprints behind its
    nearest one, so that a denser cloud averages and does not alias. Pixels more than 10 footprints behind the nearest
    of their 5 x 5 neighbourhood are emptied; an empty pixel takes the colour of the nearest filled one within 2 pixels
    or stays black and counts against the cloud.

    scene: its ``test_views`` are drawn into; load it with masks where it has them. footprint: width of a photo's pixel
    on the object, in scene units; by default the median of depth over focal length of the points in these views.

    Returns psnr (dB) and cover (share of the mask that is filled), means over the views, over the mask; views; and
    mask, which says what that is: "photo" (its alpha or mask file above one half), "mesh" (what the true mesh of a
    synthetic scene covers; needs Open3D) or "none" (whole images). Raises ValueError for clouds without points or
    colours, and for scenes without held-out views.
    """
    if len(cloud) == 0 or cloud.rgb is None:
        raise ValueError(f"cloud: expected coloured points, got {len(cloud)} points, colours: {cloud.rgb is not None}")
    if not scene.test_views:
        raise ValueError(f"{scene.path}: the scene holds no held-out views to draw into; load it with holdout=K")
    if footprint is None:
        footprint = _median_footprint(cloud.xyz, scene.test_views)
    if not footprint > 0:
        raise ValueError(f"footprint: expected a positive length in scene units, got {footprint}")
    kind, masks = _masks(scene)
    rows = []
    for view, mask in zip(scene.test_views, masks, strict=True):
        picture, filled = draw_points(cloud.xyz, cloud.rgb, view, footprint)
        error = ((picture - straight_colours(view)) ** 2)[mask]
        rows.append((-10 * np.log10(max(float(error.mean()), 1e-10)), float(filled[mask].mean())))
    psnr, cover = np.mean(rows, axis=0)
    return {"psnr": float(psnr), "cover": float(cover), "views": len(rows), "mask": kind}


def draw_points(
    xyz: NDArray, rgb: NDArray[np.uint8], view: View, footprint: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Points (n, 3) and colours as ``view`` sees them, (h, w, 3) in [0, 1], black where empty; and which pixels are
    filled (h, w)."""
    from scipy.ndimage import distance_transform_edt, minimum_filter

    height, width = view.camera.height, view.camera.width
    pixel, z, rows = _fall(xyz, view)
    nearest = np.full(height * width, np.inf)
    np.minimum.at(nearest, pixel, z)
    front = z <= nearest[pixel] + FRONT_PX * footprint
    pixel, colours = pixel[front], rgb[rows[front]] / 255.0
    count = np.maximum(np.bincount(pixel, minlength=height * width), 1)
    sums = [np.bincount(pixel, colours[:, c], height * width) for c in range(3)]
    picture = (np.stack(sums, 1) / count[:, None]).reshape(height, width, 3)
    depth = nearest.reshape(height, width)
    filled = np.isfinite(depth) & (depth <= minimum_filter(depth, 5) + BEHIND_PX * footprint)
    if not filled.any():
        return np.zeros_like(picture), filled
    distance, (line, column) = distance_transform_edt(~filled, return_indices=True)
    near = distance <= REACH
    return np.where(near[..., None], picture[line, column], 0.0), near


def straight_colours(view: View) -> NDArray[np.float64]:
    """The photo (h, w, 3) in [0, 1] without the white that transparent photos are composited on: the object's own
    colours also at its rim. Where a mask says nothing is there, what the photo shows."""
    photo, mask = view.image() / 255.0, view.mask()
    if mask is None:
        return photo
    coverage = mask[..., None] / 255.0
    return np.where(coverage > 0.5, np.clip(1 - (1 - photo) / np.maximum(coverage, 0.5), 0, 1), photo)


def _fall(xyz: NDArray, view: View) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """The pixel (flat) and depth of each point that falls into the view, and its row."""
    uv, z = view.camera.project(xyz.astype(np.float64))
    inside = (z > 0) & (uv >= 0).all(1) & (uv[:, 0] < view.camera.width) & (uv[:, 1] < view.camera.height)
    rows = np.flatnonzero(inside)
    column, line = np.floor(uv[rows]).astype(np.int64).T
    return line * view.camera.width + column, z[rows], rows


def _median_footprint(xyz: NDArray, views: Sequence[View]) -> float:
    widths = [_fall(xyz, view)[1] / np.sqrt(view.camera.K[0, 0] * view.camera.K[1, 1]) for view in views]
    found = np.concatenate(widths)
    if len(found) == 0:
        raise ValueError("cloud: none of its points falls into a held-out view; are frame and units the same?")
    return float(np.median(found))


def _masks(scene: Scene) -> tuple[str, list[NDArray[np.bool_]]]:
    photos = [view.mask() for view in scene.test_views]
    if all(mask is not None for mask in photos):
        return "photo", [mask > 127 for mask in photos if mask is not None]
    mesh = scene.path / "gt_mesh.ply"
    if mesh.is_file():
        try:
            return "mesh", [_covered(mesh, view) for view in scene.test_views]
        except MissingPackageError:
            pass
    return "none", [np.ones((view.camera.height, view.camera.width), bool) for view in scene.test_views]


def _covered(mesh: Path, view: View) -> NDArray[np.bool_]:
    """The pixels (h, w) whose central ray meets a mesh."""
    o3d = require("open3d")
    surface = o3d.t.geometry.RaycastingScene()
    surface.add_triangles(o3d.t.io.read_triangle_mesh(str(mesh)))
    camera = view.camera
    column, line = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    pixels = np.stack([column, line, np.ones_like(line)], -1).reshape(-1, 3)
    directions = pixels @ np.linalg.inv(camera.K).T @ camera.cam_from_world[:, :3]
    rays = np.concatenate([np.broadcast_to(camera.center, directions.shape), directions], 1).astype(np.float32)
    hit = surface.cast_rays(o3d.core.Tensor(rays))["t_hit"].numpy()
    return np.isfinite(hit).reshape(camera.height, camera.width)
