"""nanoflann as a C++ program would use it: three dimensions known to the compiler, which no Python binding has.

The header is not part of this project: Debian's libnanoflann-dev installs it, or NANOFLANN_INCLUDE names its folder.
"""

from __future__ import annotations

import ctypes
import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

NEEDS = "nanoflann.hpp"
SOURCE = Path(__file__).with_name("nanoflann.cpp")
FLAGS = ("-std=c++17", "-O3", "-march=native", "-DNDEBUG", "-shared", "-fPIC", "-pthread")


def problem() -> str:
    """Why it cannot run here; empty where it can."""
    if shutil.which("c++") is None:
        return "no C++ compiler (c++) was found"
    try:
        _library()
    except subprocess.CalledProcessError as error:
        missing = "nanoflann.hpp" in error.stderr and "No such file" in error.stderr
        need = "nanoflann.hpp was not found (apt-get install libnanoflann-dev, or NANOFLANN_INCLUDE=its folder)"
        return need if missing else f"does not compile: {error.stderr.splitlines()[0]}"
    return ""


def version() -> str:
    """The header's NANOFLANN_VERSION as it writes it: in hexadecimal."""
    return f"{_library().version():#x}"


@functools.cache
def _library() -> ctypes.CDLL:
    """Compiled for this machine, once a process; the file is gone as soon as it is loaded."""
    folders = [f"-I{folder}" for folder in os.environ.get("NANOFLANN_INCLUDE", "").split(os.pathsep) if folder]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "nanoflann.so"
        command = ["c++", *FLAGS, *folders, str(SOURCE), "-o", str(target)]
        subprocess.run(command, check=True, capture_output=True, text=True)
        library = ctypes.CDLL(str(target))
    pointer, size = ctypes.c_void_p, ctypes.c_int64
    library.version.restype = size
    library.tree_make.restype = pointer
    library.tree_make.argtypes = [pointer, size, size]
    library.tree_free.argtypes = [pointer]
    library.tree_free.restype = None
    library.tree_search.argtypes = [pointer, pointer, size, size, size, pointer, pointer]
    library.tree_search.restype = None
    return library


class _Tree:
    """Owns a tree and the points that it refers to."""

    def __init__(self, points: np.ndarray, threads: int):
        self.library, self.points, self.threads = _library(), np.ascontiguousarray(points, np.float32), threads
        self.tree = self.library.tree_make(self.points.ctypes.data, len(points), threads)

    def __del__(self) -> None:
        self.library.tree_free(self.tree)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """dist2 (M, k) float32 and index (M, k) uint32; needs k <= N."""
        queries = np.ascontiguousarray(queries, np.float32)
        dist2, index = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.uint32)
        out = dist2.ctypes.data, index.ctypes.data
        self.library.tree_search(self.tree, queries.ctypes.data, len(queries), k, self.threads, *out)
        return dist2, index


def make(points: np.ndarray, k: int, threads: int) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """A search over points (N, 3)."""
    tree = _Tree(points, threads)
    return lambda queries: tree.search(queries, k)
