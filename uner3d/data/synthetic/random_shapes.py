"""Random solids as plain data (see `nodes`): what kinds of thing a training set shows, and how each is drawn."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from uner3d.data.synthetic.build import build_distance
from uner3d.data.synthetic.nodes import Node, reach

_FINEST = 0.035  # the least rounding of an edge and half thickness of a part, about a pixel of a 128-pixel photo
Rng = np.random.Generator


def between(rng: Rng, low: float, high: float) -> float:
    """Uniform, to four decimals: what JSON holds is then exactly what was drawn."""
    return round(float(rng.uniform(low, high)), 4)


def pick(rng: Rng, choices: Any) -> Any:
    """One of the choices."""
    return choices[int(rng.integers(len(choices)))]


def turned(rng: Rng, node: Node, most: float = math.pi) -> Node:
    """The node, turned around a random axis by at most ``most`` radians."""
    axis = rng.normal(size=3)
    vector = axis / np.linalg.norm(axis) * rng.uniform(0, most)
    return node | {"turn": [round(float(v), 4) for v in vector]}


def _box(rng: Rng) -> Node:
    half = rng.uniform(0.3, 1, 3)
    half = np.round(half / np.linalg.norm(half), 4).tolist()
    rounding = pick(rng, [_FINEST, _FINEST, between(rng, 0.05, 0.9 * min(half))])
    return {"kind": "box", "half": half, "rounding": rounding}


def _ellipsoid(rng: Rng) -> Node:
    radii = rng.uniform(0.5, 1, 3)
    return {"kind": "ellipsoid", "radii": np.round(radii / radii.max(), 4).tolist()}


def _cylinder(rng: Rng) -> Node:
    angle = between(rng, 0.35, 1.25)
    return {"kind": "cylinder", "radius": math.sin(angle), "half_height": math.cos(angle), "rounding": _FINEST}


def _cone(rng: Rng) -> Node:
    ends = [between(rng, 0.5, 0.7), between(rng, 0.06, 0.35)]
    return {"kind": "cone", "ends": ends, "half_height": between(rng, 0.4, 0.7), "rounding": _FINEST}


def _capsule(rng: Rng) -> Node:
    radius = between(rng, 0.2, 0.5)
    return {"kind": "capsule", "half_height": 1 - radius, "radius": radius}


def _torus(rng: Rng) -> Node:
    minor = between(rng, 0.12, 0.32)
    return {"kind": "torus", "major": 1 - minor, "minor": minor}


def lathe(rng: Rng) -> Node:
    """A turned body: a vase, a spindle, a chess piece."""
    radii = [between(rng, 0.18, 0.6) for _ in range(int(rng.integers(4, 8)))]
    return {"kind": "lathe", "radii": radii, "half_height": 0.8, "rounding": _FINEST}


def prism(rng: Rng) -> Node:
    """An extruded outline: a regular polygon, a star, a letter, a flower."""
    height = between(rng, 0.15, 0.7)
    what = pick(rng, ["regular", "star", "letter", "flower"])
    if what == "flower":
        n, radius = int(rng.integers(3, 9)), 0.62
        depth = between(rng, 0.25, 0.7) / n
        return {"kind": "flower", "n": n, "radius": radius, "depth": depth, "half_height": height, "rounding": _FINEST}
    rounding = pick(rng, [_FINEST, 0.08])
    if what == "letter":
        rectangles = [[round(0.34 * v, 4) for v in rectangle] for rectangle in pick(rng, _LETTERS)]
        return {"kind": "boxes", "rectangles": rectangles, "half_height": height, "rounding": rounding}
    n = int(rng.integers(3, 8))
    inner = 0.72 * (between(rng, 0.42, 0.7) if what == "star" else math.cos(math.pi / n))
    return {"kind": "star", "n": n, "ends": [0.72, inner], "half_height": height, "rounding": rounding}


_LETTERS = (
    ((-1, 0, 0.5, 2), (0.5, -1.5, 1, 0.5)),  # L
    ((0, 1.5, 1.8, 0.5), (0, -0.5, 0.55, 1.5)),  # T
    ((-1.2, 0, 0.5, 1.7), (1.2, 0, 0.5, 1.7), (0, -1.2, 1.7, 0.5)),  # U
    ((-1.2, 0, 0.6, 1.8), (0, -0.6, 0.6, 1.2), (1.2, -1.2, 0.6, 0.6)),  # stairs
    ((0, 0, 1.8, 0.6), (0, 0, 0.6, 1.8)),  # plus
    ((-1.2, 0, 0.45, 1.8), (1.2, 0, 0.45, 1.8), (0, 0, 1.2, 0.4)),  # H
    ((-1.5, 0, 0.4, 1.6), (1.5, 0, 0.4, 1.6), (0, 1.3, 1.5, 0.35), (0, -1.3, 1.5, 0.35)),  # a ring
)


def branches(rng: Rng) -> Node:
    """Limbs that grow from a root, each from the end of an earlier one."""
    ends, segments = [np.zeros(3)], []
    for k in range(int(rng.integers(3, 7))):
        start = ends[int(rng.integers(max(0, k - 2), k + 1))]
        direction = np.add(rng.normal(size=3), (0, 0.4, 0))
        end = start + direction / np.linalg.norm(direction) * rng.uniform(0.4, 0.75)
        ends.append(end)
        segments.append({"start": start, "end": end, "radius": between(rng, 0.07, 0.2)})
    middle = np.mean(ends, 0)
    for s in segments:
        s["start"], s["end"] = np.round(s["start"] - middle, 4).tolist(), np.round(s["end"] - middle, 4).tolist()
    return {"kind": "branches", "segments": segments, "blend": pick(rng, [0.03, between(rng, 0.06, 0.2)])}


_SOLIDS: list[Callable[[Rng], Node]] = [_box, _box, _ellipsoid, _cylinder, _cone, _capsule, _torus, lathe, prism]


def solid(rng: Rng) -> Node:
    """One plain solid of about unit reach."""
    return pick(rng, _SOLIDS)(rng)


def deformed(rng: Rng, node: Node, often: float = 0.5) -> Node:
    """The node as it is, or twisted, tapered or rippled."""
    if rng.random() > often:
        return node
    kind = pick(rng, ["twist", "taper", "ripple", "ripple"])
    if kind == "twist":
        return {"kind": "twist", "of": [node], "rate": pick(rng, [-1, 1]) * between(rng, 0.5, 1.4)}
    if kind == "taper":
        low, high = between(rng, 0.55, 0.8), 1.0
        return {"kind": "taper", "of": [node], "low": low, "high": high} | ({} if rng.random() < 0.5 else
                {"low": high, "high": low})  # fmt: skip
    n, length = int(rng.integers(1, 5)), rng.uniform(5, 16)
    waves = []
    for _ in range(n):
        k = rng.normal(size=3)
        k = k / np.linalg.norm(k) * length * rng.uniform(0.7, 1.2)
        waves.append([*np.round(k, 3).tolist(), between(rng, 0, 6.28), round(rng.uniform(0.2, 0.6) / length / n, 5)])
    return {"kind": "ripple", "of": [node], "waves": waves}


def hole(rng: Rng, body: Node, through: bool) -> Node:
    """A solid to cut from the body: a bore or a slot right through it, else perhaps a dent in its side."""
    size = reach(body)
    what = pick(rng, ["bore", "slot"] if through else ["bore", "slot", "dent", "dent"])
    if what == "dent":
        toward = rng.normal(size=3)
        ray = np.linspace(size, 0, 200)[None] * (toward / np.linalg.norm(toward))[:, None]
        inside = build_distance(body)(torch.from_numpy(ray)).numpy() < 0
        place = ray[:, int(inside.argmax())]  # where the way in from outside meets the body
        radius = round(between(rng, 0.2, 0.4) * size, 4)
        return {"kind": "ellipsoid", "radii": [1, 1, 1], "size": radius, "move": np.round(place, 4).tolist()}
    off = np.round(rng.uniform(-0.2, 0.2, 3) * size, 4).tolist()
    if what == "bore":
        bore = {"kind": "cylinder", "radius": between(rng, 0.12, 0.3), "half_height": 2.0, "rounding": 0.02}
    else:
        bore = {"kind": "box", "half": [between(rng, 0.1, 0.3), 2.0, between(rng, 0.15, 0.5)], "rounding": 0.03}
    return turned(rng, bore, math.pi) | {"size": size, "move": off}

