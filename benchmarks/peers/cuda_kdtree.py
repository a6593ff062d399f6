"""cudaKDTree of Ingo Wald behind cuda_kdtree.cu: k-d trees built and searched on the GPU.

Its headers are not part of this project: CUDAKDTREE_INCLUDE names the folder that holds cukd/, and nvcc compiles for
the GPU that is there; or CUDAKDTREE_LIBRARY names what was compiled from cuda_kdtree.cu before:
nvcc -O3 -std=c++17 -arch=sm_90 -shared -Xcompiler -fPIC,-fvisibility=hidden -I FOLDER cuda_kdtree.cu -o LIBRARY
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

import torch
from torch import Tensor

SOURCE = Path(__file__).with_name("cuda_kdtree.cu")
FLAGS = ("-O3", "-std=c++17", "-shared", "-Xcompiler", "-fPIC,-fvisibility=hidden")
USUAL = "/usr/local/cuda/bin/nvcc"


def problem() -> str:
    """Why it cannot run here; empty where it can."""
    if os.environ.get("CUDAKDTREE_LIBRARY"):
        need = "" if Path(os.environ["CUDAKDTREE_LIBRARY"]).is_file() else "CUDAKDTREE_LIBRARY names no file"
    elif not os.environ.get("CUDAKDTREE_INCLUDE"):
        need = "CUDAKDTREE_INCLUDE=the folder that holds cukd/ is not set, nor CUDAKDTREE_LIBRARY"
    elif not (Path(os.environ["CUDAKDTREE_INCLUDE"]) / "cukd" / "builder.h").is_file():
        need = "CUDAKDTREE_INCLUDE names a folder without cukd/builder.h"
    else:
        need = "" if _nvcc() else "no nvcc was found"
    if need:
        return need
    try:
        _library()
    except subprocess.CalledProcessError as error:
        return f"does not compile: {(error.stderr.splitlines() or ['nvcc says nothing'])[0]}"
    except (OSError, AttributeError) as error:
        return f"does not load: {error}"
    return ""


def version() -> str:
    """What whoever compiled the library said; cudaKDTree itself does not say."""
    return _library().kdtree_version().decode()


def _nvcc() -> str | None:
    return shutil.which("nvcc") or shutil.which(USUAL)


@functools.cache
def _library() -> ctypes.CDLL:
    """Loaded, and compiled before that where no library is named; the file is gone as soon as it is loaded."""
    if given := os.environ.get("CUDAKDTREE_LIBRARY"):
        return _declared(ctypes.CDLL(str(Path(given).resolve())))
    major, minor = torch.cuda.get_device_capability()
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "cuda_kdtree.so"
        command = [_nvcc() or "nvcc", *FLAGS, f"-arch=sm_{major}{minor}", f"-I{os.environ['CUDAKDTREE_INCLUDE']}"]
        subprocess.run([*command, str(SOURCE), "-o", str(target)], check=True, capture_output=True, text=True)
        return _declared(ctypes.CDLL(str(target)))


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    pointer, size, number = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
    for name, result, arguments in (
        ("kdtree_version", ctypes.c_char_p, []),
        ("kdtree_problem", ctypes.c_char_p, []),
        ("kdtree_make", pointer, [pointer, size, pointer, pointer, number, number, pointer]),
        ("kdtree_free", None, [pointer, pointer]),
        ("kdtree_search", number, [pointer, pointer, size, number, pointer, pointer, pointer]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class _Tree:
    """Owns a tree, the memory of a balanced one and, for a spatial one, the points that it refers to."""

    tree: int | None = None

    def __init__(self, points: Tensor, spatial: bool, corners: bool):
        self.library, self.points = _library(), points.contiguous()
        self.nodes = points.new_empty((0 if spatial else len(points), 4))
        self.bounds = points.new_empty(6)
        memory = self.points.data_ptr(), len(points), self.nodes.data_ptr(), self.bounds.data_ptr()
        self.tree = self.library.kdtree_make(*memory, spatial, corners, self._stream())
        if not self.tree:
            raise RuntimeError(f"cudaKDTree: {self.library.kdtree_problem().decode()}")

    def __del__(self) -> None:
        if self.tree:
            self.library.kdtree_free(self.tree, self._stream())

    def _stream(self) -> int:
        return torch.cuda.current_stream(self.points.device).cuda_stream

    def search(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """dist2 (M, k) float32 and index (M, k) int32, nearest first; needs k <= N."""
        queries = queries.contiguous()
        dist2 = queries.new_empty((len(queries), k))
        index = torch.empty((len(queries), k), dtype=torch.int32, device=queries.device)
        given = queries.data_ptr(), len(queries), k, dist2.data_ptr(), index.data_ptr()
        if self.library.kdtree_search(self.tree, *given, self._stream()):
            raise RuntimeError(f"cudaKDTree: {self.library.kdtree_problem().decode()}")
        return dist2, index


def maker(spatial: bool, corners: bool) -> Callable[[Tensor, int], Callable[[Tensor], tuple[Tensor, Tensor]]]:
    """Makes a search over points (N, 3) float32 on the GPU, of the one tree or the other."""

    def make(points: Tensor, k: int) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        tree = _Tree(points, spatial, corners)
        return lambda queries: tree.search(queries, k)

    return make
