"""A training set: as many scenes of random objects as asked, each a complete scene folder."""

from __future__ import annotations

import contextlib
import json
import math
import multiprocessing
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from uner3d.data.synthetic.cameras import Viewpoint
from uner3d.data.synthetic.files import photo_name, write_json, write_mesh, write_points, write_transforms
from uner3d.data.synthetic.generate import ROOM_HALF, Progress, put_in_place
from uner3d.data.synthetic.random_textures import build_texture
from uner3d.data.synthetic.recipe import SPLITS, Recipe, build_light, build_recipe_shape, develop, draw_recipe, stream
from uner3d.data.synthetic.render import Room, Stage, render_photos
from uner3d.data.synthetic.rigs import place_rig, rig_distance
from uner3d.data.synthetic.surface import ShapeSurface
from uner3d.data.synthetic.texture import ValueNoise
from uner3d.data.synthetic.truth import TruePoints, sample_seen_points

_ATTEMPTS = 50
_TOGETHER = 16  # photos that are traced in one go
_LONGEST_EDGE = 2.0
_MESH_TOLERANCE = 0.12  # in pixel footprints
_LEAST_COVER = 0.04  # of a photo that the object's outline spans, as a box
_LEAST_SEEN = 0.12  # of the surface that two photos see


@dataclass
class ManyOptions:
    """Make a training set: scenes of random objects, each as `synth` makes one, in folders 00000, 00001, ..."""

    output: Path
    """Folder to write the scenes to. Scenes that are there already are kept."""
    many: int
    """Number of scenes."""
    split: str = "train"
    """train, val or test: their random streams are disjoint, so that none shows an object of another."""
    seed: int = 0
    """Seed of everything that is drawn. Scene k depends on split, seed and k alone, not on how many are made."""
    n_train: int = 12
    """Number of photos to reconstruct from, per scene."""
    n_test: int = 4
    """Number of held-out photos, per scene."""
    width: int = 128
    """Width of a photo in pixels."""
    height: int = 128
    """Height of a photo in pixels."""
    supersampling: int = 2
    """Rays per pixel and axis."""
    n_points: int = 20_000
    """Number of true points, per scene."""
    processes: int = 2
    """Number of processes, each making scenes of its own. The bytes do not depend on it."""
    overwrite: bool = False
    """Make scenes again that are there already."""


def run_many(options: ManyOptions, progress: Progress | None = None) -> Path:
    """Make the scenes that the options describe and that are not there yet; returns the folder that holds them.

    A scene is written under another name and renamed when it is complete, so that a run that was stopped goes on
    where it was. ``progress`` is called with (scenes done, scenes in all, "scenes").

    Raises:
        ValueError: an option out of range.
        FileExistsError: a scene's folder is in use: by a scene made with other options, or by something else.
        OSError: the folder cannot be written.
    """
    check_many(options)
    output, tell = Path(options.output), progress or (lambda done, total, stage: None)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"cannot write to {output}: {error.strerror or error}") from error
    _clear_leftovers(output)
    todo = [k for k in range(options.many) if options.overwrite or not _is_made(options, k)]
    done = options.many - len(todo)
    tell(done, options.many, "scenes")
    for _ in _make_all(options, todo):
        done += 1
        tell(done, options.many, "scenes")
    return output


def check_many(options: ManyOptions) -> None:
    """Raise a ValueError that names the first option that is out of range."""
    ranges: list[tuple[str, int, int]] = [
        ("many", 1, 100_000),
        ("seed", 0, 2**63),
        ("n_train", 2, 10_000),
        ("n_test", 1, 10_000),
        ("width", 16, 16_384),
        ("height", 16, 16_384),
        ("supersampling", 1, 16),
        ("n_points", 1, 100_000_000),
        ("processes", 1, 1024),
    ]
    for name, low, high in ranges:
        value = getattr(options, name)
        if not low <= value <= high:
            raise ValueError(f"{name} = {value}: expected between {low:g} and {high:g}")
    if options.split not in SPLITS:
        raise ValueError(f"split = {options.split!r}: expected one of {', '.join(SPLITS)}")


def _scene_args(options: ManyOptions, index: int) -> dict[str, Any]:
    """The options that decide the bytes of a scene."""
    fields = asdict(options)
    names = ("split", "seed", "n_train", "n_test", "width", "height", "supersampling", "n_points")
    return {name: fields[name] for name in names} | {"index": index}


