"""From options to a finished scene folder."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from uner3d.data.synthetic.cameras import Viewpoint, camera_distance, place_cameras
from uner3d.data.synthetic.files import photo_name, write_json, write_mesh, write_points, write_transforms
from uner3d.data.synthetic.mesh_file import MESH_SUFFIXES, MeshSurface
from uner3d.data.synthetic.parallel import parallel_map
from uner3d.data.synthetic.render import Room, Stage, render_photo
from uner3d.data.synthetic.shapes import SHAPE_NAMES, build_shape
from uner3d.data.synthetic.surface import ShapeSurface, Surface
from uner3d.data.synthetic.truth import sample_seen_points

Progress = Callable[[int, int, str], None]

# The room's walls, in half diagonals of the object's box: the scale by which the scoring tools know them.
ROOM_HALF = 6.0


@dataclass
class SynthOptions:
    """Make posed photos of a known object, with the exact truth beside them."""

    output: Path
    """Folder to write the scene to."""
    shape: str = "totem"
    """totem, mug, bowl, torus, box, sphere, or a mesh file (obj, ply, glb, gltf, stl, off; needs Open3D)."""
    n_train: int = 32
    """Number of photos to reconstruct from."""
    n_test: int = 8
    """Number of held-out photos."""
    width: int = 400
    """Width of a photo in pixels."""
    height: int = 300
    """Height of a photo in pixels."""
    fov_degrees: float = 38.0
    """Horizontal field of view."""
    supersampling: int = 3
    """Rays per pixel and axis: 3 means 9 rays a pixel."""
    specular: float = 0.0
    """Strength of the gloss, 0 (matt) to 1. Gloss moves with the viewpoint; the truth's colours leave it out."""
    table: bool = False
    """Stand the object on a textured table in a textured room, without masks. Otherwise the photos have alpha."""
    texture_seed: int = 0
    """Seed of the textures' noise."""
    seed: int = 0
    """Seed of the camera placement and of the drawing of the true points."""
    n_points: int = 120_000
    """Number of true points."""
    scale: float | None = None
    """Longest edge of the object's box in scene units. By default a named shape is about two units tall, a mesh file
    keeps its own units."""
    up: Literal["y", "z"] = "y"
    """Axis that points up in a mesh file. The scene's own is y."""
    overwrite: bool = False
    """Replace the output folder if it holds a generated scene."""


def run(options: SynthOptions, progress: Progress | None = None) -> Path:
    """Generate the scene that the options describe; returns its folder. See `generate_scene`."""
    check_options(options)
    output = Path(options.output)
    _check_target(output, options.overwrite)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        working = Path(tempfile.mkdtemp(prefix=f".{output.name}.", suffix=".partial", dir=output.parent))
    except OSError as error:
        raise OSError(f"cannot write to {output.parent}: {error.strerror or error}") from error
    try:
        working.chmod(0o777 & ~_umask())
        _write_scene(working, options, progress or (lambda done, total, stage: None))
        put_in_place(working, output, options.overwrite)
    finally:
        shutil.rmtree(working, ignore_errors=True)
    return output


def generate_scene(
    output: str | os.PathLike[str], shape: str = "totem", *, progress: Progress | None = None, **options: Any
) -> Path:
    """Trace posed photos of a procedural object and write them with their exact truth; returns the folder.

    Args:
        output: folder to write; it must be empty or absent unless ``overwrite=True``.
        shape: one of ``SHAPE_NAMES``, or the path of a mesh file (needs Open3D).
        progress: called with (photos done, photos in all, what is being done).
        options: any other field of `SynthOptions`, such as ``n_train``, ``width``, ``table`` or ``seed``.

    The folder holds ``transforms_train.json``, ``transforms_test.json`` (camera-to-world, OpenGL axes, intrinsics in
    pixels), ``train/NNN.png`` and ``test/NNN.png`` (8 bit; straight alpha, or no alpha with ``table``), ``scene.json``
    (the object's box, ``pixel_footprint``: the width of one pixel on the object in scene units, the share of the
    surface that two photos see, all options), ``gt_points.ply`` (uniform on that share, with normals and colours) and
    ``gt_mesh.ply`` (the object's surface, to a twentieth of a footprint). In table scenes the truth is the object
    alone; ``scene.json`` holds the room's box, which is its truth. The same options give the same bytes on the same
    machine.

    Raises:
        ValueError: an option out of range, an unknown shape, a mesh without triangles.
        FileExistsError: the folder is not empty.
        OSError: the folder cannot be written.
        ImportError: a mesh file without Open3D.

    >>> folder = generate_scene("out/mug", "mug", n_train=8, n_test=2, width=64, height=48)  # doctest: +SKIP
    """
    return run(SynthOptions(Path(output), shape, **options), progress)


