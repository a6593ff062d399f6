"""The Chamfer distance of DTU (Jensen et al., CVPR 2014; Aanaes et al., IJCV 2016), as the tables of IDR, NeuS and
their successors have it.

The distances are those of the public Python scorer, DTUeval-python, which agrees with DTU's own Matlab program to
0.02 % on average. As there the cloud is thinned in a random order: a score varies by some 0.01 % with the seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .metrics import checked_positions, nearest_points
from .ply import read_ply
from .types import Cloud

THIN_MM = 0.2  # spacing that the cloud is thinned to
MAX_MM = 20.0  # distances from here on are dropped
_MARGIN_MM = 60.0  # around the box of the observability mask, twice that at its upper corner


@dataclass
class DtuTruth:
    """The scanned points of a scan (n, 3), in mm; which voxels were observed, with the corners of their box (2, 3) and
    the edge of a voxel; and the plane (4,) whose positive side is scored for completeness."""

    points: NDArray[np.float64]
    observed: NDArray[np.bool_]
    box: NDArray[np.float32]
    voxel: float
    plane: NDArray[np.float64]


def load_dtu_truth(root: str | Path, scan: int) -> DtuTruth:
    """Read Points/stl/stl<scan>_total.ply, ObsMask/ObsMask<scan>_10.mat and ObsMask/Plane<scan>.mat below ``root``.

    Raises FileNotFoundError or ValueError that names the file and the field.
    """
    root = Path(root)
    files = (
        root / f"Points/stl/stl{scan:03d}_total.ply",
        root / f"ObsMask/ObsMask{scan}_10.mat",
        root / f"ObsMask/Plane{scan}.mat",
    )
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(f"{file}: no such file; expected DTU's scanned points and masks of scan {scan}")
    mask = {name: _field(files[1], name) for name in ("ObsMask", "BB", "Res")}
    if mask["ObsMask"].ndim != 3 or mask["BB"].shape != (2, 3) or mask["Res"].size != 1:
        shapes = {name: value.shape for name, value in mask.items()}
        raise ValueError(f"{files[1]}: expected ObsMask of 3 dimensions, BB (2, 3) and one number Res, got {shapes}")
    plane = _field(files[2], "P").astype(np.float64).ravel()
    if plane.shape != (4,):
        raise ValueError(f"{files[2]}: P: expected 4 numbers, got {plane.size}")
    points = read_ply(files[0]).xyz.astype(np.float64)
    box, voxel = mask["BB"].astype(np.float32), float(mask["Res"].ravel()[0])
    return DtuTruth(points, mask["ObsMask"].astype(bool), box, voxel, plane)


def dtu_metrics(cloud: Cloud, truth: DtuTruth, seed: int = 0) -> dict[str, Any]:
    """Accuracy, completeness and their mean in mm, in DTU's frame.

    The cloud is thinned greedily to 0.2 mm, in the random order of ``seed``, and cropped to the box of the mask with a
    margin. Accuracy: from its points in observed voxels to the scanned ones. Completeness: from the scanned points
    above the plane to all points of the cropped cloud. Distances of 20 mm or more are dropped from both means.

    Returns points (given), scored (for accuracy), acc, comp, cd = (acc + comp) / 2, and the shares acc_dropped and
    comp_dropped, which the published tables do not tell. Raises ValueError where there is nothing to score.
    """
    xyz = _thinned(checked_positions(cloud), seed)
    low, high = truth.box[0] - _MARGIN_MM, truth.box[1] + 2 * _MARGIN_MM
    xyz = xyz[((xyz >= low) & (xyz < high)).all(axis=1)]
    voxels = np.around((xyz - truth.box[0]) / truth.voxel).astype(np.int64)
    inside = ((voxels >= 0) & (voxels < truth.observed.shape)).all(axis=1)
    seen = xyz[inside][truth.observed[tuple(voxels[inside].T)]]
    above = truth.points[truth.points @ truth.plane[:3] + truth.plane[3] > 0]
    if len(seen) == 0 or len(above) == 0:
        raise ValueError(
            f"cloud: nothing to score: of {len(cloud)} points {len(seen)} lie where DTU's mask says observed, and "
            f"{len(above)} of {len(truth.points)} scanned ones above the plane; is the cloud in DTU's frame and mm?"
        )
    acc, acc_dropped = _mean_below(nearest_points(truth.points, seen)[0], "accuracy")
    comp, comp_dropped = _mean_below(nearest_points(xyz, above)[0], "completeness")
    result = {"points": len(cloud), "scored": len(seen), "acc": acc, "comp": comp, "cd": (acc + comp) / 2}
    return result | {"acc_dropped": acc_dropped, "comp_dropped": comp_dropped}


def _field(file: Path, name: str) -> NDArray:
    from scipy.io import loadmat

    try:
        return np.asarray(loadmat(file)[name])
    except KeyError as error:
        raise ValueError(f"{file}: expected a variable {name}, found none") from error
    except (ValueError, TypeError, NotImplementedError) as error:
        raise ValueError(f"{file}: cannot be read as a MATLAB file: {error}") from error


def _thinned(xyz: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    import torch

    from ..ops.thin import PoissonThinner

    xyz = np.random.default_rng(seed).permutation(xyz)
    thinner = PoissonThinner(THIN_MM, origin=torch.from_numpy(np.median(xyz, axis=0)).float())
    return xyz[thinner.insert(torch.from_numpy(xyz)).numpy()]


def _mean_below(distances: NDArray[np.float64], what: str) -> tuple[float, float]:
    """The mean of what is below the limit, and the share that is not."""
    near = distances < MAX_MM
    if not near.any():
        raise ValueError(f"{what}: every distance is {MAX_MM:g} mm or more; is the cloud in DTU's frame and mm?")
    return float(distances[near].mean()), float(1 - near.mean())
