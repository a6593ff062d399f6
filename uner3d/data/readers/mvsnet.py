"""MVSNet: a file `<number>_cam.txt` per photo, and DTU as MVSNet's training set has it.

A camera file holds `extrinsic` (4 x 4, world-to-camera), `intrinsic` (3 x 3, the principal point counts from the corner
of the photo) and `depth_min interval [number [depth_max]]` (Yao et al., MVSNet, ECCV 2018). Layouts: `cams/` beside
`images/`; `Cameras/train/`, for a quarter of the size of the photos `Rectified/scan*_train/rect_NNN_L_r5000.png`, which
number from 1 and show each pose in lights L; `Cameras/` for photos of full size in `Rectified/scan*/`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import SceneError
from ..photo import read_size
from .common import Frame, RawScene, first_folder, floats, intrinsics_from_matrix, photos_in, read_text, rotation

NAME = "MVSNet *_cam.txt"
LOOKS_FOR = "cams/*_cam.txt with photos in images/, or Rectified/scan*/rect_*.png with Cameras/ beside it (MVSNet)"
_RECTIFIED = re.compile(r"rect_(\d+)_(\w+)_r5000")
# The light that MVSNet is validated in, where a scan has several.
_LIGHT = "3"
# MVSNet's own setting where a file states no number of depths: 192, 1.06 intervals apart.
_DEPTHS, _INTERVALS = 192, 1.06


@dataclass
class _Camera:
    """One camera file: K with the principal point from the corner, and the depths, None where it states none."""

    K: np.ndarray
    cam_from_world: np.ndarray
    depths: tuple[float, float] | None


def find(path: Path) -> Path | None:
    """The folder with the camera files."""
    if not path.is_dir():
        return None
    folders = [path / "cams", path / "cameras"]
    if any(_RECTIFIED.fullmatch(photo.stem) for photo in photos_in(path)):
        cameras = path.resolve().parent.parent / "Cameras"
        folders.append(cameras / "train" if path.resolve().name.endswith("_train") else cameras)
    return next((folder for folder in folders if any(folder.glob("*_cam.txt"))), None)


def read(path: Path, found: Path) -> RawScene:
    """Frames sorted by the number of their cameras."""
    files = {int(n): file for file in sorted(found.glob("*_cam.txt")) if (n := file.name[: -len("_cam.txt")]).isdigit()}
    if not files:
        raise SceneError(f"{found}: expected camera files named by a number, such as 00000000_cam.txt, found none")
    rectified = found.parent != path
    photos = _rectified_photos(path, files, found) if rectified else _photos(path, files)
    frames, ranges = [], []
    for number, photo in sorted(photos.items()):
        camera = _read_camera(files[number])
        K = camera.K * [[4], [4], [1]] if found.name == "train" and rectified else camera.K
        frames.append(Frame(photo.name, photo, K, camera.cam_from_world, str(files[number])))
        ranges.append(camera.depths)
    return RawScene(frames, box_hint=_box(frames, ranges))


def _photos(path: Path, files: dict[int, Path]) -> dict[int, Path]:
    """The photo of each camera, of the same digits or number; those that do not exist are named as their camera is."""
    folder = first_folder(path, ("images", "image", "blended_images"))
    if folder is None:
        raise SceneError(f"{path}: {next(iter(files.values())).parent.name}/ is there, but no photos in images/")
    by_number = {int(photo.stem): photo for photo in photos_in(folder) if photo.stem.isdigit()}
    return {n: by_number.get(n, folder / f"{file.name.removesuffix('_cam.txt')}.jpg") for n, file in files.items()}


def _rectified_photos(path: Path, files: dict[int, Path], found: Path) -> dict[int, Path]:
    """The photos of one light, by the number of their camera, which is one less than their own."""
    by_light: dict[str, dict[int, Path]] = {}
    for photo in photos_in(path):
        if match := _RECTIFIED.fullmatch(photo.stem):
            by_light.setdefault(match[2], {})[int(match[1]) - 1] = photo
    photos = by_light.get(_LIGHT) or by_light[min(by_light)]
    for number, photo in photos.items():
        if number not in files:
            raise SceneError(f"{photo}: expected its camera {found / f'{number:08d}_cam.txt'}, found none")
    return photos


def _read_camera(file: Path) -> _Camera:
    words = read_text(file).split()
    if len(words) < 27 or words[0] != "extrinsic" or words[17] != "intrinsic":
        raise SceneError(
            f"{file}: expected `extrinsic` and 16 numbers, `intrinsic` and 9 numbers, then depths; "
            f"found {len(words)} words that begin {' '.join(words[:3])!r}"
        )
    pose = floats(" ".join(words[1:17]), 16, str(file), "extrinsic").reshape(4, 4)
    if not np.allclose(pose[3], [0, 0, 0, 1], atol=1e-6):
        raise SceneError(f"{file}: last row of extrinsic is {pose[3].tolist()}, expected [0, 0, 0, 1]")
    R = rotation(pose[:3, :3], str(file), "extrinsic[:3, :3]")
    K = floats(" ".join(words[18:27]), 9, str(file), "intrinsic").reshape(3, 3)
    if not np.allclose(K[2], [0, 0, 1], atol=1e-6):
        raise SceneError(f"{file}: last row of intrinsic is {K[2].tolist()}, expected [0, 0, 1]")
    K = intrinsics_from_matrix(K - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]], str(file))
    return _Camera(K, np.concatenate([R, pose[:3, 3:]], axis=1), _depths(words[27:], file))


def _depths(words: list[str], file: Path) -> tuple[float, float] | None:
    """Least and greatest depth; None where the file states none or zeros."""
    if not words:
        return None
    if not 2 <= len(words) <= 4:
        raise SceneError(f"{file}: expected depth_min interval [number [depth_max]], found {' '.join(words)[:60]!r}")
    near, interval, *rest = floats(" ".join(words), len(words), str(file), "depths").tolist()
    if near == 0 and interval == 0:
        return None
    far = rest[1] if len(rest) == 2 else near + interval * (rest[0] - 1 if rest else _INTERVALS * (_DEPTHS - 1))
    if not 0 < near < far:
        raise SceneError(f"{file}: depths reach from {near:g} to {far:g}, expected 0 < depth_min < depth_max")
    return near, far


def _box(frames: list[Frame], ranges: list[tuple[float, float] | None]) -> np.ndarray | None:
    """What lies in the boxes of all frusta between their depths: it holds all that every photo shows."""
    low, high = np.full(3, -np.inf), np.full(3, np.inf)
    for frame, depths in zip(frames, ranges, strict=True):
        if depths is None or not frame.image_path.is_file():
            continue
        width, height = read_size(frame.image_path)
        pixels = np.array([[x, y, 1.0] for x in (0, width) for y in (0, height)])
        rays = pixels @ np.linalg.inv(frame.K).T
        corners = np.concatenate([rays * depth for depth in depths]) - frame.cam_from_world[:, 3]
        corners = corners @ frame.cam_from_world[:, :3]
        low, high = np.maximum(low, corners.min(axis=0)), np.minimum(high, corners.max(axis=0))
    return np.stack([low, high]) if np.isfinite(low).all() and (low < high).all() else None