def check_options(options: SynthOptions) -> None:
    """Raise a ValueError that names the first option that is out of range."""
    ranges: list[tuple[str, float, float]] = [
        ("n_train", 2, 10_000),
        ("n_test", 1, 10_000),
        ("width", 8, 16_384),
        ("height", 8, 16_384),
        ("fov_degrees", 5, 120),
        ("supersampling", 1, 16),
        ("specular", 0, 1),
        ("texture_seed", 0, 2**63),
        ("seed", 0, 2**63),
        ("n_points", 1, 100_000_000),
        ("scale", 1e-9, 1e9),
    ]
    for name, low, high in ranges:
        value = getattr(options, name)
        if value is not None and not low <= value <= high:  # a NaN fails this too
            raise ValueError(f"{name} = {value}: expected between {low:g} and {high:g}")
    if options.up not in ("y", "z"):
        raise ValueError(f"up = {options.up!r}: expected 'y' or 'z'")
    if options.shape not in SHAPE_NAMES and Path(options.shape).suffix.lower() not in MESH_SUFFIXES:
        raise ValueError(
            f"shape = {options.shape!r}: expected one of {', '.join(SHAPE_NAMES)}, "
            f"or a mesh file ending in {', '.join(MESH_SUFFIXES)}"
        )


def _check_target(output: Path, overwrite: bool) -> None:
    if output.exists() and not output.is_dir():
        raise FileExistsError(f"{output} exists and is not a folder")
    if not output.is_dir() or not any(output.iterdir()):
        return
    if not overwrite:
        raise FileExistsError(f"{output} is not empty: choose another folder, or overwrite")
    if not (output / "scene.json").is_file():
        raise FileExistsError(f"{output} is not empty and holds no scene.json: only a generated scene is overwritten")


def put_in_place(working: Path, output: Path, overwrite: bool) -> None:
    """Rename the finished folder to its name; what was there goes only once the new one stands."""
    _check_target(output, overwrite)
    if not output.exists():
        working.rename(output)
        return
    old = working.with_suffix(".replaced")
    output.rename(old)
    try:
        working.rename(output)
    except OSError:
        old.rename(output)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _build_surface(options: SynthOptions) -> Surface:
    if options.shape not in SHAPE_NAMES:
        return MeshSurface(Path(options.shape), options.scale, options.up)
    return ShapeSurface(build_shape(options.shape, options.texture_seed), options.scale)


def _write_scene(folder: Path, options: SynthOptions, progress: Progress) -> None:
    n_photos = options.n_train + options.n_test
    progress(0, n_photos, "surface")
    surface = _build_surface(options)
    size, fov = (options.width, options.height), options.fov_degrees
    distance = camera_distance(surface.radius, fov, *size)
    views = {
        split: place_cameras(
            n, distance, surface.radius, size, fov, options.table, np.random.default_rng([options.seed, k])
        )
        for k, (split, n) in enumerate((("train", options.n_train), ("test", options.n_test)))
    }
    footprint = distance / views["train"][0].focal
    vertices, triangles = surface.mesh(0.03 * footprint)
    low, high = vertices.min(0), vertices.max(0)
    room = _build_room(options, low, high, distance) if options.table else None
    stage = Stage(surface, room, options.specular)
    progress(0, n_photos, "true points")
    points = sample_seen_points(stage, views["train"], options.n_points, np.random.default_rng([options.seed, 2]))
    write_points(folder / "gt_points.ply", points)
    write_mesh(folder / "gt_mesh.ply", vertices, triangles)
    _write_photos(folder, stage, views, options.supersampling, progress)
    args = {k: v for k, v in asdict(options).items() if k not in ("output", "overwrite")}
    content: dict[str, Any] = {"shape": options.shape, "box_min": low.tolist(), "box_max": high.tolist()}
    if room is not None:
        content |= {"room_min": room.low.tolist(), "room_max": room.high.tolist()}
    content |= {"pixel_footprint": footprint, "seen_by_two_or_more": points.share}
    content |= {"specular": options.specular, "table": options.table, "args": args}
    write_json(folder / "scene.json", content)


def _build_room(options: SynthOptions, low: np.ndarray, high: np.ndarray, distance: float) -> Room:
    radius = float(np.linalg.norm(high - low)) / 2
    half = ROOM_HALF * radius
    if distance * 1.05 > half:
        widest = math.floor(distance / half * options.fov_degrees) + 1
        raise ValueError(
            f"fov_degrees = {options.fov_degrees:g}: so narrow a lens would stand outside the room "
            f"({distance:.3g} away, walls at {half:.3g}); try {widest} or more"
        )
    return Room(float(low[1]), half, radius, options.texture_seed + 1)


def _write_photos(
    folder: Path, stage: Stage, views: dict[str, list[Viewpoint]], supersampling: int, progress: Progress
) -> None:
    from PIL import Image

    jobs = [(view, photo_name(split, k)) for split, cameras in views.items() for k, view in enumerate(cameras)]
    for split, cameras in views.items():
        (folder / split).mkdir()
        write_transforms(folder, split, cameras)

    def work(job: tuple[Viewpoint, str]) -> None:
        Image.fromarray(render_photo(stage, job[0], supersampling)).save(folder / job[1])

    progress(0, len(jobs), "photos")
    for done, _ in enumerate(parallel_map(work, jobs), 1):
        progress(done, len(jobs), "photos")
