"""The kinds of object a training set shows; each draws the parts of a shape, and what is carved out of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from uner3d.data.synthetic.nodes import Node, reach
from uner3d.data.synthetic.random_shapes import (
    Rng,
    between,
    branches,
    deformed,
    hole,
    lathe,
    pick,
    prism,
    solid,
    turned,
)

_SHARP, _ROUNDING = 0.025, 0.035


@dataclass
class Composition:
    """Parts, each to get a texture of its own; carvings cut from all of them; the width over which they blend."""

    parts: list[Node]
    carvings: list[Node] = field(default_factory=list)
    blend: float = _SHARP


def _single(rng: Rng) -> Composition:
    return Composition([deformed(rng, solid(rng), 0.6)])


def _blend(rng: Rng) -> Composition:
    parts = []
    for _ in range(int(rng.integers(2, 5))):
        move = np.round(rng.uniform(-0.5, 0.5, 3), 4).tolist()
        parts.append(turned(rng, solid(rng)) | {"size": between(rng, 0.35, 0.65), "move": move})
    return Composition(parts, blend=between(rng, 0.06, 0.25))


def _stack(rng: Rng) -> Composition:
    parts, top = [], 0.0
    for _ in range(int(rng.integers(2, 5))):
        node = deformed(rng, solid(rng), 0.2) | {"size": between(rng, 0.3, 0.7)}
        half = 0.66 * reach(node)
        parts.append(node | {"move": [between(rng, -0.08, 0.08), round(top + half, 4), between(rng, -0.08, 0.08)]})
        top += 1.7 * half
    for node in parts:
        node["move"][1] = round(node["move"][1] - top / 2, 4)
    return Composition(parts)


def _carved(rng: Rng) -> Composition:
    body = deformed(rng, solid(rng), 0.25)
    blend = pick(rng, [_SHARP, 0.08])
    return Composition([body], [hole(rng, body, k == 0) for k in range(int(rng.integers(1, 4)))], blend)


def _vessel(rng: Rng) -> Composition:
    thickness, half = between(rng, 0.04, 0.09), between(rng, 0.45, 0.75)
    body: Node = {"kind": "cylinder", "radius": between(rng, 0.4, 0.65), "half_height": half, "rounding": 0.15}
    if rng.random() < 0.4:
        body = lathe(rng)
        body["radii"] = [max(r, 0.3) for r in body["radii"]]
        half = body["half_height"]
    elif rng.random() < 0.4:
        body = {"kind": "ellipsoid", "radii": [0.8, round(half, 4), 0.8]}
    cup: Node = {"kind": "shell", "of": [body], "thickness": thickness}
    rim = round(half * rng.uniform(0.1, 0.7), 4)
    lid = {"kind": "box", "half": [2, 1, 2], "rounding": 0.02, "move": [0, 1 + rim, 0]}
    parts: list[Node] = [{"kind": "subtract", "of": [cup], "cut": [lid], "blend": 0.05}]
    if rng.random() < 0.6 and body["kind"] == "cylinder":
        torus = {"kind": "torus", "major": 0.8, "minor": between(rng, 0.14, 0.2), "size": between(rng, 0.34, 0.42)}
        # The inside stays free: the handle's inner part is cut away where the cup is hollow.
        handle = torus | {"turn": [1.5708, 0, 0], "move": [round(body["radius"] + 0.06, 4), -0.1, 0]}
        inside = body | {"radius": round(body["radius"] - thickness, 4)}
        parts.append({"kind": "subtract", "of": [handle], "cut": [inside], "blend": _SHARP})
    return Composition(parts, blend=0.04)


def _lathe(rng: Rng) -> Composition:
    return Composition([deformed(rng, lathe(rng), 0.35)])


def _prism(rng: Rng) -> Composition:
    body = deformed(rng, prism(rng), 0.5)
    bore = {"kind": "cylinder", "radius": between(rng, 0.12, 0.25), "half_height": 2, "rounding": 0.02}
    return Composition([turned(rng, body)] if rng.random() < 0.5 else [body], [bore] if rng.random() < 0.3 else [])


def _folded(rng: Rng) -> Composition:
    """A wheel, a stool, a bench: limbs repeated around an axis, and something that joins them."""
    by = pick(rng, ["xz", "hex", "oct"])
    angle = {"xz": between(rng, 0.5, 1.05), "hex": 0.0, "oct": 0.0}[by]
    away, low = between(rng, 0.45, 0.65), between(rng, 0.35, 0.8)
    x, z = round(away * math.cos(angle), 4), round(away * math.sin(angle), 4)
    if rng.random() < 0.55:  # legs under a top
        width, lean = between(rng, 0.06, 0.14), between(rng, -0.15, 0.3)
        leg: Node = {"kind": "branches", "blend": _SHARP, "segments": [
            {"start": [x * (1 + lean), -low, z * (1 + lean)], "end": [x, low, z], "radius": width}]}  # fmt: skip
        thick = between(rng, 0.05, 0.14)
        top: Node = {"kind": "cylinder", "radius": away + 0.2, "half_height": thick, "rounding": 0.04}
        if rng.random() < 0.5:
            top = {"kind": "box", "half": [x + 0.2, thick, max(z, x) + 0.2], "rounding": 0.04}
        return Composition([{"kind": "fold", "by": by, "of": [leg]}, top | {"move": [0, low, 0]}], blend=0.04)
    limb = turned(rng, solid(rng), 0.6) | {"size": between(rng, 0.22, 0.36), "move": [x, 0, z]}
    spoke: Node = {"kind": "branches", "blend": _SHARP, "segments": [
        {"start": [0, 0, 0], "end": [x, 0, z], "radius": between(rng, 0.07, 0.16)}]}  # fmt: skip
    hub = solid(rng) | {"size": between(rng, 0.25, 0.4)}
    folded: list[Node] = [{"kind": "fold", "by": by, "of": [node]} for node in (limb, spoke)]
    return Composition([*folded, hub], blend=pick(rng, [_SHARP, 0.08]))


def _branches(rng: Rng) -> Composition:
    return Composition([branches(rng)])


def _several(rng: Rng) -> Composition:
    """Objects side by side that do not touch, standing on one level."""
    n = int(rng.integers(2, 5))
    start, sizes = rng.uniform(0, 2 * math.pi), [between(rng, 0.28, 0.5) for _ in range(n)]
    away = max(0.55, 1.1 * max(sizes) / math.sin(math.pi / n))
    parts = []
    for k, size in enumerate(sizes):
        node = deformed(rng, solid(rng), 0.3)
        node |= {"size": round(size / max(reach(node), 1e-3), 4)}
        angle = start + k * 2 * math.pi / n
        move = [away * math.cos(angle), 0.8 * size - 0.5, away * math.sin(angle)]
        parts.append(node | {"move": np.round(move, 4).tolist()})
    return Composition(parts)


def _intersection(rng: Rng) -> Composition:
    first = turned(rng, pick(rng, [solid, prism])(rng))
    second: Node = {"kind": "ellipsoid", "radii": [between(rng, 0.6, 0.85) for _ in range(3)]}
    if rng.random() < 0.5:
        second = turned(rng, {"kind": "box", "half": [0.55, between(rng, 0.3, 0.6), 0.5], "rounding": 0.05})
    blend = pick(rng, [_SHARP, 0.1])
    return Composition([{"kind": "intersect", "of": [first, second], "blend": blend}])


def _thin(rng: Rng) -> Composition:
    """Frames, plates and rings, some with something within."""
    half = [between(rng, 0.4, 0.7) for _ in range(3)]
    bar = between(rng, 0.04, 0.09)
    frame: Node = {"kind": "frame", "half": half, "bar": bar, "rounding": min(_ROUNDING, bar)}
    ring: Node = {"kind": "torus", "major": 0.75, "minor": between(rng, 0.045, 0.09)}
    plate: Node = {"kind": "box", "half": [0.7, between(rng, 0.035, 0.06), between(rng, 0.4, 0.7)], "rounding": 0.03}
    what = pick(rng, ["frame", "rings", "plates"])
    if what == "frame":
        inner = [turned(rng, solid(rng)) | {"size": round(0.8 * min(half), 4)}] if rng.random() < 0.6 else []
        return Composition([frame, *inner])
    if what == "rings":
        rings = [ring, ring | {"turn": [1.5708, 0, 0]}, ring | {"turn": [0, 0, 1.5708], "size": 0.8}]
        return Composition([*rings[: int(rng.integers(2, 4))], solid(rng) | {"size": 0.3}])
    plates = [turned(rng, plate, 0.8) | {"move": [0, y, 0]} for y in (-0.45, 0.0, 0.45)]
    return Composition([*plates, {"kind": "cylinder", "radius": 0.1, "half_height": 0.75, "rounding": _ROUNDING}])


COMPOSITIONS: dict[str, Callable[[Rng], Composition]] = {
    "single": _single, "blend": _blend, "stack": _stack, "carved": _carved, "vessel": _vessel, "lathe": _lathe,
    "prism": _prism, "folded": _folded, "branches": _branches, "several": _several, "intersection": _intersection,
    "thin": _thin,
}  # fmt: skip
