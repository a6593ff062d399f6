"""Which views, pixels and rays a training step uses."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from uner3d.render.renderer import pixel_rays

from .photos import PhotoSet, Ranking, shows


@dataclass
class Group:
    """The views of a few consecutive steps: sources (S,), and targets (T,) that are none of them; on the CPU."""

    sources: Tensor
    targets: Tensor


@dataclass
class Batch:
    """Rays of target pixels: views (N,), pixels (N, 2) whole (column, row), origins and directions (N, 3) in the unit
    frame, colours (N, 3), masks (N,) or None."""

    views: Tensor
    pixels: Tensor
    origins: Tensor
    directions: Tensor
    colours: Tensor
    masks: Tensor | None


def draw_group(ranking: Ranking, n_sources: int, generator: torch.Generator) -> Group:
    """A random view and its neighbours (rows of ``ranking``): most of them sources, the rest further targets.

    ``generator`` is the CPU's: the host must know these numbers to look the views up.
    """
    anchor = int(torch.randint(len(ranking), (), generator=generator))
    near = ranking[anchor][: max(2, n_sources + 4)]
    order = near[torch.randperm(len(near), generator=generator)]
    # Where views are few, about a third of them stay targets, which the geometric loss needs.
    n_sources = min(n_sources, max(1, (2 * len(order) + 2) // 3))
    return Group(order[:n_sources], torch.cat([torch.tensor([anchor]), order[n_sources:][:3]]))


def draw_batch(photos: PhotoSet, targets: Tensor, n_rays: int, patch: int, generator: torch.Generator,
               background: Tensor | None) -> Batch:  # fmt: skip
    """Patches of patch x patch pixels from the target views (T,); those that show the object or structure are
    preferred. ``targets`` and ``generator`` are on the photos' device, and so is all that is made of them."""
    (height, width), device = photos.size, photos.device
    n_patches = max(1, n_rays // (patch * patch))
    n_candidates = 3 * n_patches
    views = targets[torch.randint(len(targets), (n_candidates,), generator=generator, device=device)]
    column = torch.randint(max(1, width - patch + 1), (n_candidates,), generator=generator, device=device)
    row = torch.randint(max(1, height - patch + 1), (n_candidates,), generator=generator, device=device)
    middle = torch.stack([(column + patch // 2).clamp(max=width - 1), (row + patch // 2).clamp(max=height - 1)], -1)
    interest = torch.full((n_candidates,), 1.0, device=device)
    if photos.masks is not None:
        interest = photos.masks[views, middle[:, 1], middle[:, 0]].float() / 255 + 0.15
    elif background is not None:
        differs = shows(photos.pixels(views, middle), background)
        interest = differs.float() + 0.15
    # Weighted sampling without replacement: largest u^(1/w) (Efraimidis and Spirakis 2006).
    key = torch.rand(n_candidates, generator=generator, device=device).log() / interest
    chosen = key.topk(n_patches).indices
    dy, dx = torch.meshgrid(torch.arange(patch, device=device), torch.arange(patch, device=device), indexing="ij")
    x = (column[chosen, None] + dx.reshape(-1)).clamp(max=width - 1)
    y = (row[chosen, None] + dy.reshape(-1)).clamp(max=height - 1)
    pixels = torch.stack([x, y], -1).reshape(-1, 2)
    return gather(photos, views[chosen].repeat_interleave(patch * patch), pixels)


def draw_true(flags: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Indices (n,) of random true entries of ``flags`` (N,), with replacement.

    On a GPU by rank in the running count, because a list of the true entries would have a length to wait for; where
    none is true the indices are arbitrary there, while the CPU raises.
    """
    if flags.device.type == "cpu":
        true = flags.nonzero()[:, 0]
        return true[torch.randint(len(true), (n,), generator=generator)]
    before = flags.cumsum(0)
    rank = (torch.rand(n, generator=generator, device=flags.device) * before[-1]).long()
    rank = torch.minimum(rank, before[-1] - 1)  # the product may round up to the count
    return torch.searchsorted(before, rank, right=True).clamp_(max=len(flags) - 1)


def gather(photos: PhotoSet, views: Tensor, pixels: Tensor) -> Batch:
    """The rays, colours and masks of whole pixels (N, 2) of views (N,)."""
    origins, directions = pixel_rays(photos.K[views], photos.cam_from_unit[views], pixels + 0.5)
    masks = None
    if photos.masks is not None:
        masks = photos.masks[views, pixels[:, 1], pixels[:, 0]].float() / 255
    return Batch(views, pixels, origins, directions, photos.pixels(views, pixels), masks)
