"""The named shapes: parts, each with a signed distance and a texture. They stand upright, y up, about two units tall."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from uner3d.data.synthetic import sdf
from uner3d.data.synthetic.sdf import Distance
from uner3d.data.synthetic.texture import Grain, Texture, ValueNoise, checks, marble, mix, ramp, sectors, spots, stripes


@dataclass
class Part:
    """A piece of a shape: its distance and its colours."""

    distance: Distance
    texture: Texture


@dataclass
class Shape:
    """Parts blended together, carvings cut out of them, inlays put into the carvings afterwards.

    ``extent``: half the edge of a cube around the origin that holds everything. ``finest``: the smallest radius of
    curvature, which decides how fine a mesh must be.
    """

    parts: list[Part]
    extent: float
    finest: float
    blend: float = 0.04
    carvings: list[Distance] = field(default_factory=list)
    inlays: list[Part] = field(default_factory=list)

    def distance(self, p: Tensor) -> Tensor:
        """Signed distance (N,) of points (3, N), never above the true one."""
        d = self.parts[0].distance(p)
        for part in self.parts[1:]:
            d = sdf.smooth_min(d, part.distance(p), self.blend)
        for carving in self.carvings:
            d = sdf.smooth_max(d, -carving(p), self.blend)
        for part in self.inlays:
            d = sdf.smooth_min(d, part.distance(p), self.blend)
        return d

    def albedo(self, p: Tensor) -> Tensor:
        """Colour (3, N) of surface points (3, N): the texture of the nearest part."""
        parts = self.parts + self.inlays
        if len(parts) == 1:
            return parts[0].texture(p)
        owner = torch.stack([part.distance(p) for part in parts]).argmin(0)
        colour = torch.zeros_like(p)
        for k, part in enumerate(parts):
            (mine,) = torch.nonzero(owner == k, as_tuple=True)
            if len(mine):
                colour[:, mine] = part.texture(p[:, mine])
        return colour


def _sphere(grain: Grain) -> Shape:
    dots = [(0.95, 0.85, 0.3), (0.85, 0.3, 0.25), (0.95, 0.95, 0.9)]
    texture = spots(grain, (0.15, 0.4, 0.55), dots, 0.36)
    return Shape([Part(lambda p: sdf.sphere(p, (0, 0, 0), 0.9), texture)], extent=1.0, finest=0.3)


def _box(grain: Grain) -> Shape:
    texture = checks(grain, (0.25, 0.3, 0.5), (0.95, 0.8, 0.5), 0.31)
    return Shape([Part(lambda p: sdf.rounded_box(p, (0, 0, 0), (0.75, 0.55, 0.5), 0.12), texture)], 0.9, 0.12)


def _torus(grain: Grain) -> Shape:
    colours = [(0.9, 0.85, 0.75), (0.75, 0.25, 0.2), (0.9, 0.65, 0.25), (0.2, 0.35, 0.5)]
    texture = sectors(grain, colours, axis=1, center=(0, 0, 0), n=4)
    return Shape([Part(lambda p: sdf.torus(p, (0, 0, 0), 0.68, 0.27, 1), texture)], 1.05, 0.27)


def _mug(grain: Grain) -> Shape:
    body = stripes(grain, [(0.9, 0.87, 0.8), (0.2, 0.45, 0.55), (0.9, 0.87, 0.8), (0.8, 0.35, 0.25)], 1, 0.62)
    handle = marble(grain, (0.6, 0.25, 0.2), (0.95, 0.6, 0.4), 0.25)
    parts = [
        Part(lambda p: sdf.rounded_cylinder(p, (0, 0, 0), 0.6, 0.75, 0.08), body),
        Part(lambda p: sdf.torus(p, (0.66, 0, 0), 0.36, 0.085, 2), handle),
    ]
    hollow = [lambda p: sdf.rounded_cylinder(p, (0, 0.6, 0), 0.5, 1.25, 0.1)]
    return Shape(parts, extent=1.25, finest=0.05, blend=0.06, carvings=hollow)


def _bowl_distance(p: Tensor, height: float, radius: float, thickness: float) -> Tensor:
    """The lower half of a sphere's shell, its centre at ``height``, its rim rounded."""
    shell = (sdf.sphere(p, (0, height, 0), radius)).abs() - thickness
    return sdf.smooth_max(shell, p[1] - height, 1.6 * thickness)


