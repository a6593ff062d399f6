"""Lattices over the unit cube around the box whose values add to a density: what belongs to one scene alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from uner3d import ops

SIZES = (32, 64, 128)


class VoxelResidual(nn.Module):
    """The sum of values read from lattices of several sizes over [-1, 1]^3, each trilinearly; 0 outside, and everywhere
    at the start.

    After the voxel grids of DVGO (Sun et al. 2022). Features and a small network tell surfaces that photos agree on;
    thin and much hidden ones are learnt faster where every place has a value of its own. The coarse lattices spread
    what a sample tells to its neighbourhood.
    """

    extent: Tensor

    def __init__(self, sizes: tuple[int, ...] = SIZES) -> None:
        super().__init__()
        self.levels = nn.ParameterList([nn.Parameter(torch.zeros(n, n, n)) for n in sizes])
        self.register_buffer("extent", torch.ones(3), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Values (N,) at x (N, 3); differentiable in the lattices alone."""
        return torch.stack([ops.sample_voxels(level, x, self.extent) for level in self.levels]).sum(0)
