"""Random textures as plain data, from plain colour to dense noise, and the functions they stand for."""

from __future__ import annotations

import colorsys
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uner3d.data.synthetic import texture
from uner3d.data.synthetic.nodes import rotation
from uner3d.data.synthetic.random_shapes import Rng, between, pick
from uner3d.data.synthetic.texture import Colour, Grain, Texture, ValueNoise, mix, ramp

Pattern = dict[str, Any]

PATTERNS = ("plain", "gradient", "stripes", "sectors", "checks", "spots", "marble", "wood", "noise")


def draw_palette(rng: Rng) -> list[Colour]:
    """Five colours that go together: around one hue, around two opposite ones, greys with an accent, or any."""
    what, hue = pick(rng, ["near", "opposite", "grey", "any"]), rng.random()
    colours = []
    for k in range(5):
        h = hue + {"near": rng.uniform(-0.08, 0.08), "opposite": 0.5 * (k % 2) + rng.uniform(-0.05, 0.05),
                   "grey": 0.0, "any": rng.random()}[what]  # fmt: skip
        saturation = rng.uniform(0, 0.12) if what == "grey" and k else rng.uniform(0.15, 0.85)
        rgb = colorsys.hsv_to_rgb(h % 1, saturation, (0.35, 0.95, 0.62, 0.82, 0.5)[k] + rng.uniform(-0.08, 0.05))
        colours.append((round(rgb[0], 4), round(rgb[1], 4), round(rgb[2], 4)))
    return [colours[k] for k in rng.permutation(5)]


def draw_texture(rng: Rng, palette: list[Colour]) -> Pattern:
    """A pattern in colours of the palette, with grain of any strength, none included."""
    kind = pick(rng, PATTERNS)
    colours = [list(palette[k]) for k in rng.permutation(5)[: int(rng.integers(2, 5))]]
    # Plain colours and gradients are what photos cannot be matched by: most keep no grain at all.
    bare = 0.7 if kind in ("plain", "gradient") else 0.4
    strength = 0.0 if rng.random() < bare else between(rng, 0.1, 0.8)
    turn = rng.normal(size=3)
    return {
        "kind": kind,
        "colours": colours,
        "size": round(float(np.exp(rng.uniform(math.log(0.18), math.log(0.7)))), 4),
        "turn": [0.0, 0.0, 0.0] if rng.random() < 0.4 else np.round(turn, 4).tolist(),
        "warp": pick(rng, [0.0, between(rng, 0.02, 0.12)]),
        "grain": {"wavelength": between(rng, 0.12, 0.4), "octaves": int(rng.integers(1, 4)), "strength": strength},
    }


class _Bare(Grain):
    """No grain: the colour as it is, without the noise being asked."""

    def __call__(self, colour: Tensor, p: Tensor) -> Tensor:
        return colour.expand_as(p)


def build_texture(pattern: Pattern, noise: ValueNoise) -> Texture:
    """The texture of a pattern. Raises ValueError for an unknown kind."""
    g, size = pattern["grain"], float(pattern["size"])
    grain = (Grain if g["strength"] > 0 else _Bare)(noise, g["wavelength"], g["octaves"], g["strength"])
    colours: list[Colour] = [(c[0], c[1], c[2]) for c in pattern["colours"]]
    own = _plain_kinds(pattern["kind"], grain, colours, size, pattern["warp"])
    if not any(pattern["turn"]):
        return own
    m = rotation(pattern["turn"]).tolist()
    return lambda p: own(torch.stack([p[0] * r[0] + p[1] * r[1] + p[2] * r[2] for r in m]))


def _plain_kinds(kind: str, grain: Grain, colours: list[Colour], size: float, warp: float) -> Texture:
    if kind == "plain":
        return lambda p: grain(_column(colours[0], p), p)
    if kind == "gradient":
        return lambda p: grain(mix(_column(colours[0], p), _column(colours[1], p), ramp(p[1], -0.9, 0.9)), p)
    if kind == "stripes":
        return texture.stripes(grain, colours, 1, 1.4 * size, warp)
    if kind == "sectors":
        return texture.sectors(grain, colours, 1, (0, 0, 0), max(1, round(1.4 / size)))
    if kind == "checks":
        return texture.checks(grain, colours[0], colours[1], size)
    if kind == "spots":
        return texture.spots(grain, colours[0], colours[1:], size)
    if kind == "marble":
        return texture.marble(grain, colours[0], colours[1], size)
    if kind == "wood":
        return _wood(grain, colours, size, warp)
    if kind == "noise":
        return _noise(grain, colours, size)
    raise ValueError(f"kind = {kind!r}: expected one of {', '.join(PATTERNS)}")


def _column(colour: Colour, like: Tensor) -> Tensor:
    return torch.tensor(colour, dtype=like.dtype).reshape(3, 1)


def _wood(grain: Grain, colours: list[Colour], size: float, warp: float) -> Texture:
    """Rings around y, wavering."""

    def wood(p: Tensor) -> Tensor:
        away = torch.sqrt(p[0] * p[0] + p[2] * p[2]) + warp * grain.noise.octave(p, 0.5, 3)
        weight = 0.5 + 0.5 * torch.sin(away * (2 * math.pi / (0.6 * size)))
        return grain(mix(_column(colours[0], p), _column(colours[1], p), weight), p)

    return wood


def _noise(grain: Grain, colours: list[Colour], size: float) -> Texture:
    """Two mixtures of colours, by noise of two octaves, dense where ``size`` is small."""

    def noise(p: Tensor) -> Tensor:
        first = ramp(grain.noise.fractal(p, 0.8 * size, 2), 0.25, 0.75)
        second = ramp(grain.noise.fractal(p.flip(0), 0.5 * size, 2), 0.25, 0.75)
        mixed = mix(_column(colours[0], p), _column(colours[1], p), first)
        return grain(mix(mixed, _column(colours[-1], p), second), p)

    return noise
