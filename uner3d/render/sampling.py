"""Where along a ray the field is asked: importance sampling of the density grid, and the space beyond the box."""

from __future__ import annotations

import torch
from torch import Tensor

from .grid import DensityGrid

GRID_STEPS = 128


def ray_box(origins: Tensor, directions: Tensor, extent: Tensor, near: float = 1e-3) -> tuple[Tensor, Tensor]:
    """Entry and exit (N,), (N,) of rays through the box [-extent, extent] (3,); exit <= entry where a ray misses it."""
    inverse = 1 / torch.where(directions.abs() < 1e-9, torch.full_like(directions, 1e-9), directions)
    a, b = (-extent - origins) * inverse, (extent - origins) * inverse
    return torch.minimum(a, b).amax(-1).clamp_min(near), torch.maximum(a, b).amin(-1)


def importance_edges(
    grid: DensityGrid, origins: Tensor, directions: Tensor, t0: Tensor, t1: Tensor, n_samples: int,
    generator: torch.Generator | None, uniform: float,
) -> Tensor:  # fmt: skip
    """Edges (N, n_samples + 1) in [t0, t1], dense where the grid's rendering weights are, ``uniform`` of them evenly.

    ``generator`` jitters within the quantiles; None takes their middles. ``directions`` of any length: t counts in
    multiples of it, while densities are per unit of length.
    """
    n_rays, device = origins.shape[0], origins.device
    step = (t1 - t0).clamp_min(1e-6)[:, None] / GRID_STEPS
    t = t0[:, None] + step * (torch.arange(GRID_STEPS, device=device) + 0.5)
    sigma = grid.lookup(torch.addcmul(origins[:, None], t[..., None], directions[:, None]))
    depth = sigma * (step * directions.norm(dim=-1, keepdim=True))
    before = depth.cumsum(-1) - depth
    weight = torch.exp(-before) * (1 - torch.exp(-depth))
    # Neighbours share their weight: the grid is coarser than the surface, and it lags behind the field.
    padded = torch.nn.functional.pad(weight, (1, 1))
    weight = torch.maximum(torch.maximum(padded[:, :-2], padded[:, 2:]), weight)
    allowed = (sigma > 0).float()
    total = weight.sum(-1, keepdim=True)
    pdf = (1 - uniform) * weight / total.clamp_min(1e-8) + (uniform + 1e-4) * _normalised(allowed)
    cdf = torch.cat([torch.zeros(n_rays, 1, device=device), pdf.cumsum(-1)], -1)
    cdf = cdf / cdf[:, -1:].clamp_min(1e-8)
    u = (torch.arange(n_samples + 1, device=device) / n_samples).expand(n_rays, -1)
    if generator is not None:
        jitter = torch.rand(n_rays, n_samples + 1, generator=generator, device=device) - 0.5
        u = (u + jitter / n_samples).clamp(0, 1)
    index = torch.searchsorted(cdf, u.contiguous(), right=True).clamp_(1, GRID_STEPS)
    low, high = cdf.gather(1, index - 1), cdf.gather(1, index)
    fraction = ((u - low) / (high - low).clamp_min(1e-8)).clamp(0, 1)
    return t0[:, None] + step * (index - 1 + fraction)


def outside_edges(t1: Tensor, n_samples: int, generator: torch.Generator | None, far: float = 200.0) -> Tensor:
    """Edges (N, n_samples + 1) from t1 to ``far`` boxes away, evenly in inverse distance."""
    u = torch.arange(n_samples + 1, device=t1.device).expand(t1.shape[0], -1) / n_samples
    if generator is not None:
        jitter = torch.rand(t1.shape[0], n_samples + 1, generator=generator, device=t1.device) - 0.5
        inner = (u + jitter / n_samples)[:, 1:-1]
        u = torch.cat([u[:, :1], inner, u[:, -1:]], -1)
    start = t1[:, None].clamp_min(1e-3)
    return 1 / ((1 - u) / start + u / (start + far))


def _normalised(weight: Tensor) -> Tensor:
    return weight / weight.sum(-1, keepdim=True).clamp_min(1e-8)
