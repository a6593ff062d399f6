"""Stage 0: depths that the photos give away without any learning, to start the field where the surface is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from uner3d import ops
from uner3d.device import upload
from uner3d.render.renderer import pixel_rays
from uner3d.render.sampling import ray_box

from .photos import PhotoSet, Ranking, SeenDepths, shows

SOURCES, ITERATIONS, BEST = 6, 6, 2
THOROUGH = 10, 1  # iterations and best sources where there is little to match, and few photos may see the same
REACH = 16.0  # pixels by which a random start may be moved at first
CORRELATED = 0.5  # score from which on a match counts
SEEN_WIDTH = 400
AGREEMENT = 0.01  # relative difference of depth up to which two views mean the same surface


@dataclass
class Prior:
    """Depths (V, h, w) of the pixels that at least two other views confirm, 0 elsewhere, with weights (V, h, w) in
    [0, 1], on photos reduced by ``reduction``."""

    depth: Tensor
    weight: Tensor
    reduction: int

    def to(self, device: torch.device | str) -> Prior:
        """The same on another device."""
        return Prior(self.depth.to(device), self.weight.to(device), self.reduction)

    def at(self, views: Tensor, pixels: Tensor, reduction: int) -> tuple[Tensor, Tensor]:
        """Depths and weights (N,) at whole pixels (N, 2) of photos reduced by ``reduction``."""
        column, row = (pixels * reduction // self.reduction).unbind(1)
        height, width = self.depth.shape[1:]
        index = views, row.clamp(max=height - 1), column.clamp(max=width - 1)
        return self.depth[index], self.weight[index]

    def seen(self, photos: PhotoSet) -> SeenDepths:
        """The depths at no more than SEEN_WIDTH columns, which are enough to tell what is hidden; ``photos`` at the
        prior's reduction."""
        step = -(-self.depth.shape[2] // SEEN_WIDTH)
        first = step // 2
        K = photos.K.clone()
        K[:, :2] /= step
        K[:, :2, 2] += 0.5 - (first + 0.5) / step  # every step-th pixel, at its centre
        return SeenDepths(self.depth[:, first::step, first::step].half().contiguous(), K)

    def points(self, photos: PhotoSet) -> Tensor:
        """The confirmed surface points (N, 3), unit frame; ``photos`` at the prior's reduction."""
        found = [_points(photos, view, self.depth[view]) for view in range(len(photos))]
        return torch.cat([x[depth.view(-1) > 0] for x, depth in zip(found, self.depth, strict=True)])


@torch.no_grad()
def match_photos(photos: PhotoSet, reduction: int, ranking: Ranking, extent: Tensor, background: Tensor | None,
                 seed: int, iterations: int = ITERATIONS, n_best: int = BEST) -> Prior:  # fmt: skip
    """Patch matching of every view from random planes inside the box (half edges ``extent`` (3,)), kept where other
    views find the same surface.

    Depths are drawn evenly in inverse depth, so that all steps along a ray look alike in the sources. Pixels that show
    the uniform ``background`` (3,), or that masks leave out, have none, and one photo alone has none at all. The photos
    are matched where they lie, all from the same random numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    grey = photos.grey()
    depth, score = torch.zeros_like(grey), torch.zeros_like(grey)
    for view in range(len(photos)):
        start, normal, limits = _random_planes(photos, view, extent, background, generator)
        if limits[0] < limits[1] and len(ranking[view]) > 0:
            views = upload(torch.cat([torch.tensor([view]), ranking[view][:SOURCES]]), photos.device)
            others = torch.arange(1, len(views), device="cpu")
            depth[view], _, score[view], _ = ops.patch_match(
                grey[views], photos.K[views], photos.cam_from_unit[views], 0, others, start, normal, limits,
                iterations=iterations, reach=REACH, n_best=n_best, seed=seed)  # fmt: skip
    depth = torch.where(score >= CORRELATED, depth, torch.zeros_like(depth))
    count = torch.stack([_confirmations(photos, view, depth, ranking[view]) for view in range(len(photos))])
    weight = score * (count / (count + 1.0)) * (count >= max(1, min(2, len(photos) - 1)))
    return Prior(torch.where(weight > 0, depth, torch.zeros_like(depth)), weight.clamp(0, 1), reduction)


def prior_loss(weights: Tensor, edges: Tensor, depth: Tensor, weight: Tensor, width: float | Tensor) -> Tensor:
    """Mean share of the rendering weights that does not lie at the prior's depth, weighted by its own certainty.

    weights (N, S), edges (N, S + 1) of the samples in z-depths; depth (N,), 0 where unknown; weight (N,); width:
    standard deviation of the Gaussian window around the depth, relative to it. Differentiable in ``weights``. A wrong
    prior costs a ray at most its weight, wherever the ray's own surface lies.
    """
    middles = 0.5 * (edges[:, 1:] + edges[:, :-1])
    offset = (middles - depth[:, None]) / (width * depth[:, None]).clamp_min(1e-6)
    there = (weights * torch.exp(-0.5 * offset.square())).sum(1)
    known = weight * (depth > 0)
    return (known * (1 - there)).sum() / max(1, len(depth))


def _random_planes(photos: PhotoSet, view: int, extent: Tensor, background: Tensor | None,
                   generator: torch.Generator) -> tuple[Tensor, Tensor, tuple[float, float]]:  # fmt: skip
    """Random depths (h, w), 0 where nothing is looked for, and normals (h, w, 3); nearest and farthest depth."""
    height, width = photos.size
    origins, directions = _rays(photos, view)
    near, far = ray_box(origins, directions, torch.stack([-extent, extent]))
    wanted = (far > near) & (near > 0)
    image = photos.images[view].view(-1, 3)
    if photos.masks is not None:
        wanted &= photos.masks[view].reshape(-1) > 127
    elif background is not None:
        wanted &= shows(image.float() / 255, background)
    share = torch.rand(height * width, generator=generator).to(photos.device)
    normal = F.normalize(torch.randn(height, width, 3, generator=generator).to(photos.device), dim=-1)
    if not wanted.any():
        return torch.zeros_like(near).view(height, width), normal, (1.0, 0.0)
    limits = float(near[wanted].min()), float(far[wanted].max())
    inverse = share / far.clamp_min(1e-6) + (1 - share) / near.clamp_min(1e-6)
    return torch.where(wanted, 1 / inverse, torch.zeros_like(near)).view(height, width), normal, limits


def _confirmations(photos: PhotoSet, view: int, depth: Tensor, near: Tensor, n_neighbours: int = 10) -> Tensor:
    """In how many neighbouring views the surface points of a view (h, w) lie on the surface found there."""
    height, width = depth.shape[1:]
    points = _points(photos, view, depth[view])
    count = torch.zeros(height * width, device=photos.device)
    for other in near[:n_neighbours].tolist():
        pose, K = photos.cam_from_unit[other], photos.K[other]
        in_camera = points @ pose[:, :3].T + pose[:, 3]
        z = in_camera[:, 2]
        column, row = ((in_camera @ K.T)[:, :2] / z.clamp_min(1e-6)[:, None]).floor().unbind(1)
        inside = (z > 0) & (column >= 0) & (row >= 0) & (column < width) & (row < height)
        column, row = column.long().clamp(0, width - 1), row.long().clamp(0, height - 1)
        there = depth[other][row, column]
        count += inside & (there > 0) & ((there - z).abs() < AGREEMENT * z)
    return (count * (depth[view].view(-1) > 0)).view(height, width)


def _rays(photos: PhotoSet, view: int) -> tuple[Tensor, Tensor]:
    axes = (torch.arange(n, device=photos.device) for n in photos.size)
    row, column = torch.meshgrid(*axes, indexing="ij")
    pixels = torch.stack([column, row], -1).reshape(-1, 2) + 0.5
    return pixel_rays(photos.K[view], photos.cam_from_unit[view], pixels)


def _points(photos: PhotoSet, view: int, depth: Tensor) -> Tensor:
    origins, directions = _rays(photos, view)
    return origins + depth.view(-1, 1) * directions
