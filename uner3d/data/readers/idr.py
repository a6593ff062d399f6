"""IDR / NeuS: `cameras_sphere.npz` or `cameras.npz` with world_mat_i and scale_mat_i, photos in image/, masks in mask/.

world_mat_i is the 4 x 4 projection K [R t] of photo i, pixel centres at integers. scale_mat_i maps the unit sphere of
the normalised scene to the world; it serves as the box where nothing better is known. The world is world_mat's.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from ..errors import SceneError
from .common import Frame, RawScene, first_folder, intrinsics_from_matrix, numbers, photos_in

NAME = "IDR/NeuS cameras.npz"
LOOKS_FOR = "cameras_sphere.npz or cameras.npz with photos in image/ or images/ (IDR, NeuS)"
# What unpacking a damaged archive raises; AttributeError is Python 3.10's for an array that is no archive.
UNREADABLE = (
    OSError, ValueError, TypeError, AttributeError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error
)  # fmt: skip


def find(path: Path) -> Path | None:
    """The npz file."""
    return next((p for p in (path / "cameras_sphere.npz", path / "cameras.npz") if p.is_file()), None)


def read(path: Path, found: Path) -> RawScene:
    """One frame per photo; photos are matched to world_mat_i by number, else by order."""
    matrices = _load(found)
    folder = first_folder(path, ("image", "images", "rgb"))
    if folder is None:
        raise SceneError(f"{path}: {found.name} is there, but no photos in image/ or images/")
    keys = sorted(int(key[10:]) for key in matrices if key.startswith("world_mat_") and key[10:].isdigit())
    if not keys:
        raise SceneError(f"{found}: expected entries world_mat_0, world_mat_1, ...; found {sorted(matrices)[:6]}")
    pairs, warnings = _match(photos_in(folder), keys, found)
    masks = _masks(path, [photo for _, photo in pairs])
    frames = []
    for (key, photo), mask in zip(pairs, masks, strict=True):
        where = f"{found}: world_mat_{key}"
        K, cam_from_world = decompose(_upper_rows(matrices[f"world_mat_{key}"], where, "matrix"), where)
        frames.append(Frame(photo.name, photo, K, cam_from_world, where, mask_path=mask))
    return RawScene(frames, box_hint=_sphere_box(matrices, keys[0], found), warnings=warnings)


def _load(found: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(found, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except UNREADABLE as error:
        raise SceneError(f"{found}: cannot be read as an npz archive of arrays: {error}") from error


def _upper_rows(matrix: np.ndarray, where: str, what: str) -> np.ndarray:
    """The first three rows (3, 4) of a 3 x 4 or 4 x 4 matrix."""
    return numbers(matrix[:3] if np.ndim(matrix) else matrix, (3, 4), where, what)


def _match(photos: list[Path], keys: list[int], found: Path) -> tuple[list[tuple[int, Path]], list[str]]:
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


def _masks(path: Path, photos: list[Path]) -> list[Path | None]:
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


def decompose(P: np.ndarray, where: str) -> tuple[np.ndarray, np.ndarray]:
    """K with pixel centres at +0.5 and cam_from_world from P = K [R t] (3, 4), known up to scale and sign.

    RQ decomposition of the left 3 x 3, signs chosen so that the diagonal of K is positive and det R = +1
    (Hartley and Zisserman, Multiple View Geometry, 2nd edition, section 6.2.4).
    """
    from scipy.linalg import rq

    M = P[:, :3]
    if abs(np.linalg.det(M)) <= 1e-12 * np.abs(M).max() ** 3:
        raise SceneError(f"{where}: the left 3 x 3 of the projection is singular, expected K R with K invertible")
    if np.linalg.det(M) < 0:
        P = -P
    K, R = rq(P[:, :3])
    signs = np.sign(np.diag(K))
    K, R = K * signs, signs[:, None] * R
    translation = np.linalg.solve(K, P[:, 3])
    return intrinsics_from_matrix(K, where), np.concatenate([R, translation[:, None]], axis=1)


def _sphere_box(matrices: dict[str, np.ndarray], key: int, found: Path) -> np.ndarray | None:
    name = f"scale_mat_{key}"
    if name not in matrices:
        return None
    scale = _upper_rows(matrices[name], str(found), name)
    # An affine image of the unit sphere reaches |row| to either side of its centre.
    reach = np.linalg.norm(scale[:, :3], axis=1)
    return np.stack([scale[:, 3] - reach, scale[:, 3] + reach])
