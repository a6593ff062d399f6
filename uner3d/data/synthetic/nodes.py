"""Solids as plain data: trees of dictionaries that JSON holds. `build` makes signed distances of them.

A node has a ``kind`` and the parameters of that kind. Any node may be placed: ``size`` scales it, ``turn`` (a rotation
vector, radians) turns it, ``move`` carries it, in that order.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Node = dict[str, Any]

# How much further out than the true distance a bound may reach a small value: of flat ellipsoids and steep lathes.
_FLATTEST = 3.0


def rotation(vector: Any) -> np.ndarray:
    """The rotation matrix (3, 3) of a rotation vector (3,), by Rodrigues' formula."""
    x, y, z = (float(v) for v in vector)
    angle = math.sqrt(x * x + y * y + z * z)
    if angle == 0:
        return np.eye(3)
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) / angle
    return np.eye(3) + math.sin(angle) * k + (1 - math.cos(angle)) * k @ k


def reach(node: Node) -> float:
    """A radius around the origin that holds the node."""
    kind, inner = node["kind"], [reach(child) for child in children(node)]
    if kind in ("union", "fold"):
        own = max(inner) + (0.5 * node["blend"] if len(inner) > 1 else 0.0)
    elif kind == "intersect":
        own = min(inner)
    elif kind == "taper":
        own = inner[0] * max(1.0, node["low"], node["high"])
    elif kind == "ripple":
        own = inner[0] + _FLATTEST * sum(wave[4] for wave in node["waves"])
    elif kind == "shell":
        own = inner[0] + _FLATTEST * node["thickness"]
    else:
        own = inner[0] if inner else _solid_reach(node)
    move = node.get("move", (0.0, 0.0, 0.0))
    return own * node.get("size", 1.0) + math.sqrt(sum(m * m for m in move))


def _solid_reach(node: Node) -> float:
    kind = node["kind"]
    if kind in ("box", "frame"):
        return math.sqrt(sum(h * h for h in node["half"]))
    if kind == "ellipsoid":
        return float(max(node["radii"]))
    if kind == "torus":
        return float(node["major"] + node["minor"])
    if kind == "branches":
        ends = [(s["radius"], end) for s in node["segments"] for end in (s["start"], s["end"])]
        return max(math.dist(end, (0, 0, 0)) + radius for radius, end in ends) + 0.5 * node["blend"]
    if kind == "capsule":
        return float(node["half_height"] + node["radius"])
    if kind == "star":
        return math.hypot(node["ends"][0] + node["rounding"], node["half_height"])
    if kind == "boxes":
        away = max(math.hypot(abs(mx) + hx, abs(my) + hy) for mx, my, hx, hy in node["rectangles"])
        return math.hypot(away + node["rounding"], node["half_height"])
    if kind == "flower":
        return math.hypot(node["radius"] + node["depth"] + node["rounding"], node["half_height"])
    widest = max(node["radii"]) * 1.1 if kind == "lathe" else node.get("radius", max(node.get("ends", [0.0])))
    return math.hypot(widest, node["half_height"])


def children(node: Node) -> list[Node]:
    """The nodes a node is made of, the first of a difference being what is cut."""
    return [*node.get("of", ()), *node.get("cut", ())]


def kinds(node: Node) -> set[str]:
    """All kinds in the tree."""
    return {node["kind"]}.union(*(kinds(child) for child in children(node)))