def _is_made(options: ManyOptions, index: int) -> bool:
    """Whether a scene is there; FileExistsError where its folder holds anything else."""
    folder = Path(options.output) / f"{index:05d}"
    if not folder.exists():
        return False
    try:
        there = json.loads((folder / "scene.json").read_text())["args"]
    except (OSError, ValueError, KeyError):
        raise FileExistsError(f"{folder} exists and is no generated scene: choose another folder") from None
    for name, value in _scene_args(options, index).items():
        if there.get(name) != value:
            raise FileExistsError(
                f"{folder} was made with {name} = {there.get(name)}, not {value}: choose another folder, or overwrite"
            )
    return True


def _clear_leftovers(output: Path) -> None:
    """Remove what processes that are no more have left half written."""
    for folder in output.glob(".[0-9]*.partial"):
        process = folder.name.split(".")[2]
        with contextlib.suppress(OSError, ValueError):
            try:
                os.kill(int(process), 0)
            except ProcessLookupError:
                shutil.rmtree(folder, ignore_errors=True)


def _make_all(options: ManyOptions, todo: list[int]) -> Iterator[int]:
    """Make the scenes, yielding the index of each when it is complete."""
    n_processes = min(options.processes, len(todo))
    if n_processes <= 1:
        for index in todo:
            make_scene(options, index)
            yield index
        return
    # Spawned, because a fork of a process that runs threads can hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(n_processes, context, initializer=torch.set_num_threads, initargs=(1,))
    try:
        futures = {pool.submit(make_scene, options, index): index for index in todo}
        for future in as_completed(futures):
            future.result()
            yield futures[future]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def make_scene(options: ManyOptions, index: int) -> Path:
    """Make one scene of the set; returns its folder. Shapes that photos hardly show are drawn again."""
    output = Path(options.output) / f"{index:05d}"
    working = output.with_name(f".{output.name}.{os.getpid()}.partial")
    refused = ""
    for attempt in range(_ATTEMPTS):
        recipe = draw_recipe(options.split, options.seed, index, attempt)
        try:
            scene = _Scene(options, index, recipe)
        except _Refused as reason:
            refused = str(reason)
            continue
        shutil.rmtree(working, ignore_errors=True)
        working.mkdir()
        try:
            scene.write(working)
            put_in_place(working, output, options.overwrite)
        finally:
            shutil.rmtree(working, ignore_errors=True)
        return output
    raise RuntimeError(f"scene {index}: {_ATTEMPTS} shapes were drawn and refused, the last since {refused}")


class _Refused(Exception):
    """A drawn shape makes no scene."""


class _Scene:
    """A recipe with all that is computed from it, checked to be worth photographing."""

    def __init__(self, options: ManyOptions, index: int, recipe: Recipe) -> None:
        self.options, self.index, self.recipe = options, index, recipe
        try:
            surface = ShapeSurface(build_recipe_shape(recipe), _LONGEST_EDGE)
        except ValueError as error:
            raise _Refused(str(error)) from error
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
                raise _Refused("a camera stands within it")
            u, v = u.clamp(0, view.width), v.clamp(0, view.height)
            cover = float((u.max() - u.min()) * (v.max() - v.min())) / (view.width * view.height)
            if cover < _LEAST_COVER:
                raise _Refused(f"it covers {cover:.1%} of a photo")

    def _build_stage(self, surface: ShapeSurface, distance: float) -> Stage:
        recipe, background = self.recipe, self.recipe["background"]
        room = None
        if background["kind"] == "room":
            low, high = self.vertices.min(0), self.vertices.max(0)
            unit = float(np.linalg.norm(high - low)) / 2
            half = ROOM_HALF * unit
            if any(np.abs(v.world_from_camera[[0, 2], 3]).max() > 0.97 * half or v.world_from_camera[1, 3] < low[1]
                   for views in self.views.values() for v in views):  # fmt: skip
                raise _Refused("a camera stands outside the room")
            noise = ValueNoise(recipe["noise_seed"] + 1)
            room = Room(float(low[1]), half, unit, 0, [build_texture(face, noise) for face in background["faces"]])
        colour = tuple(background["colour"]) if "colour" in background else None
        return Stage(surface, room, recipe["specular"], build_light(recipe), colour)

    def _draw_points(self) -> TruePoints:
        try:
            points = sample_seen_points(self.stage, self.views["train"], self.options.n_points, self._stream(4))
        except ValueError as error:
            raise _Refused(str(error)) from error
        if points.share < _LEAST_SEEN:
            raise _Refused(f"two photos see {points.share:.1%} of it")
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
        content |= {"args": _scene_args(self.options, self.index), "recipe": self.recipe}
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
