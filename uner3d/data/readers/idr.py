"""IDR / NeuS: `cameras_sphere.npz` or `cameras.npz` with world_mat_i and scale_mat_i, photos in image/, masks in mask/.

world_mat_i is the 4 x 4 projection K [R t] of photo i, pixel centres at integers. scale_mat_i maps the unit sphere of
the normalised scene to the world; it serves as the box where nothing better is known. The world is world_mat's.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import SceneError
from .common import Frame, RawScene, first_folder, intrinsics_from_matrix, photos_in
from .npz import holds_normalised, keys_of, load_matrices, match_masks, match_photos, upper_rows

NAME = "IDR/NeuS cameras.npz"
LOOKS_FOR = "cameras_sphere.npz or cameras.npz with photos in image/ or images/ (IDR, NeuS)"


def find(path: Path) -> Path | None:
    """The npz file, unless its cameras are DVR's, which project to [-1, 1]."""
    found = next((p for p in (path / "cameras_sphere.npz", path / "cameras.npz") if p.is_file()), None)
    return None if found is not None and holds_normalised(found) else found


def read(path: Path, found: Path) -> RawScene:
    """One frame per photo; photos are matched to world_mat_i by number, else by order."""
    matrices = load_matrices(found)
    folder = first_folder(path, ("image", "images", "rgb"))
    if folder is None:
        raise SceneError(f"{path}: {found.name} is there, but no photos in image/ or images/")
    keys = keys_of(matrices, "world_mat_")
    if not keys:
        raise SceneError(f"{found}: expected entries world_mat_0, world_mat_1, ...; found {sorted(matrices)[:6]}")
    pairs, warnings = match_photos(photos_in(folder), keys, found)
    masks = match_masks(path, [photo for _, photo in pairs])
    frames = []
    for (key, photo), mask in zip(pairs, masks, strict=True):
        where = f"{found}: world_mat_{key}"
        K, cam_from_world = decompose(upper_rows(matrices[f"world_mat_{key}"], where, "matrix"), where)
        frames.append(Frame(photo.name, photo, K, cam_from_world, where, mask_path=mask))
    return RawScene(frames, box_hint=_sphere_box(matrices, keys[0], found), warnings=warnings)


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
    scale = upper_rows(matrices[name], str(found), name)
    # An affine image of the unit sphere reaches |row| to either side of its centre.
    reach = np.linalg.norm(scale[:, :3], axis=1)
    return np.stack([scale[:, 3] - reach, scale[:, 3] + reach])
