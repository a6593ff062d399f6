"""Camera rigs of a training set, from all around to forward-facing, as plain data and as viewpoints."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uner3d.data.synthetic.cameras import Viewpoint, camera_distance, look_at
from uner3d.data.synthetic.nodes import rotation
from uner3d.data.synthetic.random_shapes import Rng, between, pick

Rig = dict[str, Any]

RIGS = ("sphere", "upper", "rings", "arc", "forward")
_GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))


def draw_rig(rng: Rng, room: bool) -> Rig:
    """A rig: its kind, lens, distance and how steadily it is held. In a room it stays above the table, near enough."""
    kind = pick(rng, RIGS[1:] if room else RIGS)
    low = 0.12 if room else 0.02
    heights = sorted(between(rng, low, 0.85) for _ in range(int(rng.integers(1, 4))))
    if kind in ("arc", "forward"):
        heights = [between(rng, low, 0.55) if room else between(rng, -0.3, 0.6)]
    return {
        "kind": kind,
        "fov_degrees": between(rng, 40 if room else 25, 60),
        "fill": between(rng, 0.65 if room else 0.55, 1.0),
        "start": between(rng, 0, 2 * math.pi),
        "heights": heights,
        "arc_degrees": between(rng, 60, 120),
        "aim": between(rng, 0.02, 0.12),
        "roll_degrees": pick(rng, [0.0, 0.0, between(rng, 2, 15)]),
    }


def place_rig(rig: Rig, n: int, radius: float, size: tuple[int, int], held_out: bool, rng: Rng) -> list[Viewpoint]:
    """n viewpoints of an object of that radius around the origin; those held out stand between the others.

    ``size``: width and height of a photo in pixels. ``rng`` draws how far each is from its place and its aim.
    """
    distance = rig_distance(rig, radius, size)
    focal = size[0] / 2 / math.tan(math.radians(rig["fov_degrees"]) / 2)
    views = []
    for k in range(n):
        jitter = rng.uniform(-1, 1, 8)
        place = (rng.random() * n if held_out else k + 0.5 + 0.35 * jitter[0]) / n
        center, aim = _stand(rig, min(max(place, 0.0), 1.0), k, n, jitter[1:3])
        pose = look_at(center * distance * (1 + 0.06 * jitter[3]), aim * distance + rig["aim"] * radius * jitter[4:7])
        roll = rotation([0, 0, math.radians(rig["roll_degrees"]) * jitter[7]])
        pose[:3, :3] = pose[:3, :3] @ roll
        views.append(Viewpoint(*size, focal, pose))
    return views


def rig_distance(rig: Rig, radius: float, size: tuple[int, int]) -> float:
    """How far the cameras stand from the object's middle, so that it fills ``fill`` of the smaller image side."""
    return camera_distance(radius, rig["fov_degrees"], *size, fill=rig["fill"])


def _stand(
    rig: Rig, place: float, k: int, n: int, jitter: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where a camera stands and looks (3,), both for a distance of one; ``place`` in [0, 1] along the rig."""
    kind, heights = rig["kind"], rig["heights"]
    if kind == "forward":
        columns = math.ceil(math.sqrt(n))
        x = (place * columns) % 1 - 0.5
        y = (math.floor(place * columns) + 0.5) / columns - 0.5
        front = _direction(heights[0], rig["start"])
        right = np.array([-math.sin(rig["start"]), 0, math.cos(rig["start"])])
        shift = 0.9 * x * right + 0.5 * (y + 0.1 * jitter[0]) * np.array([0.0, 1.0, 0.0])
        lowest = 0.1 if heights[0] >= 0.1 else -1.0
        stand = front + shift
        return np.array([stand[0], max(stand[1], lowest), stand[2]]), 0.15 * shift
    if kind == "arc":
        height = heights[0] + 0.08 * jitter[0]
        azimuth = rig["start"] + math.radians(rig["arc_degrees"]) * (place - 0.5)
    elif kind == "rings":
        height = heights[int(place * len(heights)) % len(heights)] + 0.03 * jitter[0]
        azimuth = rig["start"] + 2 * math.pi * ((place * len(heights)) % 1 + 0.03 * jitter[1])
    else:
        low, high = (-0.94, 0.94) if kind == "sphere" else (0.1, 0.93)
        height = low + (high - low) * place
        azimuth = rig["start"] + k * _GOLDEN_ANGLE + 0.15 * jitter[1]
    return _direction(height, azimuth), np.zeros(3)


def _direction(height: float, azimuth: float) -> NDArray[np.float64]:
    """The unit vector of that height, kept off the poles."""
    height = min(max(height, -0.96), 0.96)
    ring = math.sqrt(1 - height * height)
    return np.array([ring * math.cos(azimuth), height, ring * math.sin(azimuth)])
