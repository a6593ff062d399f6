"""Where along a ray the field is asked: importance sampling of the density grid, and the space beyond the box."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .grid import DensityGrid

GRID_STEPS = 128
OUTSIDE_STEPS = 64
FAR = 200.0  # half boxes beyond which nothing is looked for
SOFTENING = 0.2  # the grid holds densities of the recent past: what it hides may be in sight
OCCUPIED_DEPTH = 0.05  # optical depth of a grid step from which on it is worth a sample
BLOCKED_DEPTH = 5.0  # optical depth behind which nothing can be seen


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
    return _quantiles(grid.lookup, knots, origins, directions, n_samples, generator, uniform)


def outside_edges(
    grid: DensityGrid, origins: Tensor, directions: Tensor, t1: Tensor, n_samples: int,
    generator: torch.Generator | None, uniform: float | Tensor,
) -> Tensor:  # fmt: skip
    """Edges (N, n_samples + 1) from t1 to FAR boxes away, by the outer grid; the even ones in inverse distance."""
    u = torch.linspace(0, 1, OUTSIDE_STEPS + 1, device=t1.device)
    start = t1[:, None].clamp_min(1e-3)
    knots = 1 / ((1 - u) / start + u / (start + FAR))
    return _quantiles(grid.lookup_outside, knots, origins, directions, n_samples, generator, uniform)


def _quantiles(
    lookup: Callable[[Tensor], Tensor], knots: Tensor, origins: Tensor, directions: Tensor, n_samples: int,
    generator: torch.Generator | None, uniform: float | Tensor,
) -> Tensor:  # fmt: skip
    """Edges between the knots (N, M + 1) at even quantiles of the rendering weights that ``lookup`` predicts."""
    (n_rays, n_knots), device = knots.shape, knots.device
    step = knots[:, 1:] - knots[:, :-1]
    t = 0.5 * (knots[:, 1:] + knots[:, :-1])
    sigma = lookup(torch.addcmul(origins[:, None], t[..., None], directions[:, None]))
    depth = sigma * (step * directions.norm(dim=-1, keepdim=True))
    before = SOFTENING * (depth.cumsum(-1) - depth)
    weight = torch.exp(-before) * (1 - torch.exp(-depth))
    # Neighbours share their weight: the grid is coarser than the surface, and it lags behind the field.
    weight = _dilated(weight)
    occupied = _dilated(((depth > OCCUPIED_DEPTH) & (before < BLOCKED_DEPTH)).float())
    # A ray that the grid holds empty spreads its samples: that is where a surface can still be found.
    empty = (occupied.sum(-1, keepdim=True) == 0).float()
    spread = (uniform + empty).clamp(max=1.0)
    pdf = (1 - spread) * 0.5 * (_normalised(weight) + _normalised(occupied))
    pdf = pdf + (spread + 1e-4) * _normalised((sigma > 0).float())
    cdf = torch.cat([torch.zeros(n_rays, 1, device=device), pdf.cumsum(-1)], -1)
    cdf = cdf / cdf[:, -1:].clamp_min(1e-8)
    u = (torch.arange(n_samples + 1, device=device) / n_samples).expand(n_rays, -1)
    if generator is not None:
        jitter = torch.rand(n_rays, n_samples + 1, generator=generator, device=device) - 0.5
        u = (u + jitter / n_samples).clamp(0, 1)
    index = torch.searchsorted(cdf, u.contiguous(), right=True).clamp_(1, n_knots - 1)
    low, high = cdf.gather(1, index - 1), cdf.gather(1, index)
    fraction = ((u - low) / (high - low).clamp_min(1e-8)).clamp(0, 1)
    return knots.gather(1, index - 1) + step.gather(1, index - 1) * fraction


def _dilated(x: Tensor) -> Tensor:
    padded = torch.nn.functional.pad(x, (1, 1))
    return torch.maximum(torch.maximum(padded[:, :-2], padded[:, 2:]), x)


def _normalised(weight: Tensor) -> Tensor:
    return weight / weight.sum(-1, keepdim=True).clamp_min(1e-8)