def _bowl(grain: Grain) -> Shape:
    texture = spots(grain, (0.85, 0.82, 0.7), [(0.2, 0.5, 0.45), (0.8, 0.45, 0.2), (0.3, 0.3, 0.55)], 0.33)
    foot = marble(grain, (0.35, 0.2, 0.12), (0.7, 0.5, 0.3))
    parts = [
        Part(lambda p: _bowl_distance(p, 0.45, 0.85, 0.05), texture),
        Part(lambda p: sdf.rounded_cylinder(p, (0, -0.42, 0), 0.38, 0.09, 0.05), foot),
    ]
    return Shape(parts, extent=1.05, finest=0.04)


def _eye(grain: Grain) -> Texture:
    """White, with a dark pupil that looks along z; the two eyes are mirror images."""

    def texture(p: Tensor) -> Tensor:
        away = sdf.norm(p[0].abs() - 0.17, p[1] - 0.25)
        white = grain(torch.full_like(p, 0.88), p)
        return mix(white * 0.08, white, ramp(away, 0.038, 0.05))

    return texture


def _wing(p: Tensor) -> Tensor:
    """A thin plate on either side, its tip raised."""
    cos, sin = math.cos(0.45), math.sin(0.45)
    x, y = p[0].abs() - 0.3, p[1] - 0.0
    q = torch.stack([cos * x + sin * y, cos * y - sin * x, p[2] + 0.04])
    return sdf.rounded_box(q, (0.3, 0, 0), (0.34, 0.15, 0.045), 0.04)


def _tunnel(p: Tensor) -> Tensor:
    """An arch-shaped tunnel through the trunk, along z."""
    y = p[1] - p[1].clamp(-0.62, -0.5)
    return sdf.norm(p[0], y) - 0.13


def _totem_parts(grain: Grain) -> list[Part]:
    red, cream, ochre, blue = (0.75, 0.22, 0.16), (0.93, 0.86, 0.7), (0.9, 0.62, 0.2), (0.16, 0.36, 0.55)
    teal, brown = (0.18, 0.5, 0.48), (0.42, 0.24, 0.14)
    return [
        Part(lambda p: sdf.rounded_box(p, (0, -0.9, 0), (0.44, 0.11, 0.44), 0.06), checks(grain, blue, cream, 0.17)),
        Part(
            lambda p: sdf.rounded_cylinder(p, (0, -0.52, 0), 0.33, 0.34, 0.06),
            stripes(grain, [brown, ochre, brown, red], 1, 0.34),
        ),
        Part(
            lambda p: sdf.rounded_box(p, (0, 0.12, 0), (0.38, 0.34, 0.34), 0.14),
            spots(grain, teal, [cream, ochre, red], 0.2),
        ),
        Part(
            lambda p: sdf.capsule(p, (0, 0.17, 0.34), (0, 0.06, 0.47), 0.06), marble(grain, ochre, (1, 0.85, 0.4), 0.2)
        ),
        Part(_wing, stripes(grain, [red, cream, blue, ochre], 0, 0.26, warp=0.03)),
        Part(lambda p: _bowl_distance(p, 0.82, 0.32, 0.045), sectors(grain, [blue, cream, red, cream], 1, (0, 0, 0), 4)),
        Part(lambda p: sdf.torus(p, (0, 0.79, 0), 0.2, 0.05, 2), sectors(grain, [ochre, brown], 2, (0, 0.79, 0), 7)),
    ]


def _totem(grain: Grain) -> Shape:
    carvings: list[Distance] = [
        _tunnel,
        lambda p: sdf.sphere(torch.stack([p[0].abs(), p[1], p[2]]), (0.17, 0.24, 0.37), 0.13),
        lambda p: sdf.rounded_box(p, (0, -0.09, 0.36), (0.2, 0.06, 0.12), 0.055),
    ]
    eyes = Part(lambda p: sdf.sphere(torch.stack([p[0].abs(), p[1], p[2]]), (0.17, 0.25, 0.28), 0.095), _eye(grain))
    return Shape(_totem_parts(grain), extent=1.15, finest=0.04, carvings=carvings, inlays=[eyes])


_BUILDERS: dict[str, Callable[[Grain], Shape]] = {
    "totem": _totem,
    "mug": _mug,
    "bowl": _bowl,
    "torus": _torus,
    "box": _box,
    "sphere": _sphere,
}

SHAPE_NAMES = tuple(_BUILDERS)


def build_shape(name: str, texture_seed: int) -> Shape:
    """The shape of that name; the seed decides the noise and the spots of its textures."""
    return _BUILDERS[name](Grain(ValueNoise(texture_seed)))
