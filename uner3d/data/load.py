"""`load_scene`: from a folder of posed photos in any supported format to a checked `Scene`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .assemble import existing, inspect_files, make_views, masks_are_complete
from .box import find_box, given_box
from .checks import check_overlap, find_doubles
from .errors import SceneError
from .readers import READERS, colmap
from .readers.common import photos_in
from .scene import Scene, View


def load_scene(
    path: str | os.PathLike[str],
    *,
    downscale: float = 1,
    holdout: int = 0,
    masks: str = "auto",
    box: Any = None,
    chosen: Sequence[int] | None = None,
    least_views: int = 2,
) -> Scene:
    """Reads posed photos of any supported format, checks them, and finds the region to reconstruct.

    Args:
        path: folder of the scene, or its transforms json. The format is found by looking.
        downscale: photos are reduced by this factor (>= 1, need not be whole) by area averaging, and K with them.
        holdout: 0 takes the set's own test split, if it has one; K > 0 instead sets aside each photo whose index, in
            the ordered list of training photos that exist, is a multiple of K.
        masks: "auto" uses mask files or transparency where all training photos have them; "off" ignores mask files,
            and composites transparent photos on white without using their alpha for anything else.
        box: region to reconstruct, min x y z and max x y z in world units; found automatically where it is None.
        chosen: numbers (from 0) of the training photos that are kept, in this order, out of the ordered list of those
            that exist and are not held out. The box is that of the whole set all the same.
        least_views: how many photos for training there must be.

    Of two photos of the same thing with one and the same pose, the second is left out of training (a warning says so).

    Returns:
        A `Scene` in the world frame and units of the files. Pixels are read when they are asked for, but each file
        has been decoded once, so that a damaged one is found now.

    Raises:
        SceneError: with the file, the field, the value and what was expected.

    Example:
        >>> scene = load_scene("data/nerf_synthetic/lego", downscale=2, holdout=10)  # doctest: +SKIP
        >>> scene.views[0].image().shape  # doctest: +SKIP
        (400, 400, 3)
    """
    path = Path(path)
    _check_arguments(downscale, holdout, masks)
    corners = None if box is None else given_box(box)
    reader, found, others = _detect(path)
    raw = reader.read(path, found)
    warnings = [*others, *raw.warnings]
    frames = existing(raw.frames, found, warnings)
    if not frames:
        first = raw.frames[0].image_path if raw.frames else "none listed"
        raise SceneError(f"{found}: none of its {len(raw.frames)} photos exists (the first: {first})")
    test_frames = existing(raw.test_frames, found, warnings) if not holdout else []
    infos = inspect_files(frames + test_frames, masks == "auto")
    use_masks = masks == "auto" and masks_are_complete(frames, infos, warnings)
    views = make_views(frames, infos, use_masks, downscale, warnings)
    if len(views) < least_views:
        raise SceneError(f"{found}: only {len(views)} photo can be used, expected at least {least_views}")
    doubles = find_doubles(views, warnings)
    test_views = make_views(test_frames, infos, use_masks, downscale, warnings)
    views, held_out = _split(views, holdout, doubles, least_views)
    test_views = held_out or test_views
    if len(views) > 1:
        check_overlap(views, warnings)
    source = "given"
    if corners is None:
        corners, source = find_box(views, raw.sparse_points, raw.box_hint, warnings)
    background = (1.0, 1.0, 1.0) if use_masks else None
    scene = Scene(path, reader.NAME, views, test_views, corners, source, background, raw.sparse_points, warnings)
    return scene if chosen is None else _with_chosen(scene, chosen, least_views)


def _check_arguments(downscale: float, holdout: int, masks: str) -> None:
    if not (np.isfinite(downscale) and downscale >= 1):
        raise SceneError(f"downscale: expected a number >= 1, got {downscale}")
    if holdout != int(holdout) or holdout < 0:
        raise SceneError(f"holdout: expected a whole number >= 0, got {holdout}")
    if masks not in ("auto", "off"):
        raise SceneError(f"masks: expected 'auto' or 'off', got {masks!r}")


def _with_chosen(scene: Scene, numbers: Sequence[int], least_views: int) -> Scene:
    """The scene with the training views of those numbers alone; each must exist and be named once."""
    views = scene.views
    for number in numbers:
        if not 0 <= number < len(views):
            raise SceneError(f"views: {number} is none of the {len(views)} training photos (0 to {len(views) - 1})")
    if len(set(numbers)) != len(numbers):
        raise SceneError(f"views: expected each photo once, got {','.join(map(str, numbers))}")
    if len(numbers) < least_views:
        raise SceneError(f"views: expected at least {least_views}, got {len(numbers)}: one photo is enough only for "
                         "weights without training (--steps 0)")  # fmt: skip
    return replace(scene, views=[views[number] for number in numbers], chosen=list(numbers))


def _split(
    views: list[View], holdout: int, doubles: list[tuple[int, int]], least_views: int
) -> tuple[list[View], list[View]]:
    """Training views and held-out views. Of two exposures with one pose, training keeps the first, or none where the
    other is held out: a double counts as agreement where there is none, and would give the held-out photo away.
    """
    held_out = set(range(0, len(views), holdout)) if holdout else set()
    left_out = {i if j in held_out else j for i, j in doubles}
    training = [view for index, view in enumerate(views) if index not in held_out and index not in left_out]
    if len(training) < least_views:
        cause = f"holdout: {holdout} leaves" if holdout else "photos with poses of their own:"
        left = f"{len(training)} of {len(views)} photos for training"
        raise SceneError(f"{cause} {left}, expected at least {least_views}")
    return training, [views[index] for index in sorted(held_out)]


def _detect(path: Path) -> tuple[Any, Path, list[str]]:
    """The reader, its index file, and a warning where more than one format is there."""
    if not path.exists():
        raise SceneError(f"{path}: no such file or folder")
    matches: list[tuple[Any, Path]] = []
    for reader in READERS:
        found = reader.find(path) if not matches or path.is_dir() else None
        if found is not None:
            matches.append((reader, found))
    if matches:
        names = [reader.NAME for reader, _ in matches]
        also = [f"{path} also holds {', '.join(names[1:])}: {names[0]} is read"] if len(names) > 1 else []
        return *matches[0], also
    colmap.refuse_binary(path)
    wanted = "; ".join(reader.LOOKS_FOR for reader in READERS)
    raise SceneError(f"{path}: no scene found. Looked for: {wanted}. {_what_is_there(path)}")


def _what_is_there(path: Path) -> str:
    if path.is_file():
        return f"Found a file {path.name}, expected a folder or a transforms json."
    entries = sorted(p.name + ("/" if p.is_dir() else "") for p in path.iterdir())
    if not entries:
        return "Found an empty folder."
    n_photos = len(photos_in(path)) + len(photos_in(path / "images"))
    poses = "Photos without poses go through a structure-from-motion program such as COLMAP first, exported as text."
    found = f"Found {n_photos} photos and: {', '.join(entries[:8])}{', ...' if len(entries) > 8 else ''}."
    return f"{found} {poses}" if n_photos else found
