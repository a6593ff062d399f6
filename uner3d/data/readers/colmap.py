"""COLMAP models in text form: cameras.txt, images.txt and, where it is there, points3D.txt.

Poses are world-to-camera quaternions and translations; the principal point counts from the corner of the photo.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import SceneError
from .common import Frame, RawScene, brown_coefficients, floats, intrinsics, numbers, read_text

NAME = "COLMAP text"
LOOKS_FOR = "cameras.txt and images.txt in sparse/0, sparse or the folder itself (COLMAP)"

# The parameters of each model, by name, in the order of the file.
_MODELS = {
    "SIMPLE_PINHOLE": ("f", "cx", "cy"),
    "PINHOLE": ("fx", "fy", "cx", "cy"),
    "SIMPLE_RADIAL": ("f", "cx", "cy", "k1"),
    "RADIAL": ("f", "cx", "cy", "k1", "k2"),
    "OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2"),
}
_Lens = tuple[np.ndarray, float, float, "tuple[float, ...] | None"]


def _folders(path: Path) -> tuple[Path, ...]:
    return path / "sparse" / "0", path / "sparse", path, path / "colmap" / "sparse" / "0"


def find(path: Path) -> Path | None:
    """The folder with the model."""
    files = ("cameras.txt", "images.txt")
    return next((folder for folder in _folders(path) if all((folder / file).is_file() for file in files)), None)


def refuse_binary(path: Path) -> None:
    """Refuses a binary model with the command that converts it; for where no format that is read was found."""
    for folder in _folders(path):
        if (folder / "cameras.bin").is_file():
            raise SceneError(
                f"{folder}: found a binary COLMAP model (cameras.bin), expected text; convert it with "
                f"`colmap model_converter --input_path {folder} --output_path {folder} --output_type TXT`"
            )


def read(path: Path, found: Path) -> RawScene:
    """Frames sorted by photo name, since the order in images.txt is arbitrary."""
    lenses = _cameras(found / "cameras.txt")
    frames = sorted(_images(found / "images.txt", lenses), key=lambda frame: frame.name)
    folder = _photo_folder(path, [frame.name for frame in frames])
    for frame in frames:
        frame.image_path = folder / frame.name
    points_file = found / "points3D.txt"
    return RawScene(frames, sparse_points=_points(points_file) if points_file.is_file() else None)


def _photo_folder(path: Path, names: list[str]) -> Path:
    """The folder with most of the photos that the model names: these may lie below it, and others in any of them."""
    folders = [path / name for name in ("images", "image", ".")]
    return max(folders, key=lambda folder: (sum((folder / name).is_file() for name in names), folder.is_dir()))


def _cameras(file: Path) -> dict[str, _Lens]:
    lenses: dict[str, _Lens] = {}
    for number, line in enumerate(read_text(file).splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        where = f"{file}: line {number}"
        if len(words) < 5 or words[1] not in _MODELS:
            model = words[1] if len(words) > 1 else line.strip()
            raise SceneError(f"{where}: camera model {model!r} is not supported, expected one of {', '.join(_MODELS)}")
        names = _MODELS[words[1]]
        width, height, *values = floats(
            " ".join(words[2:]), 2 + len(names), where, f"size, {', '.join(names)}"
        ).tolist()
        lens = dict(zip(names, values, strict=True))
        fx, fy = lens.get("fx", lens.get("f", 0.0)), lens.get("fy", lens.get("f", 0.0))
        K = intrinsics(fx, fy, lens["cx"], lens["cy"], where)
        radial = {k: lens[k] for k in ("k1", "k2", "p1", "p2") if k in lens}
        lenses[words[0]] = K, width, height, brown_coefficients(**radial, where=where)
    return lenses


def _images(file: Path, lenses: dict[str, _Lens]) -> list[Frame]:
    """The frames in the order of the file; their photos are not looked for yet."""
    lines = [(i, line) for i, line in enumerate(read_text(file).splitlines(), 1) if not line.startswith("#")]
    frames = []
    position = 0
    while position < len(lines):
        number, line = lines[position]
        if not line.strip():
            position += 1
            continue
        frames.append(_frame(f"{file}: line {number}", line, lenses))
        # The line after each photo lists its 2-D points and may be empty.
        position += 2
    if not frames:
        raise SceneError(f"{file}: expected at least one photo, found none")
    return frames


def _frame(where: str, line: str, lenses: dict[str, _Lens]) -> Frame:
    words = line.strip().split(maxsplit=9)
    if len(words) != 10:
        raise SceneError(f"{where}: expected IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, found {line[:60]!r}")
    pose = floats(" ".join(words[1:8]), 7, where, "quaternion and translation")
    if words[8] not in lenses:
        raise SceneError(f"{where}: CAMERA_ID {words[8]} is not in cameras.txt, which has {', '.join(lenses)}")
    K, width, height, distortion = lenses[words[8]]
    cam_from_world = np.concatenate([_rotation(pose[:4], where), pose[4:, None]], axis=1)
    where = f"{where} ({words[9]})"
    return Frame(words[9], Path(words[9]), K, cam_from_world, where, width, height, distortion)


def _rotation(quaternion: np.ndarray, where: str) -> np.ndarray:
    norm = np.linalg.norm(quaternion)
    if abs(norm - 1) > 1e-2:
        raise SceneError(f"{where}: quaternion {quaternion.tolist()} has length {norm:.3g}, expected 1")
    w, x, y, z = quaternion / norm
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def _points(file: Path) -> np.ndarray | None:
    rows = []
    for number, line in enumerate(read_text(file).splitlines(), 1):
        words = line.split(maxsplit=4)
        if not words or words[0].startswith("#"):
            continue
        try:
            rows.append([float(words[1]), float(words[2]), float(words[3])])
        except (ValueError, IndexError) as error:
            raise SceneError(f"{file}: line {number}: expected POINT3D_ID X Y Z ..., found {line[:60]!r}") from error
    return numbers(rows, (len(rows), 3), str(file), "points") if rows else None
