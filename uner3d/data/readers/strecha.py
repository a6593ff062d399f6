"""Strecha's dense multi-view sets: a file `<photo>.camera` per photo.

Rows: K (3), a row of zeros (no distortion), R camera-to-world (3), the centre, then width and height. Pixel centres at integers.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import SceneError
from .common import Frame, RawScene, floats, intrinsics_from_matrix, read_text, rotation

NAME = "Strecha .camera"
LOOKS_FOR = "gt_dense_cameras/*.camera or *.camera with photos in images/ (Strecha)"


def find(path: Path) -> Path | None:
    """The folder with the .camera files."""
    folders = (path / "gt_dense_cameras", path / "cameras", path)
    return next((folder for folder in folders if folder.is_dir() and any(folder.glob("*.camera"))), None)


def read(path: Path, found: Path) -> RawScene:
    """Frames sorted by name."""
    return RawScene([_frame(path, file) for file in sorted(found.glob("*.camera"))])


def _frame(path: Path, file: Path) -> Frame:
    name = file.name.removesuffix(".camera")
    lines = [line for line in read_text(file).splitlines() if line.strip()]
    if len(lines) != 9:
        raise SceneError(f"{file}: expected 9 rows (K, zeros, R, centre, size), found {len(lines)}")
    K = floats(" ".join(lines[:3]), 9, str(file), "K").reshape(3, 3)
    if floats(lines[3], 3, str(file), "row 4").any():
        raise SceneError(f"{file}: row 4 is {lines[3].strip()!r}, expected 0 0 0 (photos without distortion)")
    world_from_cam = floats(" ".join(lines[4:7]), 9, str(file), "R").reshape(3, 3)
    R = rotation(world_from_cam, str(file), "R").T
    center = floats(lines[7], 3, str(file), "centre")
    width, height = floats(lines[8], 2, str(file), "width and height").tolist()
    cam_from_world = np.concatenate([R, -R @ center[:, None]], axis=1)
    photo = next((p for p in (path / "images" / name, path / name, file.parent / name) if p.is_file()), None)
    K = intrinsics_from_matrix(K, str(file))
    return Frame(name, photo or path / "images" / name, K, cam_from_world, str(file), width, height)
