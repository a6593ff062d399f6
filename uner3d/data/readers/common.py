"""What all readers share: the raw scene they deliver, checks of numbers, and how photo files are found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import SceneError

PHOTO_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")


@dataclass
class Frame:
    """One photo as its format describes it, already in the project's conventions but at the photo's own size.

    width, height: the size that K is stated for, None where the format does not say (then it is the photo's).
    distortion: (k1, k2, k3, k4, p1, p2) or None. where: file and entry, for messages.
    """

    name: str
    image_path: Path
    K: np.ndarray
    cam_from_world: np.ndarray
    where: str
    width: float | None = None
    height: float | None = None
    distortion: tuple[float, ...] | None = None
    mask_path: Path | None = None


@dataclass
class RawScene:
    """All frames of a format. box_hint (2, 3): a region stated by the format itself (IDR's normalisation sphere)."""

    frames: list[Frame]
    test_frames: list[Frame] = field(default_factory=list)
    sparse_points: np.ndarray | None = None
    box_hint: np.ndarray | None = None
    warnings: list[str] = field(default_factory=list)


def numbers(values: object, shape: tuple[int, ...], where: str, what: str) -> np.ndarray:
    """`values` as finite float64 of `shape`, or a SceneError that says which entry is wrong."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise SceneError(f"{where}: {what} must be {shape} numbers, got {str(values)[:80]}") from error
    if array.shape != shape:
        raise SceneError(f"{where}: {what} must have shape {shape}, got {array.shape}")
    if not np.isfinite(array).all():
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise SceneError(f"{where}: {what}{list(index)} is {array[index]}, expected a finite number")
    return array


def rotation(R: np.ndarray, where: str, what: str, tolerance: float = 5e-3) -> np.ndarray:
    """The rotation nearest to R, which must be one up to `tolerance` (files keep few digits)."""
    deviation = np.abs(R @ R.T - np.eye(3)).max()
    if deviation > tolerance or np.linalg.det(R) < 0:
        raise SceneError(
            f"{where}: {what} is not a rotation: |R R^T - I| = {deviation:.3g}, det = {np.linalg.det(R):.3g}; "
            f"expected orthonormal rows and det = +1"
        )
    U, _, Vt = np.linalg.svd(R)
    return U @ Vt


def intrinsics(fx: float, fy: float, cx: float, cy: float, where: str) -> np.ndarray:
    """K (3, 3) with checked entries; the principal point counts from the outer corner of the corner pixel."""
    for name, value in (("fx", fx), ("fy", fy)):
        if not (np.isfinite(value) and value > 0):
            raise SceneError(f"{where}: focal length {name} is {value:g}, expected a finite number of pixels > 0")
    for name, value in (("cx", cx), ("cy", cy)):
        if not np.isfinite(value):
            raise SceneError(f"{where}: principal point {name} is {value}, expected a finite number of pixels")
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])


def intrinsics_from_matrix(K: np.ndarray, where: str) -> np.ndarray:
    """A checked pinhole from a K given as a matrix whose principal point counts from the centre of the corner pixel.

    Skew is dropped where it moves no pixel by 0.1 px or more, else refused: the kernels know none.
    """
    K = K / K[2, 2] if K[2, 2] else K
    checked = intrinsics(K[0, 0], K[1, 1], K[0, 2] + 0.5, K[1, 2] + 0.5, where)
    shift = abs(K[0, 1]) * max(abs(K[1, 2]), 1.0) / K[1, 1]
    if shift >= 0.1:
        raise SceneError(f"{where}: K has skew {K[0, 1]:g}, which moves pixels by up to {shift:.2g} px; expected 0")
    return checked


def brown_coefficients(
    k1: float = 0, k2: float = 0, k3: float = 0, k4: float = 0, p1: float = 0, p2: float = 0, *, where: str
) -> tuple[float, ...] | None:
    """The coefficients as one tuple, None where all are zero."""
    values = numbers([k1, k2, k3, k4, p1, p2], (6,), where, "distortion (k1, k2, k3, k4, p1, p2)")
    return tuple(values.tolist()) if values.any() else None


def photos_in(folder: Path) -> list[Path]:
    """Photo files of a folder, sorted by name."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in PHOTO_SUFFIXES and not p.name.startswith("."))


def first_folder(path: Path, names: Sequence[str]) -> Path | None:
    """The first of path/names that holds photos."""
    return next((path / name for name in names if photos_in(path / name)), None)


def read_text(path: Path) -> str:
    """A text file, or a SceneError that names it."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SceneError(f"{path}: cannot be read as text: {error}") from error


def floats(text: str, count: int, where: str, what: str) -> np.ndarray:
    """`count` whitespace-separated finite numbers."""
    words = text.split()
    if len(words) != count:
        raise SceneError(f"{where}: expected {count} numbers ({what}), found {len(words)}")
    try:
        values = [float(word) for word in words]
    except ValueError as error:
        raise SceneError(f"{where}: {what}: {error}; expected {count} numbers") from error
    return numbers(values, (count,), where, what)
