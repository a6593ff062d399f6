"""Streaming binary PLY: any number of points is written in constant memory.

Layout of a written file: binary little endian; ``float x y z`` (or ``double``), ``float nx ny nz``,
``uchar red green blue``, ``float confidence``, ``uchar n_views``; 32 bytes a point (44 with double).
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..files import atomic_file
from .ply_read import read_ply
from .types import Cloud

__all__ = ["Cloud", "PlyWriter", "needs_double", "read_ply", "write_ply"]

_COUNT_DIGITS = 20  # as many as a 64-bit count can have


def needs_double(largest_coordinate: float, spacing: float) -> bool:
    """Whether float32 is too coarse for points ``spacing`` apart at coordinates as large as ``largest_coordinate``.

    True where the coordinate exceeds 2^20 spacings: float32 would round positions by more than 1/16 of the spacing.
    """
    return abs(largest_coordinate) > 2**20 * spacing


def _vertex_dtype(double: bool) -> np.dtype:
    real = "<f8" if double else "<f4"
    fields = [(name, real) for name in ("x", "y", "z")] + [(name, "<f4") for name in ("nx", "ny", "nz")]
    fields += [(name, "u1") for name in ("red", "green", "blue")] + [("confidence", "<f4"), ("n_views", "u1")]
    return np.dtype(fields)


def _header(dtype: np.dtype, count: int) -> bytes:
    """The header for ``count`` vertices; its length does not depend on the count, so that it can be patched.

    The padding stands in a comment, where no reader minds it; padding beside the number would upset some.
    """
    names = {"<f4": "float", "<f8": "double", "|u1": "uchar"}
    padding = " " * (_COUNT_DIGITS - len(str(count)))
    lines = ["ply", "format binary_little_endian 1.0", f"comment written by uner3d{padding}", f"element vertex {count}"]
    lines += [f"property {names[dtype[name].str]} {name}" for name in dtype.names or ()]
    return ("\n".join([*lines, "end_header"]) + "\n").encode("ascii")


class PlyWriter:
    """Writes a PLY piece by piece; a context manager.

    The file appears under its name only when the block ends without an error (it is written under a temporary name in
    the same folder); otherwise nothing is left behind and an older file of that name stays as it was.

    double: store positions as float64 (see ``needs_double``).

    >>> with PlyWriter("cloud.ply") as ply:                                   # doctest: +SKIP
    ...     for part in parts:
    ...         ply.write(part.xyz, part.normals, part.rgb, part.confidence, part.n_views)
    """

    def __init__(self, path: str | Path, double: bool = False) -> None:
        self.path = Path(path)
        self.count = 0
        self._dtype = _vertex_dtype(double)
        self._file: BinaryIO | None = None
        self._context: AbstractContextManager[BinaryIO] | None = None

    def __enter__(self) -> PlyWriter:
        self.count = 0
        self._context = atomic_file(self.path)
        self._file = self._context.__enter__()
        self._file.write(_header(self._dtype, 0))
        return self

    def write(
        self, xyz: ArrayLike, normals: ArrayLike, rgb: ArrayLike, confidence: ArrayLike, n_views: ArrayLike
    ) -> None:
        """Append n points: xyz (n, 3), normals (n, 3), rgb (n, 3) uint8, confidence (n,), n_views (n,) uint8.

        n may be 0. Raises ValueError for other shapes, for rgb or n_views that are not uint8 and for positions that
        are not finite.
        """
        if self._file is None:
            raise RuntimeError(f"{self.path}: write() was called outside of the 'with' block of PlyWriter")
        rows = self._pack(xyz, normals, rgb, confidence, n_views)
        self._file.write(rows.data)
        self.count += len(rows)

    def _pack(self, *arrays: ArrayLike) -> NDArray[np.void]:
        xyz, normals, rgb, confidence, n_views = (np.asarray(array) for array in arrays)
        n = xyz.shape[0] if xyz.ndim else 0
        named = {"xyz": xyz, "normals": normals, "rgb": rgb, "confidence": confidence, "n_views": n_views}
        for name, array in named.items():
            shape = (n,) if name in ("confidence", "n_views") else (n, 3)
            if array.shape != shape:
                raise ValueError(f"{self.path}: {name}: expected shape {shape} as for xyz, got {array.shape}")
            if name in ("rgb", "n_views") and array.dtype != np.uint8:
                raise ValueError(f"{self.path}: {name}: expected dtype uint8, got {array.dtype}")
        finite = np.isfinite(xyz).all(1)
        if not finite.all():
            row = int(np.argmin(finite))
            raise ValueError(f"{self.path}: xyz: expected finite positions, got {xyz[row].tolist()} in row {row}")
        rows = np.empty(n, self._dtype)
        for k in range(3):
            rows["xyz"[k]], rows[("nx", "ny", "nz")[k]] = xyz[:, k], normals[:, k]
            rows[("red", "green", "blue")[k]] = rgb[:, k]
        rows["confidence"], rows["n_views"] = confidence, n_views
        return rows

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is None or self._context is None:
            return
        if kind is None:
            self._file.seek(0)
            self._file.write(_header(self._dtype, self.count))
        self._file, context = None, self._context
        context.__exit__(kind, error, trace)


def write_ply(path: str | Path, cloud: Cloud, double: bool | None = None) -> None:
    """Write a whole cloud; parts that it lacks are written as zeros. ``double`` follows the dtype of xyz when None."""
    n = len(cloud)
    double = cloud.xyz.dtype == np.float64 if double is None else double
    zeros = {"normals": ((n, 3), np.float32), "rgb": ((n, 3), np.uint8), "confidence": ((n,), np.float32)}
    zeros["n_views"] = ((n,), np.uint8)
    parts = {name: getattr(cloud, name) for name in zeros}
    filled = {k: np.zeros(*zeros[k]) if part is None else part for k, part in parts.items()}
    with PlyWriter(path, double) as ply:
        ply.write(cloud.xyz, **filled)
