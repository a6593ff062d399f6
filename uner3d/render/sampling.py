"""Where along a ray the field is asked: importance sampling of the density grid, and the space beyond the box."""

from __future__ import annotations

import torch
from torch import Tensor

from uner3d import ops

from .grid import DensityGrid

GRID_STEPS = 128
OUTSIDE_STEPS = 64
FAR = 200.0  # half boxes beyond which nothing is looked for


def ray_box(origins: Tensor, directions: Tensor, box: Tensor, near: float = 1e-3) -> tuple[Tensor, Tensor]:
    """Entry and exit (N,), (N,) of rays through the box (2, 3); exit <= entry where a ray misses it."""
    inverse = 1 / torch.where(directions.abs() < 1e-9, torch.full_like(directions, 1e-9), directions)
    a, b = (box[0] - origins) * inverse, (box[1] - origins) * inverse
    return torch.minimum(a, b).amax(-1).clamp_min(near), torch.maximum(a, b).amin(-1)


def importance_edges(
    grid: DensityGrid, origins: Tensor, directions: Tensor, t0: Tensor, t1: Tensor, n_samples: int,
    generator: torch.Generator | None, uniform: float | Tensor,
) -> Tensor:  # fmt: skip
    """Edges (N, n_samples + 1) in [t0, t1], dense where the grid's rendering weights are, ``uniform`` of them evenly.

    ``generator`` jitters within the quantiles; None takes their middles. ``directions`` of any length: t counts in
    multiples of it, while densities are per unit of length.
    """
    u = torch.linspace(0, 1, GRID_STEPS + 1, device=t0.device)
    knots = t0[:, None] + (t1 - t0).clamp_min(1e-6)[:, None] * u
    return _edges(grid, knots, origins, directions, n_samples, generator, uniform)


def outside_edges(
    grid: DensityGrid, origins: Tensor, directions: Tensor, t1: Tensor, n_samples: int,
    generator: torch.Generator | None, uniform: float | Tensor,
) -> Tensor:  # fmt: skip
    """Edges (N, n_samples + 1) from t1 to FAR boxes away, by the outer grid; the even ones in inverse distance."""
    if grid.outer is None:
        raise ValueError("grid: expected one with an outer grid, got one that ends at its box")
    u = torch.linspace(0, 1, OUTSIDE_STEPS + 1, device=t1.device)
    start = t1[:, None].clamp_min(1e-3)
    knots = 1 / ((1 - u) / start + u / (start + FAR))
    return _edges(grid.outer, knots, origins, directions, n_samples, generator, uniform, contracted=True)


def _edges(
    grid: DensityGrid, knots: Tensor, origins: Tensor, directions: Tensor, n_samples: int,
    generator: torch.Generator | None, uniform: float | Tensor, contracted: bool = False,
) -> Tensor:  # fmt: skip
    """Edges between the knots (N, M + 1) at even quantiles of the rendering weights that the grid predicts."""
    jitter = None
    if generator is not None:
        jitter = torch.rand(len(knots), n_samples + 1, generator=generator, device=knots.device)
    return ops.ray_edges(knots, origins, directions, grid.cube, grid.extent, uniform, n_samples, jitter, contracted)
