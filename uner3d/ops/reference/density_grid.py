"""Cells and update of a density grid in plain torch: the twin of the CPU kernels, and what runs on other devices.

Nothing here waits for a GPU or has a shape that depends on values, so that a CUDA graph can hold it.
"""

from __future__ import annotations

import torch
from torch import Tensor


def contract(x: Tensor) -> Tensor:
    """Identity in the unit box; everything beyond it into the shell up to 2 (mip-NeRF 360, Barron et al. 2022, eq. 10,
    with the maximum norm, so that the box itself stays as it is)."""
    norm = x.abs().amax(-1, keepdim=True).clamp_min(1.0)
    return x * ((2 - 1 / norm) / norm)


def grid_cells(points: Tensor, extent: Tensor, n: int, contracted: bool = False) -> Tensor:
    """See :func:`uner3d.ops.grid_cells`."""
    x = contract(points) if contracted else points
    ijk = ((x / extent + 1) * (n / 2)).clamp(-1, n).long().clamp_(0, n - 1)  # twice: far ones must not wrap around
    return (ijk[..., 0] * n + ijk[..., 1]) * n + ijk[..., 2]


@torch.no_grad()
def grid_update(
    values: Tensor, points: Tensor, sigma: Tensor, extent: Tensor, allowed: Tensor | None = None, rate: float = 0.3,
    contracted: bool = False, seen: Tensor | None = None,
) -> None:  # fmt: skip
    """See :func:`uner3d.ops.grid_update`."""
    flat, n = values.view(-1), values.shape[0]
    met = torch.full_like(flat, -1.0) if seen is None else seen.view(-1)
    x = contract(points) if contracted else points
    inside = (x.abs() <= extent).all(-1)
    cells = grid_cells(x, extent, n)
    # What is passed over says -1, as cells do that no sample met.
    told = torch.where(inside, sigma, -1.0)
    most = met.scatter_reduce_(0, cells, told, "amax")[cells]
    # Not the whole of it, which has many times as many cells as there are samples; and not by an assignment, for
    # which a GPU would be waited for: the number would travel there by itself.
    met.index_fill_(0, cells, -1.0)
    old = flat[cells]
    new = torch.where(most < 0, old, torch.maximum(most, old + rate * (most - old)))
    flat[cells] = new if allowed is None else new * allowed.reshape(-1)[cells]
