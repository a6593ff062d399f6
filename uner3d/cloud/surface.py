"""The field's surface as each view sees it: where transmittance falls through one half."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from uner3d.device import at_once
from uner3d.render.grid import DensityGrid
from uner3d.render.image import may_hit
from uner3d.render.renderer import densities, pixel_rays
from uner3d.render.sampling import importance_edges, ray_box
from uner3d.train.hull import Silhouettes
from uner3d.train.photos import Ranking

LN_2 = 0.6931472  # optical depth that halves the transmittance
CHUNK = 4096  # rays at a time on the CPU; bounds memory whatever the photo's size
N_REFINE = 8
HULL_REACH, HULL_STEPS = 8.0, 24  # photo pixels behind the field's surface in which the hull is looked for
CERTAIN_REACH, CERTAIN_STEPS = 3.0, 6  # raster pixels to each side of a depth that count as near it; samples in them
WALL = 2.0  # cells of the grid behind the wall of the box
HALF = 0.2  # optical depth of the grid along a ray, below which ln 2 is out of reach


@dataclass
class SurfaceMaps:
    """Surface per view on a pixel raster, in the unit frame: depth (V, h, w) z-depth, 0 where there is none;
    K (V, 3, 3) of the raster; cam_from_unit (V, 3, 4); stride, photo pixels per raster pixel; normals (V, h, w, 3)
    where they are known better than from differences of depth, or None; certainty (V, h, w): how much of a ray's
    rendering weight lies near its depth, or None."""

    depth: Tensor
    K: Tensor
    cam_from_unit: Tensor
    stride: int
    normals: Tensor | None = None
    certainty: Tensor | None = None

    def to(self, device: torch.device | str) -> SurfaceMaps:
        """The same on another device."""
        normals, certainty = (None if t is None else t.to(device) for t in (self.normals, self.certainty))
        return SurfaceMaps(self.depth.to(device), self.K.to(device), self.cam_from_unit.to(device), self.stride,
                           normals, certainty)  # fmt: skip

    def points(self, view: int) -> Tensor:
        """Surface points (h, w, 3) of a view; the camera's centre where there is no surface."""
        origins, directions = raster_rays(self.K[view], self.cam_from_unit[view], *self.depth.shape[1:])
        shape = (*self.depth.shape[1:], 3)
        return origins.view(shape) + self.depth[view][..., None] * directions.view(shape)


