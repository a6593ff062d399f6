"""Libraries that find exact nearest neighbours on the GPU, results left there; the CPU's are in knn.py.

A peer makes a search over points once; a search takes queries (M, 3) and returns what the library returns, which the
peer reads only for the check. All of them run in the default stream, which torch and CuPy share.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.peers import cuda_kdtree
from benchmarks.peers.knn import PEERS, Peer
from uner3d.ops import KnnIndex, knn

Search = Callable[[Tensor], Any]
SMALL = 5000  # points of the trial that loads and compiles what a library needs


@dataclass(frozen=True)
class CudaPeer:
    """A library: how to make a search from points (N, 3) float32 and k, and how to read squared distances (M, k)."""

    name: str
    make: Callable[[Tensor, int], Search]
    dist2: Callable[[Any], Tensor]
    version: Callable[[], str]
    absent: Callable[[], str]  # why it cannot even be tried; empty where it can

    def problem(self) -> str:
        """Why it cannot run here; empty where a search among few points ran, which also compiles its kernels."""
        if why := self.absent():
            return why
        try:
            points = torch.rand(SMALL, 3, device="cuda")
            self.dist2(self.make(points, 8)(points)).sum().item()
        except Exception as error:  # of any kind: it is the peer's, not ours
            return f"does not run, {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        return ""


def _uner3d(points: Tensor, k: int) -> Search:
    index = KnnIndex(points)
    return lambda queries: knn(index, queries, k)


def _cupy(points: Tensor, k: int) -> Search:
    """Tensors come in by __cuda_array_interface__, without a copy."""
    import cupy
    from cupyx.scipy.spatial import KDTree

    tree = KDTree(cupy.asarray(points))
    return lambda queries: tree.query(cupy.asarray(queries), k=k)


def _cupy_version() -> str:
    import cupy

    return cupy.__version__


def _cupy_absent() -> str:
    try:
        from cupyx.scipy.spatial import KDTree  # noqa: F401
    except ModuleNotFoundError as error:
        return f"not installed (pip install cupy-cuda13x): {error}"
    except Exception as error:  # CuPy raises what it likes where the driver or a library of CUDA is missing
        return f"does not load, {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    return ""


def _first(result: Any) -> Tensor:
    return result[0]


def _first_squared(result: Any) -> Tensor:
    return torch.as_tensor(result[0], device="cuda").double() ** 2


def _kdtree(name: str, spatial: bool, corners: bool) -> CudaPeer:
    make = cuda_kdtree.maker(spatial, corners)
    return CudaPeer(name, make, _first, cuda_kdtree.version, cuda_kdtree.problem)


CUDA_PEERS: dict[str, Peer | CudaPeer] = {
    peer.name: peer
    for peer in (
        CudaPeer("uner3d", _uner3d, _first, PEERS["uner3d"].version, lambda: ""),
        _kdtree("cudaKDTree", spatial=False, corners=False),
        _kdtree("cudaKDTree cct", spatial=False, corners=True),
        _kdtree("cudaKDTree spatial", spatial=True, corners=False),
        _kdtree("cudaKDTree spatial cct", spatial=True, corners=True),
        CudaPeer("cupy", _cupy, _first_squared, _cupy_version, _cupy_absent),
        PEERS["torch"],
        PEERS["torch cdist"],
    )
}
