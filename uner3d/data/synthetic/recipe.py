"""A scene of a training set as plain data: drawn from (split, seed, index), kept in scene.json, built again from it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uner3d.data.synthetic.build import build_distance
from uner3d.data.synthetic.compositions import COMPOSITIONS
from uner3d.data.synthetic.nodes import Node, children, reach
from uner3d.data.synthetic.random_shapes import Rng, between, pick, turned
from uner3d.data.synthetic.random_textures import build_texture, draw_palette, draw_texture
from uner3d.data.synthetic.render import Light
from uner3d.data.synthetic.rigs import draw_rig
from uner3d.data.synthetic.shapes import Part, Shape
from uner3d.data.synthetic.texture import ValueNoise

Recipe = dict[str, Any]

# The first word of every random stream: no two splits share a stream, whatever the seeds and the indices.
SPLITS = {"train": 1, "val": 2, "test": 3}
BACKGROUNDS = ("transparent", "colour", "room")
_KINDS = tuple(COMPOSITIONS)
_ORDER = 2**32 - 1  # the stream that orders the kinds; indices stay below


def stream(split: str, seed: int, index: int, *more: int) -> Rng:
    """The random numbers of one scene, or of a part of it."""
    return np.random.default_rng([SPLITS[split], seed, index, *more])


def draw_recipe(split: str, seed: int, index: int, attempt: int = 0) -> Recipe:
    """The scene of that index: shape, textures, light, background, rig and photography, as JSON holds them.

    Every twelve scenes in a row show each kind of object once. ``attempt`` counts the shapes refused before.
    """
    order = stream(split, seed, index // len(_KINDS), _ORDER).permutation(len(_KINDS))
    kind = _KINDS[int(order[index % len(_KINDS)])]
    rng = stream(split, seed, index, attempt)
    background = _draw_background(rng)
    room = background["kind"] == "room"
    composition = COMPOSITIONS[kind](rng)
    tumbled = kind not in ("several", "stack", "vessel", "folded") and not room and rng.random() < 0.5
    turn = turned(rng, {})["turn"] if tumbled else None

    def placed(node: Node) -> Node:
        return node if turn is None else {"kind": "union", "of": [node], "blend": composition.blend, "turn": turn}

    palette = draw_palette(rng)
    parts = [{"distance": placed(node), "texture": draw_texture(rng, palette)} for node in composition.parts]
    return {
        "kind": kind,
        "attempt": attempt,
        "parts": parts,
        "carvings": [placed(node) for node in composition.carvings],
        "blend": composition.blend,
        "noise_seed": int(rng.integers(2**31)),
        "specular": pick(rng, [0.0, between(rng, 0.05, 0.6)]),
        "light": _draw_light(rng),
        "background": background,
        "rig": draw_rig(rng, room),
        "photography": _draw_photography(rng),
    }


def _draw_background(rng: Rng) -> dict[str, Any]:
    kind = BACKGROUNDS[int(np.searchsorted([0.4, 0.75], rng.random()))]
    if kind == "colour":
        grey = pick(rng, [1.0, 0.0, between(rng, 0.1, 0.9), None])
        return {"kind": kind, "colour": [grey] * 3 if grey is not None else [between(rng, 0.05, 0.95) for _ in "rgb"]}
    if kind == "room":
        faces = [draw_texture(rng, draw_palette(rng)) for _ in range(3)]
        return {"kind": kind, "faces": [face | {"size": round(1.5 * face["size"], 4)} for face in faces]}
    return {"kind": kind}


def _draw_light(rng: Rng) -> dict[str, Any]:
    height, azimuth, fill = rng.uniform(0.2, 0.97), rng.uniform(0, 2 * math.pi), rng.uniform(-0.4, 0.4)
    ring, low_ring = math.sqrt(1 - height**2), math.sqrt(1 - fill**2)
    opposite = azimuth + math.pi + rng.uniform(-1, 1)
    ambient = between(rng, 0.35, 0.85)
    return {
        "ambient": ambient,
        "key": round((1.3 - ambient) * rng.uniform(0.75, 1.25), 4),
        "fill": between(rng, 0, 0.3),
        "toward_key": [ring * math.cos(azimuth), height, ring * math.sin(azimuth)],
        "toward_fill": [low_ring * math.cos(opposite), fill, low_ring * math.sin(opposite)],
        "shininess": between(rng, 10, 80),
    }


def _draw_photography(rng: Rng) -> dict[str, Any]:
    steady = rng.random() < 0.5
    return {
        "noise": pick(rng, [0.0, between(rng, 0.002, 0.02)]),
        "exposure": 0.0 if steady else between(rng, 0.02, 0.12),
        "white_balance": 0.0 if steady else between(rng, 0.0, 0.05),
    }


def build_recipe_shape(recipe: Recipe) -> Shape:
    """The shape of a recipe, with its textures."""
    noise = ValueNoise(recipe["noise_seed"])
    nodes = [part["distance"] for part in recipe["parts"]]
    parts = [Part(build_distance(p["distance"]), build_texture(p["texture"], noise)) for p in recipe["parts"]]
    extent = 1.03 * max(reach(node) for node in nodes) + 0.5 * recipe["blend"] + 0.03
    finest = min([recipe["blend"], *(_finest(node) for node in [*nodes, *recipe["carvings"]])])
    carvings = [build_distance(node) for node in recipe["carvings"]]
    return Shape(parts, extent, max(finest, 0.018 * extent), recipe["blend"], carvings)


def _finest(node: Node) -> float:
    """About the smallest radius of curvature within a node."""
    own = [float(node[key]) for key in ("rounding", "bar", "minor", "thickness", "radius", "blend") if key in node]
    inner = [_finest(child) for child in children(node)]
    own += [segment["radius"] for segment in node.get("segments", ())]
    return min([*own, *inner, 0.3]) * float(node.get("size", 1.0))


def build_light(recipe: Recipe) -> Light:
    """The light of a recipe."""
    values = recipe["light"]
    key, fill = values["toward_key"], values["toward_fill"]
    return Light(values["ambient"], values["key"], values["fill"], (key[0], key[1], key[2]),
                 (fill[0], fill[1], fill[2]), values["shininess"])  # fmt: skip


def develop(recipe: Recipe, rng: Rng) -> Callable[[Tensor], Tensor]:
    """What a photo makes of the light that arrives: its own exposure and white balance, and noise. Colours (3, N)."""
    how = recipe["photography"]
    gain = np.exp(how["exposure"] * rng.uniform(-1, 1) + how["white_balance"] * rng.uniform(-1, 1, 3))

    def developed(colour: Tensor) -> Tensor:
        out = colour * torch.from_numpy(gain).to(colour.dtype)[:, None]
        if how["noise"] > 0:
            out = out + how["noise"] * torch.from_numpy(rng.standard_normal(tuple(colour.shape), dtype=np.float32))
        return out.clamp(0, 1)

    return developed
