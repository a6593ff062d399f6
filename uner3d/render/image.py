"""Whole images of a fitted field, in chunks."""

from __future__ import annotations

import torch
from torch import Tensor

from uner3d.device import at_once

from .grid import DensityGrid
from .renderer import RenderSettings, pixel_rays, render_rays
from .sampling import GRID_STEPS, ray_box

CHUNK = 2048  # rays at a time on the CPU: bounds the memory of a picture to some hundred megabytes


@torch.no_grad()
def render_image(field, sources, grid: DensityGrid, K: Tensor, cam_from_unit: Tensor, height: int, width: int,
                 settings: RenderSettings) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Colour (h, w, 3), z-depth (h, w) in the unit frame (0 where nothing is) and opacity (h, w) of one camera."""
    n_pixels, device = height * width, K.device
    rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    pixels = torch.stack([x, y], -1).reshape(-1, 2).to(K) + 0.5
    origins, directions = pixel_rays(K, cam_from_unit, pixels)
    behind = torch.zeros(3, device=device) if settings.behind is None else settings.behind
    colour = behind.repeat(n_pixels, 1)
    depth, opacity = torch.zeros(n_pixels, device=device), torch.zeros(n_pixels, device=device)
    wanted, size = torch.arange(n_pixels, device=device), at_once(CHUNK, device)
    if settings.samples_outside == 0:
        wanted = torch.cat([part[may_hit(grid, origins[part], directions[part])] for part in wanted.split(size)])
    for part in wanted.split(size):
        seen = render_rays(field, sources, grid, origins[part], directions[part], settings)
        colour[part], opacity[part] = seen.colour, seen.opacity
        depth[part] = torch.where(seen.opacity > 0.5, seen.depth, torch.zeros_like(seen.depth))
    shape = (height, width)
    return colour.view(*shape, 3), depth.view(shape), opacity.view(shape)


def mean_colour(images: Tensor) -> Tensor:
    """The mean (3,) of photos (V, H, W, 3): the best guess of what they do not show."""
    return images.mean((0, 1, 2), dtype=torch.float32)


def may_hit(grid: DensityGrid, origins: Tensor, directions: Tensor, least: float = 1e-2) -> Tensor:
    """Whether the grid's optical depth along each ray (N,) is worth rendering."""
    t0, t1 = ray_box(origins, directions, grid.bounds)
    step = (t1 - t0).clamp_min(0)[:, None] / GRID_STEPS
    t = t0[:, None] + step * (torch.arange(GRID_STEPS, device=origins.device) + 0.5)
    sigma = grid.lookup(torch.addcmul(origins[:, None], t[..., None], directions[:, None]))
    return (sigma * step * directions.norm(dim=-1, keepdim=True)).sum(-1) > least
