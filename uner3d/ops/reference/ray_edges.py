"""Importance sampling of rays by a density grid in plain torch: the twin of the CPU kernel, and what runs elsewhere.

Nothing here waits for a GPU or has a shape that depends on values, so that a CUDA graph can hold it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .density_grid import grid_cells

SOFTENING = 0.2  # the grid holds densities of the recent past: what it hides may be in sight
OCCUPIED_DEPTH = 0.05  # optical depth of a grid step from which on it is worth a sample
BLOCKED_DEPTH = 5.0  # optical depth behind which nothing can be seen


@torch.no_grad()
def ray_edges(
    knots: Tensor, origins: Tensor, directions: Tensor, values: Tensor, extent: Tensor, uniform: float | Tensor,
    n_samples: int, jitter: Tensor | None = None, contracted: bool = False,
) -> Tensor:  # fmt: skip
    """See :func:`uner3d.ops.ray_edges`."""
    n_rays, n_knots = knots.shape
    step = knots[:, 1:] - knots[:, :-1]
    t = 0.5 * (knots[:, 1:] + knots[:, :-1])
    points = torch.addcmul(origins[:, None], t[..., None], directions[:, None])
    sigma = values.reshape(-1)[grid_cells(points, extent, values.shape[0], contracted)]
    depth = sigma * (step * directions.norm(dim=-1, keepdim=True))
    before = SOFTENING * (depth.cumsum(-1) - depth)
    weight = torch.exp(-before) * (1 - torch.exp(-depth))
    # Neighbours share their weight: the grid is coarser than the surface, and it lags behind the field.
    weight = _dilated(weight)
    occupied = _dilated(((depth > OCCUPIED_DEPTH) & (before < BLOCKED_DEPTH)).to(knots.dtype))
    # A ray that the grid holds empty spreads its samples: that is where a surface can still be found.
    empty = (occupied.sum(-1, keepdim=True) == 0).to(knots.dtype)
    spread = (uniform + empty).clamp(max=1.0)
    pdf = (1 - spread) * 0.5 * (_normalised(weight) + _normalised(occupied))
    pdf = pdf + (spread + 1e-4) * _normalised((sigma > 0).to(knots.dtype))
    cdf = torch.cat([knots.new_zeros(n_rays, 1), pdf.cumsum(-1)], -1)
    cdf = cdf / cdf[:, -1:].clamp_min(1e-8)
    u = (torch.arange(n_samples + 1, device=knots.device, dtype=knots.dtype) / n_samples).expand(n_rays, -1)
    if jitter is not None:
        u = (u + (jitter - 0.5) / n_samples).clamp(0, 1)
    index = torch.searchsorted(cdf, u.contiguous(), right=True).clamp_(1, n_knots - 1)
    low, high = cdf.gather(1, index - 1), cdf.gather(1, index)
    fraction = ((u - low) / (high - low).clamp_min(1e-8)).clamp(0, 1)
    return knots.gather(1, index - 1) + step.gather(1, index - 1) * fraction


def _dilated(x: Tensor) -> Tensor:
    padded = torch.nn.functional.pad(x, (1, 1))
    return torch.maximum(torch.maximum(padded[:, :-2], padded[:, 2:]), x)


def _normalised(weight: Tensor) -> Tensor:
    return weight / weight.sum(-1, keepdim=True).clamp_min(1e-8)
