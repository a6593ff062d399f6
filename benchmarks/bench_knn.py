"""Exact k-nearest neighbours against torch eager, scipy cKDTree and pykdtree (where installed), checked first.

python -m benchmarks.bench_knn [--points 100000 1000000] [--clouds surface uniform uneven] [--k 8] [--threads 2]
                               [--peers torch scipy pykdtree] [--device cuda] [--json FILE]

Times are microseconds per query, the sorting of queries inside ours counted. Torch computes every distance, so it gets
few queries (more on CUDA, where torch.compile runs too); `cdist` is there for its speed alone: its distances are
inexact. "sorted" peers get queries sorted along a Morton curve beforehand, not counted; the others, like ours, get them
shuffled.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks._gpu import add_device, bandwidth, least_bytes, with_compiled
from benchmarks._timing import argument_parser, check_close, environment, parse, time_interleaved, write_json
from uner3d.ops import KnnIndex, knn

N_BRUTE = {"cpu": 256, "cuda": 4096}  # queries for the peers that compute every distance
CHUNK = {"cpu": 32, "cuda": 512}  # of them at a time: (512, 1 000 000, 3) floats take 6 GB
CLOUDS = ("surface", "uniform", "uneven")


def cloud(kind: str, n: int) -> Tensor:
    """Points on a bumpy sphere with noise, in the cube, or 90 % in 1 % of the cube."""
    generator = torch.Generator().manual_seed(0)
    if kind == "surface":
        direction = torch.nn.functional.normalize(torch.randn(n, 3, generator=generator), dim=1)
        radius = 1 + 0.2 * torch.sin(5 * direction[:, :1])
        return direction * radius + 0.001 * torch.randn(n, 3, generator=generator)
    points = torch.rand(n, 3, generator=generator)
    if kind == "uneven":
        points[: 9 * n // 10] *= 0.01 ** (1 / 3)
    return points[torch.randperm(n, generator=generator)]


def queries_near(points: Tensor, spacing: float) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    shuffled = points[torch.randperm(len(points), generator=generator)]
    return shuffled + 0.5 * spacing * torch.randn(shuffled.shape, generator=generator)


def exact(points: Tensor, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
    dist2, index = ((points[None] - queries[:, None]) ** 2).sum(-1).topk(k, largest=False)
    return dist2, index


def cdist(points: Tensor, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
    distance, index = torch.cdist(queries, points).topk(k, largest=False)
    return distance**2, index


def in_chunks(search: Callable, points: Tensor, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
    parts = [search(points, chunk, k) for chunk in queries.split(CHUNK[queries.device.type])]
    return torch.cat([dist2 for dist2, _ in parts]), torch.cat([index for _, index in parts])


def torch_exact(points: Tensor, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
    return in_chunks(exact, points, queries, k)


def morton_sorted(queries: Tensor) -> np.ndarray:
    x = queries.numpy().astype(np.float64)
    cells = ((x - x.min(0)) / np.ptp(x) * 1023).astype(np.uint64)
    code = np.zeros(len(x), np.uint64)
    for bit in range(10):
        for axis in range(3):
            code |= ((cells[:, axis] >> np.uint64(bit)) & np.uint64(1)) << np.uint64(3 * bit + axis)
    return queries.numpy()[np.argsort(code, kind="stable")]


def tree_peers(names: list[str], points: Tensor, queries: Tensor, k: int, threads: int) -> dict[str, Callable]:
    """Query functions of the installed trees, shuffled and sorted; each returns (distances, indices)."""
    trees: dict[str, Callable] = {}
    if "scipy" in names:
        from scipy.spatial import cKDTree

        scipy_tree = cKDTree(points.numpy())
        trees["scipy"] = lambda q: scipy_tree.query(q, k=k, workers=threads)
    if "pykdtree" in names:
        try:
            from pykdtree.kdtree import KDTree
        except ImportError:
            print("pykdtree is not installed (pip install pykdtree): left out")
        else:
            fast_tree = KDTree(points.numpy())
            trees["pykdtree"] = lambda q: fast_tree.query(q, k=k)
    ours_sorted, as_called = morton_sorted(queries), queries.numpy()
    calls: dict[str, Callable] = {}
    for name, query in trees.items():
        calls[f"{name} as called"] = lambda query=query: query(as_called)
        calls[f"{name} sorted"] = lambda query=query: query(ours_sorted)
    return calls


def build(points: Tensor) -> tuple[KnnIndex, float]:
    """The index and the seconds to build it."""
    if points.is_cuda:
        KnnIndex(points)  # the first one also loads the kernels
        torch.cuda.synchronize()
    start = time.perf_counter()
    index = KnnIndex(points)
    if points.is_cuda:
        torch.cuda.synchronize()
    return index, time.perf_counter() - start


def measure(kind: str, n: int, k: int, peers: list[str], args: argparse.Namespace) -> dict[str, Any]:
    """Microseconds per query of each; seconds of ours to build."""
    points, device = cloud(kind, n), args.device
    few = torch.arange(0, n, max(n // N_BRUTE[device], 1))[: N_BRUTE[device]]
    queries = queries_near(points, float(knn(points, points[few], 2)[0][:, 1].median().sqrt()))
    calls = tree_peers(peers, points, queries, k, args.threads)
    points, queries, few = points.to(device), queries.to(device), few.to(device)
    index, seconds = build(points)
    found = knn(index, queries, k)
    dist2, some = found[0], queries[few]
    check_close(dist2[few], torch_exact(points, some, k)[0], 1e-6 * float(dist2.max()), f"{kind} torch")
    for name, call in calls.items():
        if name.endswith("as called"):
            check_close(dist2, torch.as_tensor(np.asarray(call()[0]) ** 2), 1e-5 * float(dist2.max()), f"{kind} {name}")
    counts = {"uner3d": n, **dict.fromkeys(calls, n)}
    calls["uner3d"] = lambda: knn(index, queries, k)
    if "torch" in peers:
        eager = {"torch": exact, "torch cdist": cdist}  # a chunk is compiled, not the loop over them
        brute = with_compiled(eager, device, lambda f: in_chunks(f, points, some, k))
        calls |= {name: lambda f=f: in_chunks(f, points, some, k) for name, f in brute.items()}
        counts |= dict.fromkeys(brute, len(few))
    times = time_interleaved(calls, args.repeats)
    moved = bandwidth(least_bytes([points, queries], found), times["uner3d"]["median"], device)
    per_query = {"build_s": seconds, **{name: t["median"] / counts[name] * 1e6 for name, t in times.items()}}
    return {"us_per_query": per_query, **moved}


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--points", type=int, nargs="+", default=[100_000])
    parser.add_argument("--clouds", nargs="+", choices=CLOUDS, default=list(CLOUDS))
    parser.add_argument("--k", type=int, default=8)
    parser.add_argument("--peers", nargs="*", choices=("torch", "scipy", "pykdtree"), default=None,
                        help="default: torch and, on the CPU, scipy")  # fmt: skip
    add_device(parser)
    arguments = parse(parser)
    peers = arguments.peers if arguments.peers is not None else ["torch", "scipy"][: 1 + (arguments.device == "cpu")]
    figures = []
    for n in arguments.points:
        for kind in arguments.clouds:
            measured = measure(kind, n, arguments.k, peers, arguments)
            per_query = measured["us_per_query"]
            figures.append({"cloud": kind, "points": n, "k": arguments.k, **measured})
            print(f"{kind}, {n} points and queries, k = {arguments.k} (built in {per_query['build_s']:.3f} s)")
            for name, us in per_query.items():
                if name != "build_s":
                    print(f"  {name:<20} {us:10.3f} us per query   {us / per_query['uner3d']:8.2f} x uner3d")
    if arguments.json:
        write_json(arguments.json, {"benchmark": "knn", **environment(), "figures": figures})


if __name__ == "__main__":
    main()
