"""A density grid of a field that is as it is: what a fit finds out in the course of its steps, asked for at once."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from .grid import DensityGrid
from .renderer import Field

CHUNK = 1 << 15  # points at a time: bounds the memory of one evaluation


@torch.no_grad()
def fill_grid(grid: DensityGrid, field: Field, looks: Iterable[tuple[object, Tensor]], window: float,
              generator: torch.Generator | None = None) -> None:  # fmt: skip
    """Set the grid's cells to the largest density that the field shows there.

    ``looks``: pairs of sources and a camera centre (3,) in the unit frame: a field weighs its sources by the direction
    it is seen along, so that it is asked along the rays of those cameras. ``generator`` takes a random place in each
    cell, None the middle. Neither differentiable nor to be used inside a graph of the field.
    """
    n, device = grid.n, grid.extent.device
    index = torch.arange(n**3, device=device)
    if grid.allowed is not None:
        index = grid.allowed.reshape(-1).nonzero()[:, 0]
    cell = torch.stack([index // (n * n), index // n % n, index % n], -1)
    values = torch.zeros_like(grid.values)
    for sources, centre in looks:
        place = 0.5 if generator is None else torch.rand(len(cell), 3, generator=generator, device=device)
        x = ((cell + place) * (2 / n) - 1) * grid.extent
        rays = F.normalize(x - centre, dim=-1)
        for rows in torch.arange(len(x), device=device).split(CHUNK):
            sigma, _ = field.density(x[rows], rays[rows], sources, window)
            values[index[rows]] = torch.maximum(values[index[rows]], sigma.float())
    # A surface that falls between the middles of two cells must not be lost.
    wide = F.max_pool3d(values.view(1, 1, n, n, n), 3, stride=1, padding=1).reshape(-1)
    grid.values.copy_(torch.maximum(values, 0.5 * wide))
    if grid.allowed is not None:
        grid.values *= grid.allowed.reshape(-1)
    grid.tighten()
