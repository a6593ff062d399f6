"""How far a cloud is from the truth: accuracy, completeness, Chamfer distance, F-scores, outliers, colour.

For a scene with exact truth (``chamfer_metrics``) distances are in pixel footprints (px): the width of one pixel on the
object. Nothing is truncated. The cloud is thinned first to one of its points per voxel of half a footprint, so that
density and repetition buy nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..optional import MissingPackageError, require
from .ply import read_ply
from .types import Cloud

OUTLIER_PX = 5.0  # farther than this from the truth, a point is an outlier
COLOUR_PX = 2.0  # colours are compared for points nearer than this
_THIN_PX = 0.5
_TABLE_PX = 3.0  # what rises less than this above the table's plane belongs to the table


@dataclass
class Truth:
    """The exact truth of a synthetic scene: what at least two photos see (points, colours) and the box around it.

    ``floor`` is the height (y) of the table under the object, None where there is none.
    """

    points: NDArray[np.float64]
    rgb: NDArray[np.uint8] | None
    box_min: NDArray[np.float64]
    box_max: NDArray[np.float64]
    footprint: float
    floor: float | None
    mesh: Path


def load_truth(scene_dir: str | Path) -> Truth:
    """Read scene.json and gt_points.ply. Raises FileNotFoundError or ValueError that names the file and the field."""
    path = Path(scene_dir) / "scene.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; a scene with exact truth holds scene.json and gt_points.ply")
    try:
        meta = json.loads(path.read_text())
        box_min, box_max = (np.array(meta[key], np.float64) for key in ("box_min", "box_max"))
        footprint, table = float(meta["pixel_footprint"]), bool(meta["table"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: expected box_min, box_max, pixel_footprint and table: {error!r}") from error
    if box_min.shape != (3,) or box_max.shape != (3,) or not (box_min < box_max).all():
        raise ValueError(f"{path}: box_min, box_max: expected two corners of 3 numbers, got {box_min}, {box_max}")
    if not footprint > 0:
        raise ValueError(f"{path}: pixel_footprint: expected a positive number, got {footprint}")
    points = read_ply(path.parent / "gt_points.ply")
    floor = float(box_min[1]) if table else None
    mesh = path.parent / "gt_mesh.ply"
    return Truth(points.xyz.astype(np.float64), points.rgb, box_min, box_max, footprint, floor, mesh)


def chamfer_metrics(cloud: Cloud, scene_dir: str | Path, truth: str = "auto") -> dict[str, Any]:
    """Score a cloud against the exact truth of a synthetic scene (scene.json, gt_points.ply, gt_mesh.ply).

    Returns, with distances in pixel footprints (px) and shares in [0, 1]:
      points, scored      points given; points scored after thinning (and cropping to the object in table scenes)
      acc, acc_median     mean and median distance from the cloud to the true surface
      comp, comp_median   mean and median distance from the true points to the cloud
      cd                  (acc + comp) / 2
      f1, f2              F-score at 1 and 2 px: 2 p r / (p + r) of the shares nearer than that both ways
      out                 share of the object's points farther than 5 px from the truth
      out_all             the same over all points, wherever they lie. In table scenes the table and the room's walls
                          are truth as well, and 5 px grow with the distance from the object
      col                 PSNR in dB of colours at the nearest true point, over points within 2 px; NaN where no such
                          point or no colours exist
      truth               "mesh" where accuracy is measured to the surface, "points" where to gt_points.ply

    truth: "mesh" (needs Open3D), "points" (scipy alone; overstates accuracy errors by up to the spacing of the true
    points, and by the whole distance where the surface is seen by fewer than two photos), or "auto": the mesh where it
    is there and Open3D is installed. Raises MissingPackageError, or ValueError for a cloud that cannot be scored.
    """
    truth_data, xyz = load_truth(scene_dir), checked_positions(cloud)
    px = truth_data.footprint
    kept = thin(xyz, _THIN_PX * px)
    xyz = xyz[kept]
    rgb = None if cloud.rgb is None else cloud.rgb[kept]
    used, to_truth = _distance_to_truth(xyz, truth_data, truth)
    to_truth /= px
    out_all = float((_out_all_distance(xyz, to_truth, truth_data) > OUTLIER_PX).mean())
    target, target_rgb = truth_data.points, truth_data.rgb
    if truth_data.floor is not None:
        inside, above = _on_object(xyz, truth_data), target[:, 1] > _table_top(truth_data)
        xyz, to_truth, rgb = xyz[inside], to_truth[inside], None if rgb is None else rgb[inside]
        target, target_rgb = target[above], None if target_rgb is None else target_rgb[above]
        if len(xyz) == 0:
            box = f"{truth_data.box_min.tolist()} .. {truth_data.box_max.tolist()}"
            raise ValueError(f"no points to score: {len(cloud)} given, none of them on the object in its box {box}")
    from_truth, nearest = nearest_points(xyz, target)[0], nearest_points(target, xyz)[1]
    result = {"points": len(cloud), "scored": len(xyz), **_summary(to_truth, from_truth / px)}
    result |= {f"f{t}": f_score(to_truth, from_truth / px, t) for t in (1, 2)}
    result |= {"out": float((to_truth > OUTLIER_PX).mean()), "out_all": out_all}
    result["col"] = _colour_psnr(rgb, target_rgb, nearest, to_truth < COLOUR_PX)
    return result | {"truth": used}


def distance_to_object(xyz: NDArray[np.float64], truth: Truth) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows (m,) of the points (n, 3) that stand for the object (all of them where no table is about it), and their
    distances (m,) to the true surface, scene units."""
    rows = np.arange(len(xyz)) if truth.floor is None else _on_object(xyz, truth).nonzero()[0]
    return rows, _distance_to_truth(xyz[rows], truth, "auto")[1] if len(rows) else np.zeros(0)


