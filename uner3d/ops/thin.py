"""Thinning of point sets: a stream to a smallest distance, a set to one point per voxel. CPU, not differentiable."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from . import _native
from ._check import check_tensor
from ._register import typed

MAX_POINTS = 2**32 - 2


class PoissonThinner:
    """Greedy Poisson-disk thinning of a stream of points.

    A candidate is kept iff no point kept before it, in an earlier call or an earlier row, lies nearer than ``radius``
    (one at exactly ``radius`` is kept), so the kept points are at least ``radius`` apart and every candidate is nearer
    than ``radius`` to a kept point or is one. The first come wins: insert the best first. The result depends on
    the order alone, neither on threads nor on how the stream is cut into calls.

    Positions are kept relative to ``origin`` in float32, and distances are those between the rounded positions: choose
    an origin in the scene, and a radius well above the rounding (6e-8 of the distance from the origin).

    Memory: 18 to 24 bytes per kept point (plus at least 4 KiB), or what ``capacity_hint`` points need if that is more.
    Growing copies 1/64 of it at a time, so the peak is 3 % above ``nbytes``.

    >>> PoissonThinner(0.5).insert(torch.tensor([[0.0, 0, 0], [0.4, 0, 0], [0.5, 0, 0]]))
    tensor([ True, False,  True])
    """

    def __init__(self, radius: float, capacity_hint: int = 0, origin: Tensor | None = None) -> None:
        """Thin to ``radius`` > 0 around ``origin`` (3,), by default 0, in the unit of the points.

        ``capacity_hint`` is how many kept points to make room for at once; 0 grows from nothing.
        """
        _check_length("radius", radius)
        if not 0 <= capacity_hint <= 2**40:
            raise ValueError(f"capacity_hint: expected a number of points from 0 to 2^40, got {capacity_hint}")
        if origin is None:
            origin = torch.zeros(3)
        check_tensor("origin", origin, (3,))
        _check_cpu("origin", origin)
        if not origin.isfinite().all():
            raise ValueError(f"origin: expected finite coordinates, got {origin.tolist()}")
        self.radius = float(radius)
        self.origin = tuple(origin.tolist())
        self._native = _native.cpu.PoissonThinner(self.radius, int(capacity_hint), *self.origin)

    def insert(self, points: Tensor) -> Tensor:
        """Offer ``points`` (N, 3), float32 or float64, in order; returns which were kept, (N,) bool.

        Raises ValueError, and inserts nothing, where a row is not finite or lies 2^32 radii or more from the origin.
        """
        check_tensor("points", points, (None, 3))
        _check_cpu("points", points)
        points = points.detach().contiguous()
        keep = torch.empty(len(points), dtype=torch.bool)
        insert = self._native.insert_f64 if points.dtype == torch.float64 else self._native.insert_f32
        bad = insert(points.data_ptr(), len(points), keep.data_ptr())
        if bad >= 0:
            raise ValueError(
                f"points: expected finite coordinates within 2^32 radii ({self.radius}) of the origin "
                f"{list(self.origin)}, got {points[bad].tolist()} in row {bad}"
            )
        return keep

    @property
    def count(self) -> int:
        """How many points have been kept."""
        return self._native.count()

    @property
    def nbytes(self) -> int:
        """Memory held now."""
        return self._native.n_bytes()

    def __len__(self) -> int:
        return self.count

    def __repr__(self) -> str:
        return f"PoissonThinner(radius={self.radius}, origin={list(self.origin)}, count={self.count})"


def voxel_thin(points: Tensor, scores: Tensor, voxel: float) -> Tensor:
    """The point of the highest score in every voxel; of equal scores the lowest index.

    Args:
        points: (N, 3) float32 or float64, N < 2^32 - 1. The voxel of a point is floor(point / voxel).
        scores: (N,) any real dtype, compared in float64.
        voxel: edge of a voxel, in the unit of the points.

    Returns:
        (K,) int64, ascending indices of the points kept.

    Raises:
        TypeError, ValueError: naming the argument, what was expected and what came; coordinates that are not finite.

    >>> voxel_thin(torch.tensor([[0.1, 0, 0], [0.2, 0, 0], [1.1, 0, 0]]), torch.tensor([1, 2, 0]), 1.0)
    tensor([1, 2])
    """
    sizes: dict[str, int] = {}
    check_tensor("points", points, ("N", 3), sizes=sizes)
    _check_cpu("points", points)
    check_tensor("scores", scores, ("N",), dtype=None, sizes=sizes)
    _check_cpu("scores", scores)
    _check_length("voxel", voxel)
    if len(points) > MAX_POINTS:
        raise ValueError(f"points: expected at most {MAX_POINTS} rows, got {len(points)}")
    points = points.detach().contiguous()
    values = scores.detach().to(torch.float64).contiguous()
    if values.isnan().any():
        raise ValueError(f"scores: expected numbers, got nan in row {int(values.isnan().nonzero()[0])}")
    keep = torch.empty(len(points), dtype=torch.bool)
    bad = typed("voxel_thin", points)(
        points.data_ptr(), values.data_ptr(), len(points), float(voxel), keep.data_ptr()
    )  # fmt: skip
    if bad >= 0:
        raise ValueError(
            f"points: expected finite coordinates below 4e18 voxels ({voxel}), got {points[bad].tolist()} in row {bad}"
        )
    return keep.nonzero()[:, 0]


def _check_length(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name}: expected a finite number above 0, got {value}")


def _check_cpu(name: str, value: Tensor) -> None:
    if value.device.type != "cpu":
        raise ValueError(f"{name}: expected a CPU tensor, got one on {value.device}")
