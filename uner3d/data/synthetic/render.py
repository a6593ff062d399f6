"""Light, room and camera: from an object to photos of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uner3d.data.synthetic.cameras import Viewpoint
from uner3d.data.synthetic.surface import Surface
from uner3d.data.synthetic.texture import Grain, Texture, ValueNoise, checks, marble, spots

Develop = Callable[[Tensor], Tensor]

_SAMPLES_PER_CHUNK = 1 << 15  # keeps the working set of the tracer near the size of the cache


def _unit(x: float, y: float, z: float) -> tuple[float, float, float]:
    length = (x * x + y * y + z * z) ** 0.5
    return x / length, y / length, z / length


@dataclass(frozen=True)
class Light:
    """Ambient light, a key light that casts soft shadows and a fill light that casts none.

    ``toward_key``, ``toward_fill``: unit vectors to them from the object. ``shininess``: the larger, the smaller the
    highlights of the key light.
    """

    ambient: float = 0.58
    key: float = 0.55
    fill: float = 0.18
    toward_key: tuple[float, float, float] = _unit(0.5, 0.8, 0.45)
    toward_fill: tuple[float, float, float] = _unit(-0.6, 0.15, -0.5)
    shininess: float = 40.0


class Room:
    """A textured table and the room around it, seen from within: the inside of a box.

    The table lies at height ``floor``; the walls stand at x, z = +-``half``; the ceiling is 2.2 * half above the table.
    ``faces``: textures across x, y (table and ceiling) and z, in lengths of ``unit``; by default the seed's own three.
    """

    def __init__(
        self, floor: float, half: float, unit: float, seed: int, faces: Sequence[Texture] | None = None
    ) -> None:
        self.low = torch.tensor([-half, floor, -half])
        self.high = torch.tensor([half, floor + 2.2 * half, half])
        noise = ValueNoise(seed)
        fine, coarse = Grain(noise, 0.3, 3, 0.9), Grain(noise, 1.6, 4, 0.9)
        cloth = spots(fine, (0.62, 0.55, 0.42), [(0.3, 0.42, 0.5), (0.65, 0.35, 0.28), (0.36, 0.46, 0.3)], 0.55)
        self._faces: list[Texture] = list(faces) if faces is not None else [
            marble(coarse, (0.35, 0.42, 0.5), (0.75, 0.7, 0.6), 3.0),
            cloth,
            checks(coarse, (0.38, 0.33, 0.3), (0.62, 0.58, 0.5), 1.7),
        ]
        self._unit = unit

    def hit(self, origin: Tensor, direction: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Points, inward normals and albedo, each (3, N), where rays from one point (3,) or many (3, N) leave it."""
        origin = origin.reshape(3, -1)
        ahead = torch.where(direction > 0, self.high[:, None], self.low[:, None])
        t, axis = ((ahead - origin) / direction).min(0)
        p = origin + direction * t
        one_hot = torch.nn.functional.one_hot(axis, 3).T
        albedo = torch.zeros_like(p)
        for k, texture in enumerate(self._faces):
            (mine,) = torch.nonzero(axis == k, as_tuple=True)
            if len(mine):
                albedo[:, mine] = texture((p[:, mine] - self.low[:, None]) / self._unit)
        return p, torch.where(one_hot > 0, -torch.sign(direction), 0), albedo


@dataclass
class Stage:
    """What a photo shows: the object, the room around it if there is one, how glossy the object is (0 to 1), its light.

    ``background``: without a room, the colour in [0, 1] behind the object; None leaves the photo transparent there.
    """

    surface: Surface
    room: Room | None
    specular: float
    light: Light = Light()
    background: tuple[float, float, float] | None = None


def shade(
    stage: Stage, p: Tensor, normal: Tensor, albedo: Tensor, direction: Tensor | None = None, specular: float = 0.0
) -> Tensor:
    """Colour (3, N) of points: soft ambient light, a key light with soft shadows, a fill light without.

    Without ``specular`` it does not depend on where it is seen from, ``direction`` (3, N) being that of the ray.
    """
    light = stage.light
    key = _dot(normal, light.toward_key)
    (lit,) = torch.nonzero(key > 0, as_tuple=True)
    shadow = torch.zeros_like(key)
    shadow[lit] = stage.surface.light(p[:, lit], normal[:, lit], light.toward_key)
    sky = (0.75 + 0.25 * normal[1]) * stage.surface.openness(p, normal)
    colour = albedo * (
        light.ambient * sky
        + light.key * key.clamp(min=0) * shadow
        + light.fill * _dot(normal, light.toward_fill).clamp(min=0)
    )
    if specular > 0 and direction is not None:
        toward = torch.tensor(light.toward_key, dtype=p.dtype).reshape(3, 1) - direction
        gloss = (normal * toward).sum(0).clamp(min=0) / torch.linalg.vector_norm(toward, dim=0).clamp(min=1e-6)
        colour = colour + specular * shadow * gloss**light.shininess
    return colour.clamp(0, 1)


def _dot(normal: Tensor, direction: tuple[float, float, float]) -> Tensor:
    return normal[0] * direction[0] + normal[1] * direction[1] + normal[2] * direction[2]


