"""Lattices over the box whose values add to a density: what belongs to one scene alone."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIZES = (32, 64, 128)


class VoxelResidual(nn.Module):
    """The sum of values read from lattices of several sizes over [-1, 1]^3, each trilinearly; 0 outside, and everywhere
    at the start.

    After the voxel grids of DVGO (Sun et al. 2022). Features and a small network tell surfaces that photos agree on;
    thin and much hidden ones are learnt faster where every place has a value of its own. The coarse lattices spread
    what a sample tells to its neighbourhood.
    """

    def __init__(self, sizes: tuple[int, ...] = SIZES) -> None:
        super().__init__()
        self.levels = nn.ParameterList([nn.Parameter(torch.zeros(n, n, n)) for n in sizes])

    def forward(self, x: Tensor) -> Tensor:
        """Values (N,) at x (N, 3); differentiable in the lattices alone."""
        x = x.detach()
        if x.is_cuda and torch.are_deterministic_algorithms_enabled():
            return torch.stack([_by_corners(level, x) for level in self.levels]).sum(0)
        places = x.view(1, 1, 1, -1, 3)
        read = [F.grid_sample(level[None, None], places, align_corners=True).view(-1) for level in self.levels]
        return torch.stack(read).sum(0)


def _by_corners(level: Tensor, x: Tensor) -> Tensor:
    """As torch's own interpolation, whose gradient has no fixed order of adding up on a GPU: this one has."""
    n = len(level)
    inside = (x.abs() <= 1).all(1)
    place = ((x + 1) * (0.5 * (n - 1))).clamp(0, n - 1)
    low = place.long().clamp_max(n - 2)
    part = place - low
    total = torch.zeros_like(x[:, 0])
    for corner in range(8):
        step = torch.tensor([corner & 1, corner >> 1 & 1, corner >> 2], device=x.device)
        i, j, k = (low + step).unbind(1)
        weight = torch.where(step > 0, part, 1 - part).prod(1)
        total = total + weight * level.reshape(-1).index_select(0, (k * n + j) * n + i)
    return total * inside
