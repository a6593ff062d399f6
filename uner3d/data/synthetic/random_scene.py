"""One scene of a training set: from a recipe to the files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from uner3d.data.synthetic.files import photo_name, write_json, write_mesh, write_points, write_transforms
from uner3d.data.synthetic.generate import ROOM_HALF
from uner3d.data.synthetic.many_options import ManyOptions, scene_args
from uner3d.data.synthetic.random_textures import build_texture
from uner3d.data.synthetic.recipe import Recipe, build_light, build_recipe_shape, develop, stream
from uner3d.data.synthetic.render import Room, Stage, render_photos
from uner3d.data.synthetic.rigs import place_rig, rig_distance
from uner3d.data.synthetic.surface import ShapeSurface
from uner3d.data.synthetic.texture import ValueNoise
from uner3d.data.synthetic.truth import TruePoints, sample_seen_points

_TOGETHER = 16  # photos that are traced in one go
_LONGEST_EDGE = 2.0
_MESH_TOLERANCE = 0.12  # in pixel footprints
_LEAST_COVER = 0.04  # of a photo that the object's outline spans, as a box
_LEAST_SEEN = 0.12  # of the surface that two photos see


class Refused(Exception):
    """A drawn shape makes no scene."""


class RandomScene:
    """A recipe with all that is computed from it, checked to be worth photographing."""

    def __init__(self, options: ManyOptions, index: int, recipe: Recipe) -> None:
        self.options, self.index, self.recipe = options, index, recipe
        try:
            surface = ShapeSurface(build_recipe_shape(recipe), _LONGEST_EDGE)
        except ValueError as error:
            raise Refused(str(error)) from error
        size, rig = (options.width, options.height), recipe["rig"]
        self.views = {
            name: place_rig(rig, n, surface.radius, size, name == "test", self._stream(2 + k))
            for k, (name, n) in enumerate((("train", options.n_train), ("test", options.n_test)))
        }
        distance = rig_distance(rig, surface.radius, size)
        self.footprint = distance / self.views["train"][0].focal
        self.vertices, self.triangles = surface.mesh(_MESH_TOLERANCE * self.footprint)
        self._check_views()
        self.stage = self._build_stage(surface, distance)
        self.points = self._draw_points()

    def _stream(self, part: int) -> np.random.Generator:
        o = self.options
        return stream(o.split, o.seed, self.index, self.recipe["attempt"], part)

    def _check_views(self) -> None:
        vertices = torch.from_numpy(self.vertices[:: max(1, len(self.vertices) // 4000)].T.copy())
        for view in [*self.views["train"], *self.views["test"]]:
            u, v, depth = view.project(vertices)
            if not (depth > 0).all():
                raise Refused("a camera stands within it")
            u, v = u.clamp(0, view.width), v.clamp(0, view.height)
            cover = float((u.max() - u.min()) * (v.max() - v.min())) / (view.width * view.height)
            if cover < _LEAST_COVER:
                raise Refused(f"it covers {cover:.1%} of a photo")

    def _build_stage(self, surface: ShapeSurface, distance: float) -> Stage:
        recipe, background = self.recipe, self.recipe["background"]
        room = None
        if background["kind"] == "room":
            low, high = self.vertices.min(0), self.vertices.max(0)
            unit = float(np.linalg.norm(high - low)) / 2
            half = ROOM_HALF * unit
            if any(np.abs(v.world_from_camera[[0, 2], 3]).max() > 0.97 * half or v.world_from_camera[1, 3] < low[1]
                   for views in self.views.values() for v in views):  # fmt: skip
                raise Refused("a camera stands outside the room")
            noise = ValueNoise(recipe["noise_seed"] + 1)
            room = Room(float(low[1]), half, unit, 0, [build_texture(face, noise) for face in background["faces"]])
        colour = tuple(background["colour"]) if "colour" in background else None
        return Stage(surface, room, recipe["specular"], build_light(recipe), colour)

    def _draw_points(self) -> TruePoints:
        try:
            points = sample_seen_points(self.stage, self.views["train"], self.options.n_points, self._stream(4))
        except ValueError as error:
            raise Refused(str(error)) from error
        if points.share < _LEAST_SEEN:
            raise Refused(f"two photos see {points.share:.1%} of it")
        return points

    def write(self, folder: Path) -> None:
        """Write the scene's files to an empty folder."""
        write_points(folder / "gt_points.ply", self.points)
        write_mesh(folder / "gt_mesh.ply", self.vertices, self.triangles)

        self._write_photos(folder)
        low, high = self.vertices.min(0), self.vertices.max(0)
        room = self.stage.room
        content: dict[str, Any] = {"shape": "random", "box_min": low.tolist(), "box_max": high.tolist()}
        if room is not None:
            content |= {"room_min": room.low.tolist(), "room_max": room.high.tolist()}
        content |= {"pixel_footprint": self.footprint, "seen_by_two_or_more": self.points.share}
        content |= {"specular": self.stage.specular, "table": room is not None}
        content |= {"args": scene_args(self.options, self.index), "recipe": self.recipe}
        write_json(folder / "scene.json", content)

    def _write_photos(self, folder: Path) -> None:
        from PIL import Image

        jobs = [(split, k) for split, cameras in self.views.items() for k in range(len(cameras))]
        for split, cameras in self.views.items():
            (folder / split).mkdir()
            write_transforms(folder, split, cameras)
        for first in range(0, len(jobs), _TOGETHER):
            some = jobs[first : first + _TOGETHER]
            views = [self.views[split][k] for split, k in some]
            ways = [develop(self.recipe, self._stream(10 + 2 * k + (split == "test"))) for split, k in some]
            photos = render_photos(self.stage, views, self.options.supersampling, ways)
            for (split, k), photo in zip(some, photos, strict=True):
                Image.fromarray(photo).save(folder / photo_name(split, k))
