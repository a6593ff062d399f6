"""Solid textures: colours (3, N) in [0, 1] as a function of the position (3, N).

All edges are ramps and all noise ends at a finest wavelength, so that a photo of a few pixels per wavelength shows
the texture without aliasing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Texture = Callable[[Tensor], Tensor]
Colour = tuple[float, float, float]

_PERIOD = 32  # of the noise lattice, in cells; a power of two


def mix(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """``a`` where the weight is 0, ``b`` where it is 1."""
    return a + (b - a) * weight


def ramp(x: Tensor, low: float, high: float) -> Tensor:
    """0 below ``low``, 1 above ``high``, a smooth step between."""
    x = ((x - low) / (high - low)).clamp(0, 1)
    return x * x * (3 - 2 * x)


def _colour(colour: Colour, like: Tensor) -> Tensor:
    return torch.tensor(colour, dtype=like.dtype).reshape(3, 1)


class ValueNoise:
    """Random values on a periodic lattice, interpolated smoothly; the seed decides them."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        lattice = rng.random((_PERIOD, _PERIOD, _PERIOD), dtype=np.float32)
        # All eight corners of a cell in one row: one gather a point instead of eight.
        corners = [
            np.roll(lattice, (-i, -j, -k), axis=(0, 1, 2)).reshape(-1) for i in (0, 1) for j in (0, 1) for k in (0, 1)
        ]
        self._corners = torch.from_numpy(np.stack(corners, 1))
        self._cells = torch.from_numpy(rng.random((_PERIOD**3, 4), dtype=np.float32))
        self._shifts = rng.random((16, 3)) * _PERIOD

    def _locate(self, p: Tensor, wavelength: float, octave: int) -> tuple[Tensor, Tensor]:
        """The row of each point's cell (N,) and its place within it (3, N), in [0, 1)."""
        shift = torch.tensor(self._shifts[octave % 16], dtype=p.dtype).reshape(3, 1)
        q = p / wavelength + shift
        base = q.floor()
        cell = base.to(torch.int64) & (_PERIOD - 1)
        return (cell[0] * _PERIOD + cell[1]) * _PERIOD + cell[2], q - base

    def octave(self, p: Tensor, wavelength: float, octave: int = 0) -> Tensor:
        """One octave of noise (N,) in [0, 1]; its smallest features are ``wavelength`` long."""
        row, place = self._locate(p, wavelength, octave)
        c = self._corners.to(p.dtype)[row].T
        w = place * place * (3 - 2 * place)
        c = mix(c[:4], c[4:], w[0])
        c = mix(c[:2], c[2:], w[1])
        return mix(c[0], c[1], w[2])

    def fractal(self, p: Tensor, wavelength: float, n_octaves: int) -> Tensor:
        """Octaves of halving wavelength and amplitude, about [0, 1], mean 0.5."""
        total, amplitude, weight = torch.zeros_like(p[0]), 1.0, 0.0
        for k in range(n_octaves):
            total = total + amplitude * self.octave(p, wavelength / 2**k, k)
            weight, amplitude = weight + amplitude, amplitude * 0.75
        return (0.5 + 1.5 * (total / weight - 0.5)).clamp(0, 1)

    def spots(self, p: Tensor, size: float) -> tuple[Tensor, Tensor]:
        """One ball per cell of edge ``size``: how much a point is inside (N,), and a random value of the ball (N,)."""
        row, place = self._locate(p, size, 7)
        cell = self._cells.to(p.dtype)[row].T
        offset = place - (0.38 + 0.24 * cell[:3])
        distance = (offset * offset).sum(0).sqrt()
        return 1 - ramp(distance, 0.28, 0.36), cell[3]


@dataclass
class Grain:
    """Fine brightness noise that lies over a texture, so that every patch can be told from its neighbours."""

    noise: ValueNoise
    wavelength: float = 0.16
    n_octaves: int = 3
    strength: float = 0.75

    def __call__(self, colour: Tensor, p: Tensor) -> Tensor:
        value = self.noise.fractal(p, self.wavelength, self.n_octaves)
        return (colour * (1 + self.strength * (2 * value - 1))).clamp(0, 1)


def marble(grain: Grain, dark: Colour, light: Colour, wavelength: float = 0.5) -> Texture:
    """Two colours mixed by coarse noise."""

    def texture(p: Tensor) -> Tensor:
        weight = ramp(grain.noise.fractal(p.flip(0), wavelength, 2), 0.3, 0.7)
        return grain(mix(_colour(dark, p), _colour(light, p), weight), p)

    return texture


def stripes(grain: Grain, colours: list[Colour], axis: int, period: float, warp: float = 0.05) -> Texture:
    """Bands of the colours in turn along an axis, ``period`` for one round, wavering by ``warp``."""

    def texture(p: Tensor) -> Tensor:
        x = p[axis] + warp * (grain.noise.octave(p, 0.35, 5) - 0.5) * 2
        return grain(_bands(x / period, colours, p), p)

    return texture


def sectors(grain: Grain, colours: list[Colour], axis: int, center: tuple[float, float, float], n: int) -> Texture:
    """Sectors of the colours in turn around an axis through ``center``, ``n`` rounds a turn."""

    def texture(p: Tensor) -> Tensor:
        u, v = (p[k] - center[k] for k in range(3) if k != axis)
        return grain(_bands(torch.atan2(v, u) * (n / (2 * math.pi)), colours, p), p)

    return texture


def _bands(x: Tensor, colours: list[Colour], p: Tensor) -> Tensor:
    """Colours in turn, one unit of x for a round; the ramp between two takes an eighth of a band."""
    x = (x - x.floor()) * len(colours)
    out = _colour(colours[0], p).expand(3, x.shape[0])
    for k in range(1, len(colours)):
        out = mix(out, _colour(colours[k], p), ramp(x, k - 0.0625, k + 0.0625))
    return mix(out, _colour(colours[0], p), ramp(x, len(colours) - 0.125, float(len(colours))))


def checks(grain: Grain, dark: Colour, light: Colour, size: float) -> Texture:
    """A chequerboard of cubes of edge ``size``."""

    def texture(p: Tensor) -> Tensor:
        wave = torch.sin((p + 0.37 * size) * (math.pi / size))
        weight = ramp(wave[0] * wave[1] * wave[2], -0.06, 0.06)
        return grain(mix(_colour(dark, p), _colour(light, p), weight), p)

    return texture


def spots(grain: Grain, ground: Colour, dots: list[Colour], size: float) -> Texture:
    """Round spots in colours chosen at random, one per cell of edge ``size``."""

    def texture(p: Tensor) -> Tensor:
        inside, value = grain.noise.spots(p, size)
        dot = _colour(dots[0], p).expand_as(p)
        for k in range(1, len(dots)):
            dot = torch.where(value >= k / len(dots), _colour(dots[k], p), dot)
        return grain(mix(_colour(ground, p), dot, inside), p)

    return texture