def chamfer_between(
    cloud: Cloud, truth: Cloud, thresholds: tuple[float, ...] = (), voxel: float | None = None
) -> dict[str, Any]:
    """Score a cloud against another one, for truth that comes as points alone; distances in scene units.

    Returns points, scored, acc, comp, cd, acc_median, comp_median; ``f@t``, ``precision@t`` and ``recall@t`` for each
    threshold t; and col (PSNR in dB at the nearest true point, over points within the largest threshold, or over all
    where none is given; NaN without colours).
    voxel: the cloud is thinned to one of its points per voxel of this edge; not thinned when None.
    """
    if any(not t > 0 for t in thresholds):
        raise ValueError(f"thresholds: expected positive distances in scene units, got {thresholds}")
    xyz, target = checked_positions(cloud), checked_positions(truth, "truth")
    kept = np.arange(len(xyz)) if voxel is None else thin(xyz, voxel)
    xyz = xyz[kept]
    (to_truth, nearest), from_truth = nearest_points(target, xyz), nearest_points(xyz, target)[0]
    result = {"points": len(cloud), "scored": len(xyz), **_summary(to_truth, from_truth)}
    for t in thresholds:
        result[f"f@{t:g}"] = f_score(to_truth, from_truth, t)
        result[f"precision@{t:g}"] = float((to_truth < t).mean())
        result[f"recall@{t:g}"] = float((from_truth < t).mean())
    near = to_truth < max(thresholds) if thresholds else np.ones(len(xyz), bool)
    result["col"] = _colour_psnr(None if cloud.rgb is None else cloud.rgb[kept], truth.rgb, nearest, near)
    return result


