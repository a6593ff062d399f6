"""More signed distances: solids that fit in about a unit ball, folds of space, and deformations made safe to trace.

Points and distances as in `sdf`; every function returns a 1-Lipschitz distance, or takes one and keeps it so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from uner3d.data.synthetic.sdf import Distance, Vec3, norm, rounded_box, smooth_max


def ellipsoid(p: Tensor, radii: Vec3) -> Tensor:
    """A bound of the distance to an ellipsoid: |p / r| - 1 has a slope of at most 1 / the smallest radius."""
    return (norm(p[0] / radii[0], p[1] / radii[1], p[2] / radii[2]) - 1) * min(radii)


def cone(p: Tensor, low: float, high: float, half_height: float, rounding: float) -> Tensor:
    """A bound of the distance to a cone along y, of radius ``low`` at the bottom and ``high`` at the top."""
    slope = (high - low) / (2 * half_height)
    side = (norm(p[0], p[2]) - (low + slope * (p[1] + half_height))) / math.hypot(1, slope)
    return smooth_max(side, p[1].abs() - half_height, 3 * rounding)


def frame(p: Tensor, half: Vec3, bar: float, rounding: float) -> Tensor:
    """Distance to the twelve edges of a box of half extents ``half``, as bars of half thickness ``bar``."""
    q = p.abs()
    bars = []
    for k in range(3):
        center = [0.0 if j == k else half[j] - bar for j in range(3)]
        size = [half[j] if j == k else bar for j in range(3)]
        bars.append(rounded_box(q, (center[0], center[1], center[2]), (size[0], size[1], size[2]), rounding))
    return torch.minimum(torch.minimum(bars[0], bars[1]), bars[2])


class Lathe:
    """A bound of the distance to a body turned around y, its radius a cubic spline in the height.

    ``radii`` (K,) are those at evenly spaced heights from -half_height to half_height.
    """

    def __init__(self, radii: Sequence[float], half_height: float, rounding: float) -> None:
        r = np.asarray(radii, dtype=np.float64)
        self._n, self._half, self._rounding = len(r) - 1, half_height, rounding
        m = np.gradient(r)  # slopes per knot; the cubic of each piece takes values and slopes of both its ends
        a, b = r[1:] - r[:-1], m[:-1]
        self._table = np.stack([r[:-1], b, 3 * a - 2 * b - m[1:], m[:-1] + m[1:] - 2 * a])
        x = np.linspace(0, 1, 65)[:, None]
        slope = np.abs(self._table[1] + 2 * self._table[2] * x + 3 * self._table[3] * x * x).max()
        # The slope is quadratic in a piece, so that between samples it exceeds them by 2e-4 of its curvature at most.
        slope += 2e-4 * np.abs(self._table[3]).max()
        self._scale = 1 / math.hypot(1, float(slope) * self._n / (2 * half_height))

    def __call__(self, p: Tensor) -> Tensor:
        x = ((p[1] / self._half + 1) * (self._n / 2)).clamp(0, self._n)
        piece = x.detach().floor().clamp(max=self._n - 1)
        x = x - piece
        c = torch.from_numpy(self._table).to(p.dtype)[:, piece.to(torch.int64)]
        radius = c[0] + x * (c[1] + x * (c[2] + x * c[3]))
        side = (norm(p[0], p[2]) - radius) * self._scale
        return smooth_max(side, p[1].abs() - self._half, 3 * self._rounding)


def extrude(outline: Tensor, height: Tensor, half_height: float, rounding: float) -> Tensor:
    """Distance to a prism, its edges rounded outward: from the distance to its outline and the height, each (N,)."""
    cap = height.abs() - (half_height - rounding)
    return norm(outline.clamp(min=0), cap.clamp(min=0)) + torch.maximum(outline, cap).clamp(max=0) - rounding


def star(x: Tensor, y: Tensor, n: int, outer: float, inner: float) -> Tensor:
    """Distance (N,) in the plane to a star of n points, negative within: corners at radii ``outer`` and ``inner``.

    With ``inner`` = ``outer`` cos(pi / n) it is the regular polygon. All edges are one, mirrored.
    """
    wedge = math.pi / n
    angle = torch.atan2(y, x) * (0.5 / wedge)
    angle = (angle - angle.round()).abs() * (2 * wedge)
    rho = norm(x, y)
    u, v = rho * torch.cos(angle) - outer, rho * torch.sin(angle)
    ex, ey = inner * math.cos(wedge) - outer, inner * math.sin(wedge)
    along = ((u * ex + v * ey) / (ex * ex + ey * ey)).clamp(0, 1)
    side = torch.where(ex * v > ey * u, -1.0, 1.0)
    return norm(u - along * ex, v - along * ey) * side


def boxes(x: Tensor, y: Tensor, rectangles: Sequence[Sequence[float]]) -> Tensor:
    """A bound of the distance (N,) in the plane to rectangles (middle x, y, half widths x, y), exact outside."""
    d: Tensor | None = None
    for mx, my, hx, hy in rectangles:
        u, v = (x - mx).abs() - hx, (y - my).abs() - hy
        own = norm(u.clamp(min=0), v.clamp(min=0)) + torch.maximum(u, v).clamp(max=0)
        d = own if d is None else torch.minimum(d, own)
    if d is None:
        raise ValueError("rectangles: expected at least one")
    return d


def flower(x: Tensor, y: Tensor, radius: float, depth: float, n: int) -> Tensor:
    """A bound of the distance in the plane to r = radius + depth cos(n angle).

    Within the smallest radius the wave fades as the square of the radius, so that the slope stays bounded.
    """
    low = radius - depth
    rho = norm(x, y)
    cosine = x / rho
    before, wave = torch.ones_like(x), cosine
    for _ in range(n - 1):
        before, wave = wave, 2 * cosine * wave - before  # Chebyshev: cos(n angle) without the angle
    fade = (rho / low).clamp(max=1) ** 2
    return (rho - radius - depth * fade * wave) / math.hypot(1 + 2 * depth / low, n * depth / low)


def fold(p: Tensor, by: str) -> Tensor:
    """Space mirrored onto a wedge around y, so that what stands in it appears ``by``: x 2, xz 4, hex 6, oct 8 times."""
    x, y, z = p[0].abs(), p[1], p[2]
    if by != "x":
        z = z.abs()
    if by == "oct":
        x, z = torch.maximum(x, z), torch.minimum(x, z)
    if by == "hex":  # what lies more than 30 degrees from x is mirrored there, twice the angle down
        over = 2 * (math.sqrt(0.75) * z - 0.5 * x).clamp(min=0)
        x, z = x + 0.5 * over, (z - math.sqrt(0.75) * over).abs()
    return torch.stack([x, y, z])


def guarded(distance: Distance, p: Tensor, radius: float, slope: float) -> Tensor:
    """A 1-Lipschitz distance from one whose slope is at most ``slope`` within the ball of that radius, which holds all.

    Outside, it is the hypotenuse of the way to the ball and the distance from there: the ball is convex, so the way on
    from its nearest point never turns back.
    """
    away = norm(p[0], p[1], p[2])
    beyond = (away - radius).clamp(min=0)
    inner = distance(p * (radius / away.clamp(min=radius))) / slope
    return torch.where(beyond > 0, norm(beyond, inner.clamp(min=0)), inner)


def twist(p: Tensor, rate: float) -> Tensor:
    """Turned around y by ``rate`` radians per unit of height."""
    angle = p[1] * rate
    c, s = torch.cos(angle), torch.sin(angle)
    return torch.stack([c * p[0] + s * p[2], p[1], c * p[2] - s * p[0]])


def twist_slope(rate: float, radius: float) -> float:
    """The largest stretch of `twist` within ``radius`` of the axis: of a shear by rate times radius."""
    shear = abs(rate) * radius
    return (shear + math.hypot(shear, 2)) / 2


def taper(p: Tensor, low: float, high: float) -> Tensor:
    """Widths scaled by ``low`` at y = -1 to ``high`` at y = 1, constant beyond."""
    scale = low + (high - low) * (p[1].clamp(-1, 1) + 1) / 2
    return torch.stack([p[0] / scale, p[1], p[2] / scale])


def taper_slope(low: float, high: float, radius: float) -> float:
    """The largest stretch of `taper` within ``radius`` of the axis."""
    narrow = min(low, high)
    shear = radius * abs(high - low) / 2 / narrow**2
    return float(np.linalg.norm(np.array([[1 / narrow, shear], [0.0, 1.0]]), 2))