def raster_rays(K: Tensor, cam_from_unit: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Rays (h * w, 3), (h * w, 3) through the pixel centres of a raster, row by row."""
    rows, columns = torch.arange(height, device=K.device), torch.arange(width, device=K.device)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    pixels = torch.stack([x, y], -1).reshape(-1, 2).to(K) + 0.5
    return pixel_rays(K, cam_from_unit, pixels)


@torch.no_grad()
def first_crossing(field, sources, grid: DensityGrid, origins: Tensor, directions: Tensor, n_samples: int,
                   window: float) -> Tensor:  # fmt: skip
    """Depth (N,) in multiples of the direction where transmittance first falls through 1/2; 0 where it never does.

    Coarse edges follow the density grid; the bin of the crossing is then cut finer around it. Within a bin the density
    is constant, so the crossing solves T_i exp(-sigma_i (t - t_i)) = 1/2 in closed form.
    """
    t0, t1 = ray_box(origins, directions, grid.bounds)
    depth = torch.zeros_like(t0)
    hit = (t1 > t0).nonzero()[:, 0]
    if len(hit) == 0:
        return depth
    o, d = origins[hit], directions[hit]
    edges = importance_edges(grid, o, d, t0[hit], t1[hit], n_samples, None, 0.1)
    found, before, index, _ = _crossing(field, sources, grid, o, d, edges, o.new_zeros(len(hit)), window)
    keep = found.nonzero()[:, 0]
    if len(keep) == 0:
        return depth
    low = edges[keep].gather(1, (index[keep, None] - 1).clamp_min(0))
    high = edges[keep].gather(1, (index[keep, None] + 2).clamp_max(n_samples))
    entry = before[keep].gather(1, (index[keep, None] - 1).clamp_min(0))[:, 0]
    steps = torch.linspace(0, 1, N_REFINE + 1, device=o.device)
    fine = low + (high - low) * steps
    found, _, _, t = _crossing(field, sources, grid, o[keep], d[keep], fine, entry, window)
    depth[hit[keep]] = torch.where(found, t, torch.zeros_like(t))
    return depth


def behind_wall(grid: DensityGrid, origins: Tensor, directions: Tensor, depth: Tensor) -> Tensor:
    """Depths (N,), 0 where they lie within WALL cells of where the ray comes into the box: what such a ray met lies
    before the box, where nothing is sampled, and the field has painted it onto the wall."""
    entry, _ = ray_box(origins, directions, torch.stack([-grid.extent, grid.extent]))
    behind = (depth - entry) * directions.norm(dim=-1)
    return torch.where(behind > WALL * 2 * float(grid.extent.max()) / grid.n, depth, torch.zeros_like(depth))


@torch.no_grad()
def weight_near(field, sources, grid: DensityGrid, origins: Tensor, directions: Tensor, depth: Tensor, reach: float,
                window: float) -> Tensor:  # fmt: skip
    """Share (N,) of a ray's rendering weight within ``reach`` (relative) of ``depth`` (N,), where its transmittance is
    1/2: with the optical depths a before and b behind it, (e^a - e^-b) / 2. A field that knows its surface puts all of
    the weight there, one that guesses spreads it."""
    edges = depth[:, None] * (1 + reach * torch.linspace(-1, 1, 2 * CERTAIN_STEPS + 1, device=depth.device))
    _, passed = _optical_depths(field, sources, grid, origins, directions, edges, window)
    before = passed[:, :CERTAIN_STEPS].sum(1).clamp_max(LN_2)
    return 0.5 * (before.exp() - (-passed[:, CERTAIN_STEPS:].sum(1)).exp())


@torch.no_grad()
def enter_hull(hull: Silhouettes, origins: Tensor, directions: Tensor, depth: Tensor, focal: float) -> Tensor:
    """Depths (N,) moved on to where their rays enter the visual hull, at most HULL_REACH photo pixels behind; 0 where
    they do not. A soft density begins to show before the surface, and the silhouettes know better."""
    found = (depth > 0).nonzero()[:, 0]
    steps = torch.linspace(0, HULL_REACH / focal, HULL_STEPS + 1, device=depth.device)
    t = depth[found, None] * (1 + steps)
    points = torch.addcmul(origins[found, None], t[..., None], directions[found, None])
    inside = hull.contain(points.reshape(-1, 3)).view(t.shape)
    first = inside.float().argmax(1)
    half_step = 0.5 * depth[found] * float(steps[1]) * (first > 0)
    entered = t.gather(1, first[:, None])[:, 0] - half_step
    out = torch.zeros_like(depth)
    out[found] = torch.where(inside.any(1), entered, torch.zeros_like(entered))
    return out


def _crossing(field, sources, grid, origins, directions, edges, entry, window):
    """Whether, and where, optical depth ``entry`` (N,) plus that along ``edges`` (N, S + 1) passes ln 2; also the
    optical depth before each bin (N, S) and the bin's index."""
    rate, passed = _optical_depths(field, sources, grid, origins, directions, edges, window)
    after = entry[:, None] + passed.cumsum(-1)
    before = after - passed
    beyond = after >= LN_2
    found = beyond.any(-1)
    index = beyond.float().argmax(-1)
    i = index[:, None]
    t = edges.gather(1, i) + (LN_2 - before.gather(1, i)) / rate.gather(1, i).clamp_min(1e-6)
    t = torch.minimum(torch.maximum(t, edges.gather(1, i)), edges.gather(1, i + 1))[:, 0]
    return found, before, index, t


def _optical_depths(field, sources, grid, origins, directions, edges, window):
    """Optical depth per multiple of the direction (N, S) between ``edges`` (N, S + 1), and of the whole bins."""
    length = directions.norm(dim=-1, keepdim=True)
    middles = 0.5 * (edges[:, 1:] + edges[:, :-1])
    points = torch.addcmul(origins[:, None], middles[..., None], directions[:, None])
    rays = (directions / length)[:, None].expand_as(points)
    # Samples are placed in no carved cell, so there is nothing to leave out.
    sigma, _, _ = densities(field, sources, grid, points.reshape(-1, 3), rays.reshape(-1, 3), window, True)
    rate = sigma.view(middles.shape) * length
    return rate, rate * (edges[:, 1:] - edges[:, :-1])


@torch.no_grad()
def render_surfaces(model, photos, ranking: Ranking, grid: DensityGrid, n_sources: int, n_samples: int, stride: int,
                    window: float, progress: Callable[[float], None] | None = None,
                    views: list[int] | None = None, certain: bool = False) -> SurfaceMaps:  # fmt: skip
    """Surface maps of all (or some) views, on the photos' device; ``ranking`` says which sources condition a view, as
    in training. ``certain``: with their certainty."""
    height, width = photos.size[0] // stride, photos.size[1] // stride
    K = photos.K.clone()
    K[:, :2] /= stride
    views = list(range(len(photos))) if views is None else views
    depths, size = torch.zeros(len(photos), height, width, device=K.device), at_once(CHUNK, K.device)
    certainties = torch.zeros_like(depths) if certain else None
    hull = Silhouettes(photos) if photos.masks is not None else None
    for done, view in enumerate(views):
        near = ranking[view][:n_sources]
        sources = model.encode_views(photos, near)
        origins, directions = raster_rays(K[view], photos.cam_from_unit[view], height, width)
        wanted = torch.arange(height * width, device=K.device)
        if photos.masks is not None:
            mask = F.max_pool2d(photos.masks[view][None, None].float(), stride)[0, 0, :height, :width]
            wanted = (mask.reshape(-1) > 127).nonzero()[:, 0]
        wanted = wanted[torch.cat([may_hit(grid, origins[c], directions[c], HALF) for c in wanted.split(size)])]
        flat = depths[view].view(-1)
        for chunk in wanted.split(size):
            depth = first_crossing(model.field, sources, grid, origins[chunk], directions[chunk], n_samples, window)
            if grid.outer is not None:
                depth = behind_wall(grid, origins[chunk], directions[chunk], depth)
            if hull is not None:
                depth = enter_hull(hull, origins[chunk], directions[chunk], depth, float(photos.K[view, 0, 0]))
            flat[chunk] = depth
            if certainties is not None:
                certainties[view].view(-1)[chunk] = weight_near(
                    model.field, sources, grid, origins[chunk], directions[chunk], depth,
                    CERTAIN_REACH / float(K[view, 0, 0]), window) * (depth > 0)  # fmt: skip
        if progress:
            progress((done + 1) / len(views))
    return SurfaceMaps(depths, K, photos.cam_from_unit, stride, certainty=certainties)
