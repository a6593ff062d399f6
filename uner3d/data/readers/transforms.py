"""`transforms*.json`: Blender-synthetic (NeRF), instant-ngp and nerfstudio.

Poses are camera-to-world with OpenGL axes (x right, y up, z backward). The principal point counts from the corner of
the photo. Intrinsics of a frame override those of the file.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import SceneError
from ..photo import read_size
from .common import PHOTO_SUFFIXES, Frame, RawScene, brown_coefficients, intrinsics, numbers, read_text, rotation

NAME = "transforms.json"
LOOKS_FOR = "transforms_train.json or transforms.json (Blender-synthetic, instant-ngp, nerfstudio)"


def find(path: Path) -> Path | None:
    """The json with the training frames; `path` may be that file itself."""
    if path.is_file():
        return path if path.suffix == ".json" else None
    return next((p for p in (path / "transforms_train.json", path / "transforms.json") if p.is_file()), None)


def read(path: Path, found: Path) -> RawScene:
    """Frames of `found` as its lists of names split them; those of transforms_test.json are the test frames instead.

    Trained on are the frames named in train_filenames or, where there is no such list, those not in val_filenames; in
    either case none of those in test_filenames. Held out for testing are those in test_filenames or, where there is no
    such list, those in val_filenames that are not trained on. What is left over is not used.
    """
    content = _load(found)
    frames = [_frame(found, content, i, entry) for i, entry in enumerate(content["frames"])]
    scene = RawScene([])
    keys = ("train_filenames", "val_filenames", "test_filenames")
    train, val, test = (_listed(found, content, key, frames, scene.warnings) for key in keys)
    training = (train or {frame.image_path for frame in frames} - val) - test
    scene.frames = [frame for frame in frames if frame.image_path in training]
    if not scene.frames:
        raise SceneError(f"{found}: {', '.join(keys)} leave none of the {len(frames)} frames for training")
    scene.test_frames = [frame for frame in frames if frame.image_path in (test or val - train)]
    other = found.parent / "transforms_test.json"
    if found.name == "transforms_train.json" and other.is_file():
        content = _load(other)
        scene.test_frames = [_frame(other, content, i, entry) for i, entry in enumerate(content["frames"])]
    return scene


def _listed(found: Path, content: dict[str, Any], key: str, frames: list[Frame], warnings: list[str]) -> set[Path]:
    """The files that a list of names means, none where there is no list; a warning tells which are of no frame."""
    names = content.get(key) or []
    if not isinstance(names, list):
        raise SceneError(f"{found}: {key} is {str(names)[:60]}, expected a list of file names")
    for index, name in enumerate(names):
        if not isinstance(name, str):
            raise SceneError(f"{found}: {key}[{index}] is {str(name)[:60]}, expected a file name")
    known = {frame.image_path for frame in frames}
    files = {name: _resolve(found.parent, name) for name in names}
    unknown = [name for name, file in files.items() if file not in known]
    if unknown:
        some = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        warnings.append(f"{found.name}: {len(unknown)} of {len(files)} names in {key} are of no frame: {some}")
    return set(files.values())


def _load(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_text(file))
    except json.JSONDecodeError as error:
        raise SceneError(f"{file}: line {error.lineno}, column {error.colno}: not valid JSON: {error.msg}") from error
    if not isinstance(content, dict) or not isinstance(content.get("frames"), list) or not content["frames"]:
        raise SceneError(f"{file}: expected an object with a non-empty list 'frames'")
    return content


def _frame(file: Path, content: dict[str, Any], index: int, entry: Any) -> Frame:
    where = f"{file}: frames[{index}]"
    if not isinstance(entry, dict) or not isinstance(entry.get("file_path"), str):
        raise SceneError(f"{where}: expected an object with a string 'file_path', got {str(entry)[:60]}")
    where = f"{where} ({entry['file_path']})"
    if "transform_matrix" not in entry:
        raise SceneError(f"{where}: 'transform_matrix' is missing, expected 4 x 4 numbers (camera to world)")
    image_path = _resolve(file.parent, entry["file_path"])
    K, size, distortion = _lens({**content, **entry}, image_path, where)
    mask = entry.get("mask_path")
    return Frame(
        name=entry["file_path"].removeprefix("./"),
        image_path=image_path,
        K=K,
        cam_from_world=_cam_from_world(entry["transform_matrix"], where),
        where=where,
        width=size[0],
        height=size[1],
        distortion=distortion,
        mask_path=_resolve(file.parent, mask) if isinstance(mask, str) else None,
    )


def _resolve(folder: Path, name: str) -> Path:
    """The file that `file_path` means: as written, or with the suffix of a photo appended."""
    plain = folder / name.replace("\\", "/")
    if plain.is_file():
        return plain
    suffixes = [s for suffix in PHOTO_SUFFIXES for s in (suffix, suffix.upper())]
    candidates = [plain.with_name(plain.name + suffix) for suffix in suffixes]
    return next((p for p in candidates if p.is_file()), plain)


def _cam_from_world(matrix: Any, where: str) -> np.ndarray:
    rows = 3 if isinstance(matrix, list) and len(matrix) == 3 else 4
    pose = numbers(matrix, (rows, 4), where, "transform_matrix")
    if rows == 4 and not np.allclose(pose[3], [0, 0, 0, 1], atol=1e-6):
        raise SceneError(f"{where}: last row of transform_matrix is {pose[3].tolist()}, expected [0, 0, 0, 1]")
    world_from_cam = rotation(pose[:3, :3], where, "transform_matrix[:3, :3]") * [1, -1, -1]
    return np.concatenate([world_from_cam.T, -world_from_cam.T @ pose[:3, 3:4]], axis=1)


def _lens(
    values: dict[str, Any], image_path: Path, where: str
) -> tuple[np.ndarray, tuple[float | None, float | None], tuple[float, ...] | None]:
    """K, the size it is stated for, and the distortion, from the entries of a file and its frame."""
    model = str(values.get("camera_model", "OPENCV")).upper()
    if values.get("is_fisheye") or model not in ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL"):
        model = "fisheye" if values.get("is_fisheye") else model
        raise SceneError(f"{where}: camera_model {model} is not supported, expected OPENCV, RADIAL or PINHOLE")

    def number(key: str) -> float | None:
        return None if values.get(key) is None else float(numbers(values[key], (), where, key))

    width, height = number("w"), number("h")
    if width is None or height is None:
        # Frames without a photo are dropped later; any size will do for them.
        width, height = read_size(image_path) if image_path.is_file() else (1, 1)
    fx = number("fl_x")
    if fx is None:
        fx = _focal(number("camera_angle_x"), width, where, "camera_angle_x")
    if fx is None:
        raise SceneError(f"{where}: expected 'fl_x' or 'camera_angle_x', found neither")
    fy = number("fl_y")
    if fy is None:
        fy = _focal(number("camera_angle_y"), height, where, "camera_angle_y") or fx
    cx, cy = number("cx"), number("cy")
    K = intrinsics(fx, fy, width / 2 if cx is None else cx, height / 2 if cy is None else cy, where)
    names = ("k1", "k2", "k3", "k4", "p1", "p2")
    distortion = brown_coefficients(**{k: values.get(k) or 0.0 for k in names}, where=where)
    return K, (width, height), distortion


def _focal(angle: float | None, size: float, where: str, name: str) -> float | None:
    if angle is None:
        return None
    if not 0 < angle < math.pi:
        raise SceneError(f"{where}: {name} is {angle:g}, expected radians between 0 and pi")
    return 0.5 * size / math.tan(0.5 * angle)
