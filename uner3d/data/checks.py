"""Checks of all cameras together: doubles, and photos that see nothing in common."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from .errors import SceneError
from .region import sees
from .scene import Camera, View

# Centres are one place where they are nearer than this share of the extent of all of them.
_SAME = 1e-6
_SAME_ROTATION = 1e-5
_MIN_LIKENESS = 0.9
_MAX_PARTNERS = 64


def find_doubles(views: list[View], warnings: list[str]) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, of photos of the same thing with the same pose: a second exposure, which adds no parallax.

    Refuses two different photos with one pose (a copied or forgotten pose), and a set with a single centre. Warns of
    doubles and of cameras that share a centre only.
    """
    from scipy.spatial import cKDTree

    centers = np.stack([view.camera.center for view in views])
    extent = float(np.linalg.norm(centers.max(axis=0) - centers.min(axis=0)))
    same_place = extent <= 1e-9 * float(np.abs(centers).max(initial=0.0))
    pairs = set(_all_pairs(len(views))) if same_place else cKDTree(centers).query_pairs(_SAME * extent)
    doubles: list[tuple[int, int]] = []
    shared: list[tuple[int, int]] = []
    for i, j in sorted(pairs):
        a, b = views[i].camera.cam_from_world[:, :3], views[j].camera.cam_from_world[:, :3]
        (doubles if np.abs(a - b).max() < _SAME_ROTATION else shared).append((i, j))
    for i, j in doubles:
        likeness = _likeness(views[i], views[j])
        if likeness < _MIN_LIKENESS:
            raise SceneError(
                f"{views[i].image_path} and {views[j].image_path} have the same camera, centre {centers[i].tolist()} "
                f"and orientation, but show different things (correlation {likeness:.2f}): expected a pose for each"
            )
    if same_place and len(views) > 1:
        raise SceneError(
            f"all {len(views)} cameras are in one place, {centers[0].tolist()}: expected photos from different places"
        )
    for text, found in (
        ("have one pose and show the same: one of them is left out of training", doubles),
        ("share a centre", shared),
    ):
        if found:
            names = f"e.g. {views[found[0][0]].name} and {views[found[0][1]].name}"
            warnings.append(f"{len(found)} pairs of photos ({names}) {text}")
    return doubles


def _likeness(a: View, b: View) -> float:
    """Correlation of the grey values of two photos, reduced to 48 pixels on the longer side."""
    grey = []
    for view in (a, b):
        side = max(a.camera.width, a.camera.height)
        small = replace(view, camera=a.camera.scaled(max(1.0, side / 48)))
        values = small.image().mean(axis=2)
        grey.append((values - values.mean()).ravel())
    norm = float(np.linalg.norm(grey[0]) * np.linalg.norm(grey[1]))
    return float(grey[0] @ grey[1]) / norm if norm > 0 else 1.0


def _all_pairs(n: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(n) for j in range(i + 1, n)]


def _ray_samples(camera: Camera, depths: np.ndarray) -> np.ndarray:
    """Points on a 7 x 7 grid of rays at the given depths, (N, 3) in the world."""
    x = np.linspace(0.0, camera.width, 7)
    y = np.linspace(0.0, camera.height, 7)
    pixels = np.stack([*(axis.ravel() for axis in np.meshgrid(x, y)), np.ones(49)], axis=1)
    rays = pixels @ np.linalg.inv(camera.K).T
    xyz_in_cam = (rays[:, None, :] * depths[None, :, None]).reshape(-1, 3)
    return xyz_in_cam @ camera.cam_from_world[:, :3] + camera.center


def check_overlap(views: list[View], warnings: list[str]) -> None:
    """Refuses a set in which no photo sees what another one sees; warns of single photos that share nothing."""
    cameras = [view.camera for view in views]
    centers = np.stack([camera.center for camera in cameras])
    spread = float(np.linalg.norm(centers - centers.mean(axis=0), axis=1).max())
    depths = spread * np.geomspace(0.01, 100, 20)
    alone = [view.name for i, view in enumerate(views) if not _overlaps(i, cameras, centers, depths)]
    if len(alone) == len(views):
        raise SceneError(
            f"the {len(views)} photos see nothing in common: no point in front of {alone[0]} is in view of another "
            f"photo; expected overlapping views (are the poses camera-to-world where the format wants that?)"
        )
    if alone:
        warnings.append(f"{len(alone)} photos see nothing that another photo sees: {', '.join(alone[:5])}")


def _overlaps(index: int, cameras: list[Camera], centers: np.ndarray, depths: np.ndarray) -> bool:
    points = _ray_samples(cameras[index], depths)
    order = np.argsort(np.linalg.norm(centers - centers[index], axis=1), kind="stable")
    others = [int(j) for j in order if j != index]
    # Half of the partners are the nearest cameras, the others are spread over the set.
    n_near = _MAX_PARTNERS // 2
    others = others[:n_near] + others[n_near :: max(1, math.ceil(len(others) / n_near))]
    return any(sees(cameras[j], points).any() for j in others)