def f_score(to_truth: NDArray, from_truth: NDArray, threshold: float) -> float:
    """Harmonic mean of precision (share of to_truth below the threshold) and recall (of from_truth); 0 if both are."""
    precision, recall = float((to_truth < threshold).mean()), float((from_truth < threshold).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def thin(xyz: NDArray[np.float64], voxel: float) -> NDArray[np.int64]:
    """Rows that stay when each voxel (counted from the least corner) keeps its point nearest the mean of its points.

    Ties go to the lower row. xyz: (n, 3); returns (m,) rows, one per occupied voxel.
    """
    if not voxel > 0:
        raise ValueError(f"voxel: expected a positive edge length, got {voxel}")
    cell = np.zeros(len(xyz), np.int64)
    for axis in range(3):  # ranks instead of coordinates: their products cannot overflow, however far outliers lie
        layer = np.unique(np.floor((xyz[:, axis] - xyz[:, axis].min()) / voxel), return_inverse=True)[1]
        cell = np.unique(cell * (layer.max() + 1) + layer, return_inverse=True)[1]
    count = np.bincount(cell)
    mean = np.stack([np.bincount(cell, xyz[:, axis]) / count for axis in range(3)], axis=1)
    order = np.lexsort((((xyz - mean[cell]) ** 2).sum(1), cell))
    return order[np.concatenate([[0], np.cumsum(count)[:-1]])]


def checked_positions(cloud: Cloud, name: str = "cloud") -> NDArray[np.float64]:
    """The positions (n, 3) of a cloud that can be scored; ValueError where it is empty or not finite."""
    if len(cloud) == 0:
        raise ValueError(f"{name}: expected at least one point, got none")
    finite = np.isfinite(cloud.xyz).all(1)
    if not finite.all():
        raise ValueError(f"{name}: expected finite positions, but {int((~finite).sum())} points are not finite")
    return cloud.xyz.astype(np.float64)


def nearest_points(points: NDArray, queries: NDArray) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Distance from each query to its nearest point, and that point's row."""
    from scipy.spatial import cKDTree

    return cKDTree(points).query(queries, workers=-1)


def _distance_to_truth(xyz: NDArray, truth: Truth, kind: str) -> tuple[str, NDArray[np.float64]]:
    if kind not in ("auto", "mesh", "points"):
        raise ValueError(f"truth: expected 'auto', 'mesh' or 'points', got {kind!r}")
    if kind == "mesh" or (kind == "auto" and truth.mesh.is_file()):
        try:
            return "mesh", _distance_to_mesh(xyz, truth.mesh)
        except MissingPackageError:
            if kind == "mesh":
                raise
    return "points", nearest_points(truth.points, xyz)[0]


def _distance_to_mesh(xyz: NDArray, mesh: Path) -> NDArray[np.float64]:
    if not mesh.is_file():
        raise FileNotFoundError(f"{mesh}: no such file")
    o3d = require("open3d")
    surface = o3d.t.geometry.RaycastingScene()
    surface.add_triangles(o3d.t.io.read_triangle_mesh(str(mesh)))
    return surface.compute_distance(o3d.core.Tensor(xyz.astype(np.float32))).numpy().astype(np.float64)


def _out_all_distance(xyz: NDArray, to_truth: NDArray, truth: Truth) -> NDArray[np.float64]:
    """Distance of every point to whatever is really there, in px as wide as they are at the point's distance."""
    if truth.floor is None:
        return to_truth
    radius = float(np.linalg.norm(truth.box_max - truth.box_min)) / 2
    wall, ceiling = 6 * radius, truth.floor + 2.2 * 6 * radius  # the generator's room around the table
    x, y, z = xyz.T
    faces = [y - truth.floor, y - ceiling, abs(x) - wall, abs(z) - wall]
    to_room = np.min(np.abs(faces), axis=0) / truth.footprint
    widening = np.linalg.norm(xyz, axis=1) / (2.2 * radius)  # the cameras stand some 2.2 radii from the object
    return np.minimum(to_truth, to_room) / np.maximum(1.0, widening)


def _table_top(truth: Truth) -> float:
    """The height (y) above which the object is, where there is a table."""
    return (truth.floor or 0.0) + _TABLE_PX * truth.footprint


def _on_object(xyz: NDArray[np.float64], truth: Truth) -> NDArray[np.bool_]:
    """Which points (n, 3) lie in the box, above the table."""
    margin = 2 * truth.footprint
    inside = np.all((xyz > truth.box_min - margin) & (xyz < truth.box_max + margin), axis=1)
    return inside & (xyz[:, 1] > _table_top(truth))


def _summary(to_truth: NDArray, from_truth: NDArray) -> dict[str, float]:
    acc, comp = float(to_truth.mean()), float(from_truth.mean())
    medians = {"acc_median": float(np.median(to_truth)), "comp_median": float(np.median(from_truth))}
    return {"acc": acc, "comp": comp, "cd": (acc + comp) / 2, **medians}


def _colour_psnr(rgb: NDArray | None, target_rgb: NDArray | None, nearest: NDArray, near: NDArray) -> float:
    if rgb is None or target_rgb is None or not near.any():
        return float("nan")
    error = rgb[near].astype(np.float64) / 255 - target_rgb[nearest[near]].astype(np.float64) / 255
    return float(-10 * np.log10(max(float((error**2).mean()), 1e-10)))
