"""Whether a cloud's confidence means what it says: stated confidence against the share of points that are right."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .metrics import checked_positions, distance_to_object, load_truth
from .types import Cloud

RIGHT_PX = 1.0  # a point nearer than this to the true surface is right
N_BINS = 10


@dataclass
class Reliability:
    """Points by their confidence, in N_BINS bins of equal width over [0, 1]: count (B,), mean stated confidence (B,)
    and measured share within RIGHT_PX (B,), both NaN where a bin is empty."""

    count: NDArray[np.int64]
    stated: NDArray[np.float64]
    measured: NDArray[np.float64]

    @property
    def error(self) -> float:
        """Expected calibration error (Naeini et al. 2015): |stated - measured|, averaged over the points."""
        filled = self.count > 0
        gap = np.abs(self.stated[filled] - self.measured[filled])
        return float((gap * self.count[filled]).sum() / self.count.sum())


def reliability(cloud: Cloud, scene_dir: str | Path) -> Reliability:
    """Bins of a cloud's points on the object of a synthetic scene (in table scenes: above the table, in the box).

    Raises what ``load_truth`` raises, and ValueError for a cloud without confidence or without a point there.
    """
    if cloud.confidence is None:
        raise ValueError("cloud: expected a confidence of each point, got none")
    truth = load_truth(scene_dir)
    rows, to_truth = distance_to_object(checked_positions(cloud), truth)
    if len(rows) == 0:
        raise ValueError(f"no points to judge: {len(cloud)} given, none of them on the object of {scene_dir}")
    return binned(cloud.confidence[rows], to_truth < RIGHT_PX * truth.footprint)


def binned(confidence: NDArray, right: NDArray[np.bool_]) -> Reliability:
    """Bins of points with a confidence (n,) in [0, 1] that are ``right`` (n,) or not."""
    where = np.clip((confidence * N_BINS).astype(np.int64), 0, N_BINS - 1)
    count = np.bincount(where, minlength=N_BINS)
    stated, measured = (np.bincount(where, values, N_BINS) / np.where(count > 0, count, np.nan)
                        for values in (confidence, right))  # fmt: skip
    return Reliability(count, stated, measured)
