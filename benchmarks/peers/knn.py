"""Libraries that find exact nearest neighbours on the CPU, each called as its manual says, in float32 where it can.

A peer makes a search over points once; a search takes queries (M, 3) and returns what the library returns, which the
peer reads only for the check, so that no time of ours is added to theirs.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.peers import brute, nanoflann_cpp
from uner3d.ops import KnnIndex, knn

Search = Callable[[np.ndarray], Any]
Make = Callable[[np.ndarray, int, int], Search]


@dataclass(frozen=True)
class Peer:
    """A library: how to make a search from points (N, 3) float32, k and threads, and how to read its results."""

    name: str
    make: Make
    needs: str  # what is imported
    install: str  # what to type where it is absent
    dist2: Callable[[Any], np.ndarray]  # squared distances (M, k) out of a result
    index: Callable[[Any], np.ndarray]  # indices (M, k)
    brute: bool = False  # computes every distance, so that it gets few queries and no large cloud

    def problem(self) -> str:
        """Why it cannot run here; empty where it can."""
        if self.needs == nanoflann_cpp.NEEDS:
            return nanoflann_cpp.problem()
        try:
            importlib.import_module(self.needs)
        except (ImportError, OSError) as error:  # Open3D raises OSError where a system library is missing
            absent = isinstance(error, ModuleNotFoundError) and error.name == self.needs.split(".")[0]
            return f"not installed ({self.install})" if absent else f"does not load: {str(error).splitlines()[0]}"
        return ""

    def version(self) -> str:
        """Of the package that was imported."""
        if self.needs == nanoflann_cpp.NEEDS:
            return nanoflann_cpp.version()
        packages = importlib.metadata.packages_distributions().get(self.needs)
        return importlib.metadata.version(packages[0]) if packages else ""


def _uner3d(points: np.ndarray, k: int, threads: int) -> Search:
    torch.set_num_threads(threads)
    index = KnnIndex(torch.from_numpy(points))
    return lambda queries: knn(index, torch.from_numpy(queries), k)


def _scipy(points: np.ndarray, k: int, threads: int) -> Search:
    from scipy.spatial import cKDTree

    tree = cKDTree(points)
    return lambda queries: tree.query(queries, k=k, workers=threads)


def _pykdtree(points: np.ndarray, k: int, threads: int) -> Search:
    os.environ["OMP_NUM_THREADS"] = str(threads)  # read when its own OpenMP runtime is loaded
    from pykdtree.kdtree import KDTree

    tree = KDTree(points)
    return lambda queries: tree.query(queries, k=k)


def _napf(points: np.ndarray, k: int, threads: int) -> Search:
    import napf

    tree = napf.KDT(points, nthread=threads)
    return lambda queries: tree.knn_search(queries, k)


def _open3d(points: np.ndarray, k: int, threads: int) -> Search:
    """It takes the threads it likes: all of them."""
    import open3d

    tensor = open3d.core.Tensor.from_numpy
    search = open3d.core.nns.NearestNeighborSearch(tensor(points))
    search.knn_index()
    return lambda queries: search.knn_search(tensor(queries), k)


def _faiss(points: np.ndarray, k: int, threads: int) -> Search:
    import faiss

    faiss.omp_set_num_threads(threads)
    index = faiss.IndexFlatL2(3)
    index.add(points)
    return lambda queries: index.search(queries, k)


def _torch(search: Callable) -> Make:
    def make(points: np.ndarray, k: int, threads: int) -> Search:
        torch.set_num_threads(threads)
        on = torch.from_numpy(points)
        return lambda queries: brute.in_chunks(search, on, torch.from_numpy(queries), k)

    return make


def _first(result: Any) -> np.ndarray:
    return np.asarray(result[0])


def _second(result: Any) -> np.ndarray:
    return np.asarray(result[1])


def _first_squared(result: Any) -> np.ndarray:
    return np.asarray(result[0], np.float64) ** 2


EXTRA = "pip install 'uner3d[bench]'"
PEERS = {
    peer.name: peer
    for peer in (
        Peer("uner3d", _uner3d, "uner3d", "pip install .", _first, _second),
        Peer("pykdtree", _pykdtree, "pykdtree", EXTRA, _first_squared, _second),
        Peer("nanoflann C++", nanoflann_cpp.make, nanoflann_cpp.NEEDS, "", _first, _second),
        Peer("napf", _napf, "napf", EXTRA, _first, _second),
        Peer("scipy", _scipy, "scipy", "pip install scipy", _first_squared, _second),
        Peer("open3d", _open3d, "open3d", EXTRA, lambda r: r[1].numpy(), lambda r: r[0].numpy()),
        Peer("faiss flat", _faiss, "faiss", EXTRA, _first, _second, brute=True),
        Peer("torch", _torch(brute.exact), "torch", "pip install torch", _first, _second, brute=True),
        Peer("torch cdist", _torch(brute.cdist), "torch", "pip install torch", _first, _second, brute=True),
    )
}


def available(names: list[str], among: Mapping[str, Any] = PEERS) -> tuple[list[Any], dict[str, str]]:
    """Those of ``names`` that run here, and for the others why not, which is also printed, a line each."""
    problems = {name: among[name].problem() for name in names}
    for name, problem in problems.items():
        if problem:
            print(f"  {name}: left out, {problem}")
    return [among[name] for name in names if not problems[name]], {n: p for n, p in problems.items() if p}
