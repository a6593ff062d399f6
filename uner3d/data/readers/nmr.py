"""DVR / NMR ShapeNet: `cameras.npz` with world_mat_i and camera_mat_i, photos in image/, masks in mask/.

world_mat_i is world-to-camera with OpenCV axes (x right, y down, z forward). camera_mat_i projects to [-1, 1] from the
upper left to the lower right outer corner of the photo, so that x = (u + 1) width / 2 in pixels that count from the
corner (Niemeyer et al., Differentiable Volumetric Rendering, CVPR 2020; renderings of Kato et al., Neural 3D Mesh
Renderer, CVPR 2018). Objects lie in the cube of edge 1 around the origin of scale_mat_i, the world where there is none.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import SceneError
from ..photo import read_size
from .common import Frame, RawScene, first_folder, intrinsics, numbers, photos_in, rotation
from .npz import holds_normalised, keys_of, load_matrices, match_masks, match_photos, upper_rows

NAME = "DVR/NMR cameras.npz"
LOOKS_FOR = "cameras.npz with camera_mat_i to [-1, 1] and photos in image/ (ShapeNet as DVR and pixelNeRF have it)"
# DVR's unit cube with the padding that its rays are cut by.
_HALF_EDGE = 0.55


def find(path: Path) -> Path | None:
    """The npz file, if its cameras are normalised."""
    found = path / "cameras.npz"
    return found if found.is_file() and holds_normalised(found) else None


def read(path: Path, found: Path) -> RawScene:
    """One frame per photo; photos are matched to the matrices by number, else by order."""
    matrices = load_matrices(found)
    folder = first_folder(path, ("image", "images"))
    if folder is None:
        raise SceneError(f"{path}: {found.name} is there, but no photos in image/")
    keys = keys_of(matrices, "world_mat_")
    pairs, warnings = match_photos(photos_in(folder), keys, found)
    masks = match_masks(path, [photo for _, photo in pairs])
    frames = [_frame(matrices, key, photo, mask, found) for (key, photo), mask in zip(pairs, masks, strict=True)]
    return RawScene(frames, box_hint=_box(matrices, keys[0], found), warnings=warnings)


def _frame(matrices: dict[str, np.ndarray], key: int, photo: Path, mask: Path | None, found: Path) -> Frame:
    where = f"{found}: world_mat_{key}"
    pose = upper_rows(matrices[f"world_mat_{key}"], where, "matrix")
    cam_from_world = np.concatenate([rotation(pose[:, :3], where, "its left 3 x 3"), pose[:, 3:]], axis=1)
    width, height = read_size(photo)
    K = _pixels(matrices, key, width, height, found)
    return Frame(photo.name, photo, K, cam_from_world, where, width, height, mask_path=mask)


def _pixels(matrices: dict[str, np.ndarray], key: int, width: int, height: int, found: Path) -> np.ndarray:
    """K (3, 3) in pixels from camera_mat_i, a 3 x 3 or 4 x 4 matrix."""
    where = f"{found}: camera_mat_{key}"
    if f"camera_mat_{key}" not in matrices:
        raise SceneError(f"{where} is missing, expected one for each world_mat_i")
    matrix = np.asarray(matrices[f"camera_mat_{key}"])
    C = numbers(matrix[:3, :3] if matrix.ndim == 2 else matrix, (3, 3), where, "matrix")
    if not np.allclose([*C[2], C[0, 1], C[1, 0]], [0, 0, 1, 0, 0], atol=1e-6):
        raise SceneError(f"{where} is {C.tolist()}, expected [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] for [-1, 1]")
    x, y = width / 2, height / 2
    return intrinsics(C[0, 0] * x, C[1, 1] * y, (C[0, 2] + 1) * x, (C[1, 2] + 1) * y, where)


def _box(matrices: dict[str, np.ndarray], key: int, found: Path) -> np.ndarray:
    """The padded unit cube, as scale_mat_i places it in the world."""
    name = f"scale_mat_{key}"
    scale = upper_rows(matrices[name], str(found), name) if name in matrices else np.eye(3, 4)
    reach = _HALF_EDGE * np.abs(scale[:, :3]).sum(axis=1)
    return np.stack([scale[:, 3] - reach, scale[:, 3] + reach])
