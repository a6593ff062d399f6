"""Volume rendering of a field along rays, conditioned on source views."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from uner3d import ops

from . import rays as closed_form
from .grid import DensityGrid
from .sampling import importance_edges, outside_edges, ray_box

COLOUR_THRESHOLD = 1e-3  # rendering weight below which a sample's colour cannot be seen


class Field(Protocol):
    """What the renderer asks of a model: densities with a code, and colours from that code."""

    def density(self, x: Tensor, rays: Tensor, sources, window: float | Tensor) -> tuple[Tensor, Tensor]: ...

    def colour(self, x: Tensor, rays: Tensor, code: Tensor, sources) -> Tensor: ...


@dataclass
class Rendering:
    """colour (N, 3) over the background; depth (N,) in multiples of the ray direction, averaged over the opacity;
    opacity (N,); weights (N, S) and edges (N, S + 1) of the samples; points (N, S, 3), sigma (N, S)."""

    colour: Tensor
    depth: Tensor
    opacity: Tensor
    weights: Tensor
    edges: Tensor
    points: Tensor
    sigma: Tensor


@dataclass
class RenderSettings:
    """samples inside and outside the box; share of the inner ones spread evenly; background (3,) or None (black);
    open octaves, or their factors. fixed_shapes: colours are computed for hidden samples too and then dropped, so that
    no shape depends on values: the host then never waits for a GPU to count the visible ones. unseen: colour (3,) of
    samples that no source sees, and behind rays that meet nothing where there is no background; None: black."""

    samples: int = 32
    samples_outside: int = 0
    uniform: float | Tensor = 0.3
    background: Tensor | None = None
    window: float | Tensor = 16.0
    fixed_shapes: bool = False
    unseen: Tensor | None = None

    @property
    def behind(self) -> Tensor | None:
        """Colour (3,) behind rays that meet nothing, None: black."""
        return self.unseen if self.background is None else self.background


def render_rays(
    field: Field, sources, grid: DensityGrid, origins: Tensor, directions: Tensor, settings: RenderSettings,
    generator: torch.Generator | None = None, with_colour: bool = True,
) -> Rendering:  # fmt: skip
    """Render rays (N, 3), (N, 3) of the unit frame. ``generator`` jitters the samples; None makes them deterministic.

    Differentiable in the field's weights and the sources' maps; not in the sample positions.
    """
    with torch.no_grad():
        edges = _edges(grid, origins, directions, settings, generator)
    n_rays, n_samples = edges.shape[0], edges.shape[1] - 1
    length = directions.norm(dim=-1, keepdim=True)
    middles = 0.5 * (edges[:, 1:] + edges[:, :-1])
    points = torch.addcmul(origins[:, None], middles[..., None], directions[:, None])
    rays = (directions / length)[:, None].expand_as(points)
    flat_x, flat_rays = points.reshape(-1, 3), rays.reshape(-1, 3)
    lengths = edges * length  # densities are per unit of length, edges in multiples of the direction
    sigma, asked, code = densities(field, sources, grid, flat_x, flat_rays, settings.window, settings.fixed_shapes)
    sigma = sigma.view(n_rays, n_samples)
    colour = torch.zeros(n_rays * n_samples, 3, device=origins.device)
    if with_colour:
        with torch.no_grad():
            weights = ops.composite(sigma.detach(), colour.view(n_rays, n_samples, 3)[..., :0], lengths).weights
            visible = weights.reshape(-1) > COLOUR_THRESHOLD
        if settings.fixed_shapes:
            seen = _colours(field, flat_x, flat_rays, code, sources, settings)
            colour = torch.where(visible[:, None], seen, colour)
        else:
            code_row = visible[asked].nonzero()[:, 0]
            row = visible.nonzero()[:, 0]  # the same samples, since what was not asked for has no weight
            seen = _colours(field, flat_x[row], flat_rays[row], code[code_row], sources, settings)
            colour = colour.index_put((row,), seen)
    result = ops.composite(sigma, colour.view(n_rays, n_samples, 3), lengths)
    out = result.colour
    if settings.behind is not None:
        out = out + (1 - result.opacity)[:, None] * settings.behind
    depth = result.depth / (result.opacity.clamp_min(1e-6) * length[:, 0])
    return Rendering(out, depth, result.opacity, result.weights, edges, points, sigma)


def _colours(field: Field, x: Tensor, rays: Tensor, code: Tensor, sources, settings: RenderSettings) -> Tensor:
    """Colours (N, 3) at x (N, 3); ``settings.unseen`` where no source looks."""
    colour = field.colour(x, rays, code, sources)
    if settings.unseen is None:
        return colour
    _, inside = ops.sample_views(sources.images, sources.K, sources.cam_from_unit, x)
    return torch.where(inside.any(1, keepdim=True), colour, settings.unseen)


def densities(
    field: Field, sources, grid: DensityGrid, x: Tensor, rays: Tensor, window: float | Tensor, fixed_shapes: bool
) -> tuple[Tensor, Tensor | slice, Tensor]:
    """Densities (N,) at x (N, 3), zero in carved cells; the M of them that the field was asked for; their codes (M, G).

    Of an object with masks a third of a batch's samples belong to rays that no silhouette lets meet anything; with
    ``fixed_shapes`` they are asked for all the same.
    """
    if grid.allowed is None:
        sigma, code = field.density(x, rays, sources, window)
        return sigma, slice(None), code
    allowed = grid.allowed.reshape(-1)[grid.cells(x)]
    if fixed_shapes:
        sigma, code = field.density(x, rays, sources, window)
        return sigma * allowed, slice(None), code
    asked = allowed.nonzero()[:, 0]
    sigma, code = field.density(x[asked], rays[asked], sources, window)
    return sigma.new_zeros(len(x)).index_put((asked,), sigma), asked, code


def _edges(
    grid: DensityGrid, origins: Tensor, directions: Tensor, settings: RenderSettings, generator: torch.Generator | None
) -> Tensor:
    t0, t1 = ray_box(origins, directions, grid.bounds)
    # A ray that misses the box still needs a place where the inner samples collapse to nothing.
    t1 = torch.maximum(t1, t0 + 1e-6)
    inner = importance_edges(grid, origins, directions, t0, t1, settings.samples, generator, settings.uniform)
    if settings.samples_outside == 0:
        return inner
    # The inner samples end at t1, or jitter just before it; the outer ones begin there.
    beyond = outside_edges(grid, origins, directions, t1, settings.samples_outside, generator, settings.uniform)
    return torch.cat([inner[:, :-1], torch.maximum(beyond, inner[:, -2:-1])], -1)


def pixel_rays(K: Tensor, cam_from_unit: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Origins and directions (N, 3) of pixels (N, 2) given in pixel coordinates (centres at +0.5).

    K (3, 3) or (N, 3, 3), cam_from_unit (3, 4) or (N, 3, 4). A direction has unit depth in its camera, so that t is
    the z-depth.
    """
    if pixels.device.type != "cpu":  # the solver of a GPU reports singular matrices to the host, which waits for it
        return closed_form.pixel_rays(K, cam_from_unit, pixels)
    homogeneous = F.pad(pixels, (0, 1), value=1.0)
    in_camera = torch.linalg.solve(K, homogeneous[..., None])[..., 0] if K.dim() == 3 else homogeneous @ K.inverse().T
    rotation, shift = cam_from_unit[..., :3], cam_from_unit[..., 3]
    directions = (rotation.mT @ in_camera[..., None])[..., 0]
    origins = -(rotation.mT @ shift[..., None])[..., 0]
    return origins.expand_as(directions), directions