def render_photo(stage: Stage, view: Viewpoint, supersampling: int) -> NDArray[np.uint8]:
    """The photo from one viewpoint: see `render_photos`."""
    return render_photos(stage, [view], supersampling)[0]


def render_photos(
    stage: Stage, views: Sequence[Viewpoint], supersampling: int, develop: Sequence[Develop] | None = None
) -> list[NDArray[np.uint8]]:
    """The photos from viewpoints of one size: (H, W, 4) with straight alpha, (H, W, 3) before a room or background.

    Every pixel is the mean of ``supersampling``^2 rays; where only some hit the object, the colour is the mean of those
    and alpha their share. ``develop``, one a photo, turns the colours (3, H * W) that arrive into those of the photo.
    """
    colour, alpha = _expose(stage, views, supersampling)
    if stage.background is not None and stage.room is None:
        behind = torch.tensor(stage.background, dtype=colour.dtype)[:, None]
        colour = behind + (colour - behind) * alpha
    opaque = stage.room is not None or stage.background is not None
    photos, n_pixels = [], views[0].width * views[0].height
    for k, view in enumerate(views):
        image, covered = (x[..., k * n_pixels : (k + 1) * n_pixels] for x in (colour, alpha))
        if develop is not None:
            image = develop[k](image)
        if not opaque:
            image = torch.cat([torch.where(covered > 0, image, 0), covered[None]])
        photos.append((image.T * 255 + 0.5).to(torch.uint8).view(view.height, view.width, -1).numpy())
    return photos


def _expose(stage: Stage, views: Sequence[Viewpoint], supersampling: int) -> tuple[Tensor, Tensor]:
    """Colour (3, V * H * W) and the share of each pixel that the object covers; with a room, also the room's colours.

    All views are traced together: an operation on few rays takes hardly less than one on many.
    """
    n_samples = supersampling**2
    start = stage.surface.starts(views).reshape(-1)
    (pixels,) = torch.nonzero(torch.isfinite(start) if stage.room is None else torch.ones_like(start), as_tuple=True)
    colour, alpha = torch.zeros(3, start.shape[0]), torch.zeros(start.shape[0])
    per_chunk = _SAMPLES_PER_CHUNK if len(views) == 1 else 2 * _SAMPLES_PER_CHUNK
    for chunk in pixels.split(max(1, per_chunk // n_samples)):
        seen, hit = _trace_pixels(stage, views, chunk, start[chunk], supersampling)
        n_hits = hit.view(-1, n_samples).sum(1)
        n_seen = n_hits.clamp(min=1) if stage.room is None else n_samples
        colour[:, chunk] = seen.view(3, -1, n_samples).sum(2) / n_seen
        alpha[chunk] = n_hits / n_samples
    return colour, alpha


def _trace_pixels(
    stage: Stage, views: Sequence[Viewpoint], pixels: Tensor, start: Tensor, supersampling: int
) -> tuple[Tensor, Tensor]:
    """Colours (3, N) and whether the object was hit (N,) of all samples of the pixels, a pixel's samples together."""
    origin, direction = _rays(views, pixels, supersampling)
    # A fiftieth of a pixel on the object: nothing nearer can be seen in the photo.
    tolerance = min(0.02 * float(torch.linalg.vector_norm(view.center)) / view.focal for view in views)
    t = stage.surface.cast(origin, direction, start.repeat_interleave(supersampling**2), tolerance)
    hit = torch.isfinite(t)
    colour = torch.zeros_like(direction)
    (rays,) = torch.nonzero(hit, as_tuple=True)
    if len(rays):
        p, normal, albedo = stage.surface.look_up(origin[:, rays], direction[:, rays], t[rays])
        colour[:, rays] = shade(stage, p, normal, albedo, direction[:, rays], stage.specular)
    if stage.room is not None:
        (rays,) = torch.nonzero(~hit, as_tuple=True)
        colour[:, rays] = shade(stage, *stage.room.hit(origin[:, rays], direction[:, rays]))
    return colour, hit


def _rays(views: Sequence[Viewpoint], pixels: Tensor, supersampling: int) -> tuple[Tensor, Tensor]:
    """Origins and unit directions, each (3, N), of the samples of pixels, which count through the views in order."""
    inner = (torch.arange(supersampling) + 0.5) / supersampling
    width, n_pixels = views[0].width, views[0].width * views[0].height
    origins, directions = [], []
    for k in range(int(pixels[0]) // n_pixels, int(pixels[-1]) // n_pixels + 1):
        own = pixels[(pixels >= k * n_pixels) & (pixels < (k + 1) * n_pixels)] - k * n_pixels
        u = ((own % width)[:, None, None] + inner.view(1, 1, -1)).expand(-1, supersampling, -1).reshape(-1)
        v = ((own // width)[:, None, None] + inner.view(1, -1, 1)).expand(-1, -1, supersampling).reshape(-1)
        directions.append(views[k].directions(u, v))
        origins.append(views[k].center[:, None].expand(3, len(u)))
    return torch.cat(origins, 1), torch.cat(directions, 1)
