"""What the formats with a `cameras.npz` share: its matrices by number, and the photos and masks that belong to them."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from ..errors import SceneError
from .common import first_folder, numbers, photos_in

# What unpacking a damaged archive raises; AttributeError is Python 3.10's for an array that is no archive.
UNREADABLE = (
    OSError, ValueError, TypeError, AttributeError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error
)  # fmt: skip


def load_matrices(found: Path) -> dict[str, np.ndarray]:
    """All arrays of an npz file, or a SceneError that names it."""
    try:
        with np.load(found, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except UNREADABLE as error:
        raise SceneError(f"{found}: cannot be read as an npz archive of arrays: {error}") from error


def upper_rows(matrix: np.ndarray, where: str, what: str) -> np.ndarray:
    """The first three rows (3, 4) of a 3 x 4 or 4 x 4 matrix."""
    return numbers(matrix[:3] if np.ndim(matrix) else matrix, (3, 4), where, what)


def keys_of(matrices: dict[str, np.ndarray], prefix: str) -> list[int]:
    """The numbers i of the entries `<prefix>i`, ascending."""
    ends = (key.removeprefix(prefix) for key in matrices if key.startswith(prefix))
    return sorted(int(end) for end in ends if end.isdigit())


def holds_normalised(found: Path) -> bool:
    """Whether the cameras are DVR's: world_mat_i a rigid motion and camera_mat_i the projection to [-1, 1].

    IDR's files can carry a camera_mat_i as well, but their world_mat_i is the whole projection, up to scale: its upper
    rows exceed the third by the focal length in pixels. A file that cannot be read is none of DVR's here.
    """
    try:
        with np.load(found, allow_pickle=False) as archive:
            world = next((name for name in sorted(archive.files) if name.startswith("world_mat_")), "")
            if world.replace("world", "camera") not in archive.files:
                return False
            rows = np.linalg.norm(np.asarray(archive[world], np.float64)[:3, :3], axis=1)
    except (*UNREADABLE, IndexError):
        return False
    return rows.shape == (3,) and bool(rows[:2].max() < 2 * rows[2])


def match_photos(photos: list[Path], keys: list[int], found: Path) -> tuple[list[tuple[int, Path]], list[str]]:
    """Pairs (number of the camera, photo), by the number in the photo's name, else by order; and warnings."""
    digits = ["".join(filter(str.isdigit, photo.stem)) for photo in photos]
    by_number = [int(d) if d else -1 for d in digits]
    if len(set(by_number)) == len(photos) and set(by_number) <= set(keys):
        pairs = sorted(zip(by_number, photos, strict=True))
    elif len(photos) == len(keys):
        pairs = list(zip(keys, photos, strict=True))
    else:
        raise SceneError(
            f"{found}: {len(keys)} world_mat entries but {len(photos)} photos in {photos[0].parent}, "
            "and their numbers do not match; expected one world_mat_i per photo"
        )
    absent = len(keys) - len(pairs)
    return pairs, [f"{found.name}: {absent} of {len(keys)} cameras have no photo and are skipped"] if absent else []


def match_masks(path: Path, photos: list[Path]) -> list[Path | None]:
    """The mask of each photo: of the same stem, of the same number, or, where the counts agree, of the same rank."""
    folder = first_folder(path, ("mask", "masks"))
    if folder is None:
        return [None] * len(photos)
    masks = photos_in(folder)
    by_stem = {mask.stem: mask for mask in masks}
    by_number = {int(mask.stem): mask for mask in masks if mask.stem.isdigit()}
    found: list[Path | None] = []
    for photo in photos:
        number = int(photo.stem) if photo.stem.isdigit() else -1
        found.append(by_stem.get(photo.stem) or by_number.get(number))
    if not any(found) and len(masks) == len(photos):
        return list(masks)
    return found
