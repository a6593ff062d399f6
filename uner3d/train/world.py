"""What is fixed about a scene while a field is fitted to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from uner3d.config import Config

from .photos import PhotoSet, Ranking, SeenDepths, neighbours, shows
from .prior import THOROUGH, Prior, match_photos
from .schedule import LEAST_HALVED

FULLY_MATCHED = 500_000  # pixels that show something, up to which the first matching is at full resolution


@dataclass
class World:
    """What is fixed about a scene during training: photos by reduction factor, neighbour ranking, background colour
    (3,) or None, half edges of the box (3,), allowed cells of the grid, whether rays may end beyond the box, and the
    depths that matching the photos has found beforehand, if any. sources: for each view those that condition what is
    predicted of it, where that is not the ranking (of which it is no part itself)."""

    photos: dict[int, PhotoSet]
    ranking: Ranking
    background: Tensor | None
    extent: Tensor
    allowed: Tensor | None
    outside: bool
    prior: Prior | None = None
    sources: Ranking | None = None

    def show(self, seen: SeenDepths | None) -> None:
        """Let the photos know where their surfaces lie: from then on what those hide from one does not get its
        colours and features."""
        for photos in self.photos.values():
            photos.seen = seen

    @property
    def conditioning(self) -> Ranking:
        """For each view those that condition what is predicted of it, most alike first."""
        return self.ranking if self.sources is None else self.sources

    @property
    def device(self) -> torch.device:
        """Where all tensors but the ranking lie; the fit runs there."""
        return self.extent.device

    @cached_property
    def shown(self) -> float:
        """The share of the photos' pixels that show something: what masks cover, or what differs from a uniform
        background; all of them where there is neither."""
        photos = self.photos[1]
        if photos.masks is not None:
            return float((photos.masks > 127).float().mean())
        if self.background is None:
            return 1.0
        shares = [shows(image.float() / 255, self.background).float().mean() for image in photos.images]
        return float(torch.stack(shares).mean())

    def to(self, device: torch.device | str) -> World:
        """The same on another device."""
        if self.device == torch.device(device):
            return self
        background, allowed = (None if t is None else t.to(device) for t in (self.background, self.allowed))
        photos = {reduction: some.to(device) for reduction, some in self.photos.items()}
        prior = None if self.prior is None else self.prior.to(device)
        return replace(self, photos=photos, background=background, extent=self.extent.to(device), allowed=allowed,
                       prior=prior)  # fmt: skip


def make_world(config: Config, photos: PhotoSet, extent: Tensor, background: Tensor | None, allowed: Tensor | None,
               outside: bool) -> World:  # fmt: skip
    """Photos at both resolutions and the ranking of neighbours."""
    by_reduction = {1: photos, 2: photos.reduced(2)}
    return World(by_reduction, neighbours(photos), background, extent, allowed, outside)


def find_prior(world: World, seed: int) -> Prior:
    """What matching the photos tells beforehand, on the world's device: at full resolution where there is little to
    match, which is where few photos make matching hard."""
    thorough = is_small(world)
    reduction = 2 if world.photos[1].size[1] >= LEAST_HALVED and not thorough else 1
    return match_photos(world.photos[reduction], reduction, world.ranking, world.extent, world.background, seed,
                        *(THOROUGH if thorough else ()))


def is_small(world: World) -> bool:
    """Whether so few pixels show something that matching can be thorough, and where photos are few it has to be."""
    height, width = world.photos[1].size
    return world.shown * len(world.photos[1]) * height * width <= FULLY_MATCHED
