"""An object's photos as a protocol takes them: by number, at its size, as they are in the files."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..data.load import load_scene
from ..data.photo import area_resize
from ..data.scene import Scene, View
from .published import Item, Protocol

_RECTIFIED = re.compile(r"rect_(\d+)_")


def object_scene(chosen: Protocol, item: Item) -> Scene:
    """The object with its source views for training and its targets for testing, at the protocol's size.

    Views beyond the protocol's are left out: some scans of DTU have 64, of which the first 49 are those of all scans.
    Raises SceneError or ValueError.
    """
    scene = load_scene(item.path, masks="off")
    views = {view_number(view): _sized(view, chosen.size) for view in scene.views}
    last = chosen.n_views - 1
    if any(n > last for n in item.sources):
        raise ValueError(f"{item.key}: source views are {list(item.sources)}, expected numbers from 0 to {last}")
    absent = [n for n in range(chosen.n_views) if n not in views]
    if absent:
        noted = f" ({'; '.join(scene.warnings)})" if scene.warnings else ""
        found = f"{len(absent)} of them are absent, the first: {absent[0]}{noted}"
        raise ValueError(f"{item.path}: expected views 0 to {last}, but {found}")
    sources = [views[n] for n in item.sources]
    targets = [views[n] for n in chosen.targets(item.sources)]
    return replace(scene, views=sources, test_views=targets, background=chosen.background)


def _sized(view: View, size: tuple[int, int]) -> View:
    width, height = view.camera.width, view.camera.height
    if (width, height) == size:
        return view
    if width * size[1] != height * size[0] or width < size[0]:
        expected = f"{size[0]}x{size[1]} or larger and of that shape"
        raise ValueError(f"{view.image_path}: the photo is {width}x{height}, expected {expected}")
    return replace(view, camera=view.camera.scaled(width / size[0]))


def view_number(view: View) -> int:
    """The number of a view, from 0, by the name of its photo; MVSNet's rectified photos of DTU count from 1."""
    stem = view.image_path.stem
    if match := _RECTIFIED.match(stem):
        return int(match[1]) - 1
    digits = "".join(filter(str.isdigit, stem))
    if not digits:
        raise ValueError(f"{view.image_path}: expected a photo whose name holds its number")
    return int(digits)


def photo_of(view: View) -> NDArray[np.uint8]:
    """The photo that a rendering is compared with, uint8 (h, w, 3): the colours of the file, an alpha channel dropped
    and not composited, reduced to the camera's size by area averaging."""
    from PIL import Image

    with Image.open(view.image_path) as image:
        pixels = np.asarray(image.convert("RGB"))
    return area_resize(pixels, view.camera.width, view.camera.height)
