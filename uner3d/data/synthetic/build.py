"""The signed distances that nodes stand for."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from uner3d.data.synthetic import sdf, solids
from uner3d.data.synthetic.nodes import Node, reach, rotation
from uner3d.data.synthetic.sdf import Distance


def build_distance(node: Node) -> Distance:
    """The 1-Lipschitz distance of a node. Raises ValueError for an unknown kind."""
    if node["kind"] not in _BUILDERS:
        raise ValueError(f"kind = {node['kind']!r}: expected one of {', '.join(_BUILDERS)}")
    distance = _BUILDERS[node["kind"]](node)
    if not {"size", "turn", "move"} & set(node):
        return distance
    size, move = float(node.get("size", 1.0)), np.array(node.get("move", (0.0, 0.0, 0.0)), dtype=np.float64)
    back = rotation(node.get("turn", (0.0, 0.0, 0.0))).T / size
    matrix, shift = torch.from_numpy(back), torch.from_numpy(-back @ move)[:, None]
    maps = {dtype: (matrix.to(dtype), shift.to(dtype)) for dtype in (torch.float32, torch.float64)}

    def placed(p: Tensor) -> Tensor:
        m, offset = maps[p.dtype]
        return distance(torch.addmm(offset, m, p)) * size

    return placed


def _box(node: Node) -> Distance:
    half, rounding = tuple(node["half"]), node["rounding"]
    return lambda p: sdf.rounded_box(p, (0, 0, 0), half, rounding)


def _frame(node: Node) -> Distance:
    half = tuple(node["half"])
    return lambda p: solids.frame(p, half, node["bar"], node["rounding"])


def _ellipsoid(node: Node) -> Distance:
    radii = tuple(node["radii"])
    return lambda p: solids.ellipsoid(p, radii)


def _cylinder(node: Node) -> Distance:
    return lambda p: sdf.rounded_cylinder(p, (0, 0, 0), node["radius"], node["half_height"], node["rounding"])


def _cone(node: Node) -> Distance:
    low, high = node["ends"]
    return lambda p: solids.cone(p, low, high, node["half_height"], node["rounding"])


def _capsule(node: Node) -> Distance:
    h = node["half_height"]
    return lambda p: sdf.capsule(p, (0, -h, 0), (0, h, 0), node["radius"])


def _torus(node: Node) -> Distance:
    return lambda p: sdf.torus(p, (0, 0, 0), node["major"], node["minor"], 1)


def _lathe(node: Node) -> Distance:
    return solids.Lathe(node["radii"], node["half_height"], node["rounding"])


def _star(node: Node) -> Distance:
    def distance(p: Tensor) -> Tensor:
        outline = solids.star(p[0], p[2], node["n"], *node["ends"])
        return solids.extrude(outline, p[1], node["half_height"], node["rounding"])

    return distance


def _boxes(node: Node) -> Distance:
    def distance(p: Tensor) -> Tensor:
        outline = solids.boxes(p[0], p[2], node["rectangles"])
        return solids.extrude(outline, p[1], node["half_height"], node["rounding"])

    return distance


def _flower(node: Node) -> Distance:
    def distance(p: Tensor) -> Tensor:
        outline = solids.flower(p[0], p[2], node["radius"], node["depth"], node["n"])
        return solids.extrude(outline, p[1], node["half_height"], node["rounding"])

    return distance


def _branches(node: Node) -> Distance:
    segments = [(tuple(s["start"]), tuple(s["end"]), s["radius"]) for s in node["segments"]]

    def distance(p: Tensor) -> Tensor:
        d = sdf.capsule(p, *segments[0])
        for segment in segments[1:]:
            d = sdf.smooth_min(d, sdf.capsule(p, *segment), node["blend"])
        return d

    return distance


def _union(node: Node) -> Distance:
    return _joined(node, sdf.smooth_min)


def _intersect(node: Node) -> Distance:
    return _joined(node, sdf.smooth_max)


def _joined(node: Node, join: Callable[[Tensor, Tensor, float], Tensor]) -> Distance:
    parts = [build_distance(child) for child in node["of"]]

    def distance(p: Tensor) -> Tensor:
        d = parts[0](p)
        for part in parts[1:]:
            d = join(d, part(p), node["blend"])
        return d

    return distance


def _subtract(node: Node) -> Distance:
    (body,) = (build_distance(child) for child in node["of"])
    cuts = [build_distance(child) for child in node["cut"]]

    def distance(p: Tensor) -> Tensor:
        d = body(p)
        for cut in cuts:
            d = sdf.smooth_max(d, -cut(p), node["blend"])
        return d

    return distance


def _shell(node: Node) -> Distance:
    body = build_distance(node["of"][0])
    return lambda p: body(p).abs() - node["thickness"]


def _fold(node: Node) -> Distance:
    body = build_distance(node["of"][0])
    return lambda p: body(solids.fold(p, node["by"]))


def _twist(node: Node) -> Distance:
    body, radius = build_distance(node["of"][0]), 1.02 * reach(node["of"][0])
    slope = solids.twist_slope(node["rate"], radius)
    return lambda p: solids.guarded(lambda q: body(solids.twist(q, node["rate"])), p, radius, slope)


def _taper(node: Node) -> Distance:
    low, high = node["low"], node["high"]
    body, radius = build_distance(node["of"][0]), 1.02 * reach(node["of"][0]) * max(1.0, low, high)
    slope = solids.taper_slope(low, high, radius)
    return lambda p: solids.guarded(lambda q: body(solids.taper(q, low, high)), p, radius, slope)


def _ripple(node: Node) -> Distance:
    body = build_distance(node["of"][0])
    waves = node["waves"]
    slope = 1 + sum(a * math.sqrt(x * x + y * y + z * z) for x, y, z, _, a in waves)

    def distance(p: Tensor) -> Tensor:
        d = body(p)
        for x, y, z, phase, amplitude in waves:
            d = d - amplitude * torch.sin(p[0] * x + p[1] * y + p[2] * z + phase)
        return d / slope

    return distance


_BUILDERS: dict[str, Callable[[Node], Distance]] = {
    "box": _box, "frame": _frame, "ellipsoid": _ellipsoid, "cylinder": _cylinder, "cone": _cone, "capsule": _capsule,
    "torus": _torus, "lathe": _lathe, "star": _star, "boxes": _boxes, "flower": _flower, "branches": _branches,
    "union": _union, "intersect": _intersect, "subtract": _subtract, "shell": _shell, "fold": _fold,
    "twist": _twist, "taper": _taper, "ripple": _ripple,
}  # fmt: skip

SOLID_KINDS = tuple(_BUILDERS)
