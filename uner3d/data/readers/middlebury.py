"""Middlebury multi-view stereo: `*_par.txt`, a line `name k11..k33 r11..r33 t1 t2 t3` per photo, pixel centres at integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import SceneError
from .common import Frame, RawScene, floats, intrinsics_from_matrix, read_text, rotation

NAME = "Middlebury *_par.txt"
LOOKS_FOR = "*_par.txt (Middlebury multi-view stereo)"


def find(path: Path) -> Path | None:
    """The parameter file."""
    return min(path.glob("*_par.txt"), default=None) if path.is_dir() else None


def read(path: Path, found: Path) -> RawScene:
    """Frames in the order of the file; its first line is their number."""
    lines = [(i, line) for i, line in enumerate(read_text(found).splitlines(), 1) if line.strip()]
    if not lines or not lines[0][1].strip().isdigit():
        raise SceneError(
            f"{found}: line 1: expected the number of photos, found {lines[0][1] if lines else 'nothing'!r}"
        )
    count = int(lines[0][1])
    if count != len(lines) - 1:
        raise SceneError(f"{found}: line 1 announces {count} photos, but {len(lines) - 1} follow")
    return RawScene([_frame(path, found, number, line) for number, line in lines[1:]])


def _frame(path: Path, found: Path, number: int, line: str) -> Frame:
    name, _, rest = line.strip().partition(" ")
    where = f"{found}: line {number} ({name})"
    values = floats(rest, 21, where, "K, R and t")
    R = rotation(values[9:18].reshape(3, 3), where, "R")
    cam_from_world = np.concatenate([R, values[18:, None]], axis=1)
    return Frame(name, path / name, intrinsics_from_matrix(values[:9].reshape(3, 3), where), cam_from_world, where)
