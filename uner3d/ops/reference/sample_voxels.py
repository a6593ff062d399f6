"""Values read from a lattice over a box in plain torch: the twin of the CPU kernel, and what runs on other devices."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor


def sample_voxels(values: Tensor, points: Tensor, extent: Tensor) -> Tensor:
    """See :func:`uner3d.ops.sample_voxels`. On CUDA under deterministic algorithms its gradient has a fixed order of
    adding up, which torch's own interpolation of volumes does not have."""
    n, points = values.shape[0], points.detach()
    inside = (points.abs() <= extent).all(-1)
    place = torch.where(inside[:, None], (points / extent + 1) * (0.5 * (n - 1)), 0.0)
    low = place.long().clamp_max(n - 2)
    part = place - low
    weights = [(1 - part[:, axis], part[:, axis]) for axis in range(3)]
    first, flat = (low[:, 0] * n + low[:, 1]) * n + low[:, 2], values.reshape(-1)
    total = torch.zeros_like(points[:, 0])
    for i, j, k in itertools.product((0, 1), repeat=3):  # numbers, not tensors: those would have to travel to a GPU
        weight = weights[0][i] * weights[1][j] * weights[2][k]
        total = total + weight * flat.index_select(0, first + ((i * n + j) * n + k))
    return torch.where(inside, total, 0.0)
