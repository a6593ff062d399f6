"""Signed distances, positive outside.

Points are tensors (3, N), one row per axis, because every row is then contiguous; a distance is (N,), in the points'
dtype. Every function here is 1-Lipschitz, so no distance exceeds the true one and sphere tracing cannot step through
a surface.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Distance = Callable[[Tensor], Tensor]
Vec3 = tuple[float, float, float]

# Added under the root: the derivative of the norm at zero is then 0 and not NaN.
_TINY = 1e-24


def norm(*components: Tensor) -> Tensor:
    """Euclidean norm of the components, with derivative 0 at 0."""
    total = components[0] * components[0]
    for component in components[1:]:
        total = torch.addcmul(total, component, component)
    return torch.sqrt(total + _TINY)


def sphere(p: Tensor, center: Vec3, radius: float) -> Tensor:
    """Distance to a sphere."""
    return norm(p[0] - center[0], p[1] - center[1], p[2] - center[2]) - radius


def rounded_box(p: Tensor, center: Vec3, half: Vec3, rounding: float) -> Tensor:
    """Distance to an axis-aligned box of half extents ``half`` whose edges are rounded with radius ``rounding``."""
    q = [(p[k] - center[k]).abs() - (half[k] - rounding) for k in range(3)]
    outside = norm(*(component.clamp(min=0) for component in q))
    inside = torch.maximum(torch.maximum(q[0], q[1]), q[2]).clamp(max=0)
    return outside + inside - rounding


def rounded_cylinder(p: Tensor, center: Vec3, radius: float, half_height: float, rounding: float) -> Tensor:
    """Distance to a cylinder along y whose rims are rounded with radius ``rounding``."""
    side = norm(p[0] - center[0], p[2] - center[2]) - (radius - rounding)
    cap = (p[1] - center[1]).abs() - (half_height - rounding)
    return norm(side.clamp(min=0), cap.clamp(min=0)) + torch.maximum(side, cap).clamp(max=0) - rounding


def capsule(p: Tensor, start: Vec3, end: Vec3, radius: float) -> Tensor:
    """Distance to the points within ``radius`` of a segment."""
    axis = [end[k] - start[k] for k in range(3)]
    offset = [p[k] - start[k] for k in range(3)]
    along = (offset[0] * axis[0] + offset[1] * axis[1] + offset[2] * axis[2]) / sum(a * a for a in axis)
    along = along.clamp(0, 1)
    return norm(*(offset[k] - along * axis[k] for k in range(3))) - radius


def torus(p: Tensor, center: Vec3, major: float, minor: float, axis: int) -> Tensor:
    """Distance to a torus around coordinate axis ``axis``: ``major`` to the tube's middle, ``minor`` its radius."""
    q = [p[k] - center[k] for k in range(3)]
    around = norm(*(q[k] for k in range(3) if k != axis)) - major
    return norm(around, q[axis]) - minor


def smooth_min(a: Tensor, b: Tensor, width: float) -> Tensor:
    """Union of two distances, blended over ``width`` (polynomial, exact where they differ by more)."""
    overlap = (width - (a - b).abs()).clamp(min=0)
    return torch.minimum(a, b) - overlap * overlap * (0.25 / width)


def smooth_max(a: Tensor, b: Tensor, width: float) -> Tensor:
    """Intersection of two distances, its crease rounded over ``width``; ``b`` negated, the difference."""
    return -smooth_min(-a, -b, width)


def value_and_gradient(distance: Distance, p: Tensor) -> tuple[Tensor, Tensor]:
    """The distance (N,) and its gradient (3, N), by automatic differentiation."""
    with torch.enable_grad():
        q = p.detach().requires_grad_()
        value = distance(q)
        (gradient,) = torch.autograd.grad(value.sum(), q)
    return value.detach(), gradient


def project(distance: Distance, p: Tensor, iterations: int = 6) -> Tensor:
    """Move points (3, N) near the surface onto it, by Newton steps along the gradient."""
    for _ in range(iterations):
        value, gradient = value_and_gradient(distance, p)
        p = p - value * gradient / (gradient * gradient).sum(0).clamp(min=1e-2)
    return p
