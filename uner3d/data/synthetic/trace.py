"""Sphere tracing: first hits, shadows and openness of a signed distance field.

Everything takes float32 points (3, N). The field must not exceed the true distance; its surface lies within ``radius``
of the origin.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from uner3d.data.synthetic.cameras import Viewpoint
from uner3d.data.synthetic.sdf import Distance

_TILES = (8, 2)  # edges of the cones, in pixels, each a multiple of the next


def ball_span(radius: float, origin: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays enter and leave the ball of that radius around the origin (N,); leave < enter where they miss."""
    middle = -(origin * direction).sum(0)
    square = radius * radius - (origin * origin).sum(0) + middle * middle
    half = square.clamp(min=0).sqrt()
    enter, leave = (middle - half).clamp(min=0), middle + half
    return enter, torch.where(square > 0, leave, enter - 1)


def cone_starts(distance: Distance, radius: float, views: Sequence[Viewpoint]) -> Tensor:
    """Per pixel (V, H, W), a distance that no ray of the pixel hits before; inf where no ray of the pixel hits.

    The views have photos of one size. Cones around tiles of pixels march first: a ball of radius d around a cone's axis
    at t, free of surface, frees all its rays up to (d + t) / (1 + a), a being the largest distance of the cone's unit
    directions from its axis. Each finer tile starts where its parent stopped.
    """
    width, height, focal = views[0].width, views[0].height, views[0].focal
    start = torch.zeros(len(views), -(-height // _TILES[0]), -(-width // _TILES[0]))
    farthest = max(float(torch.linalg.vector_norm(view.center)) for view in views)
    for level, edge in enumerate(_TILES):
        if level:
            factor = _TILES[level - 1] // edge
            start = start.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
        per_view = start.shape[1] * start.shape[2]
        flat = start.view(-1)
        alive = torch.nonzero(torch.isfinite(flat)).squeeze(1)
        axis, origin = [], []
        for k, view in enumerate(views):
            tile = alive[(alive >= k * per_view) & (alive < (k + 1) * per_view)] - k * per_view
            axis.append(view.directions(
                (tile % start.shape[2] + 0.5) * edge, (tile // start.shape[2] + 0.5) * edge))  # fmt: skip
            origin.append(view.center[:, None].expand(3, len(tile)))
        spread = edge * math.sqrt(0.5) / focal
        reach = radius + farthest * spread * 1.5
        flat[alive] = _march_cones(distance, reach, torch.cat(origin, 1), torch.cat(axis, 1), flat[alive], spread)
    start = start.repeat_interleave(_TILES[-1], 1).repeat_interleave(_TILES[-1], 2)
    return start[:, :height, :width].contiguous()


def _march_cones(
    distance: Distance, reach: float, origin: Tensor, axis: Tensor, start: Tensor, spread: float
) -> Tensor:
    enter, leave = ball_span(reach, origin, axis)
    t = torch.maximum(start, enter)
    (active,) = torch.nonzero(leave > t, as_tuple=True)
    t[leave <= t] = torch.inf
    for _ in range(64):
        if len(active) == 0:
            break
        here = t[active]
        free = distance(origin[:, active] + axis[:, active] * here)
        ahead = torch.maximum((free + here) / (1 + spread), here)
        gone = ahead > leave[active]
        t[active] = torch.where(gone, torch.inf, ahead)
        active = active[~gone & (ahead - here > 0.25 * spread * here)]
    return t


def sphere_trace(
    distance: Distance, radius: float, origin: Tensor, direction: Tensor, start: Tensor, tolerance: float
) -> Tensor:
    """Distance (N,) to the first point of each ray within ``tolerance`` of the surface, inf where there is none.

    ``origin``: of all rays (3,), or of each (3, N). Rays that have crept along the surface for 128 steps count as hits
    if they ended within four tolerances of it.
    """
    origin = origin.reshape(3, -1).expand_as(direction)
    _, leave = ball_span(radius * 1.01, origin, direction)
    t, hit = start.clone(), torch.full_like(start, torch.inf)
    (active,) = torch.nonzero(start < leave, as_tuple=True)
    d, o, far, t = direction[:, active], origin[:, active], leave[active], t[active]
    free = t
    for step in range(128):
        if len(active) == 0:
            return hit
        free = distance(torch.addcmul(o, d, t))
        t = t + free
        if step % 3 == 2:
            near = free < tolerance
            hit[active[near]] = t[near]
            keep = torch.nonzero(~near & (t < far)).squeeze(1)
            active, d, o, far = active[keep], d[:, keep], o[:, keep], far[keep]
            t, free = t[keep], free[keep]
    crept = free < 4 * tolerance
    hit[active[crept]] = t[crept]
    return hit


def light_visibility(distance: Distance, radius: float, p: Tensor, toward: Tensor, sharpness: float | None) -> Tensor:
    """How much of the light from far away in direction ``toward`` (3, N) reaches points p: (N,) in [0, 1].

    A ray that passes the surface at distance d, at t from the point, keeps ``sharpness * d / t`` of its light, at most
    all: a soft shadow. Without a sharpness the answer is 0 or 1.
    """
    _, leave = ball_span(radius * 1.01, p, toward)
    enter = (ball_span(radius * 1.01, p, toward)[0]).clamp(min=2e-3 * radius)
    light = torch.ones_like(enter)
    (active,) = torch.nonzero(leave > enter, as_tuple=True)
    o, d, t, far = p[:, active], toward[:, active], enter[active], leave[active]
    for _ in range(96 if sharpness is None else 40):
        if len(active) == 0:
            break
        free = distance(o + d * t)
        blocked = free < 1e-4 * radius
        if sharpness is None:
            light[active[blocked]] = 0
        else:
            light[active] = torch.minimum(light[active], (sharpness * free / t).clamp(min=0))
        t = t + free.clamp(min=(1e-4 if sharpness is None else 0.012) * radius)
        keep = torch.nonzero(~blocked & (t < far)).squeeze(1)
        active, o, d, t, far = active[keep], o[:, keep], d[:, keep], t[keep], far[keep]
    return light * light * (3 - 2 * light)


def openness(distance: Distance, radius: float, p: Tensor, normal: Tensor) -> Tensor:
    """Ambient light (N,) in [0, 1]: less where the surface is nearer than the height above it, going up the normal."""
    closed = torch.zeros_like(p[0])
    for height, weight in ((0.04, 5.0), (0.1, 1.6), (0.22, 0.7)):
        free = distance(p + normal * (height * radius))
        closed = closed + (weight / radius) * (height * radius - free).clamp(min=0)
    return (1 - closed).clamp(0.15, 1)
