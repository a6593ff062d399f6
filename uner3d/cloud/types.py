"""The point cloud as it lies in memory."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray


@dataclass
class Cloud:
    """A point cloud in the user's frame and units.

    xyz: (n, 3) float32, or float64 where float32 would be too coarse (georeferenced scenes).
    normals: (n, 3) float32 unit vectors, rgb: (n, 3) uint8, confidence: (n,) float32, n_views: (n,) uint8 (photos that
    agree on the point); each None where it is not known.
    """

    xyz: NDArray
    normals: NDArray[np.float32] | None = None
    rgb: NDArray[np.uint8] | None = None
    confidence: NDArray[np.float32] | None = None
    n_views: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        if self.xyz.ndim != 2 or self.xyz.shape[1] != 3:
            raise ValueError(f"Cloud.xyz: expected shape (n, 3), got {self.xyz.shape}")
        for name, tail in (("normals", (3,)), ("rgb", (3,)), ("confidence", ()), ("n_views", ())):
            value = getattr(self, name)
            if value is not None and value.shape != (len(self), *tail):
                raise ValueError(f"Cloud.{name}: expected shape {(len(self), *tail)}, got {value.shape}")

    def __len__(self) -> int:
        return len(self.xyz)

    def __getitem__(self, rows: slice | NDArray) -> Cloud:
        """The cloud of the chosen rows (a slice, a boolean mask or indices)."""
        rest = (getattr(self, part.name) for part in fields(self)[1:])
        return Cloud(self.xyz[rows], *(None if part is None else part[rows] for part in rest))
