"""Exact k nearest neighbours against the libraries of benchmarks/peers/knn.py or, on CUDA, knn_cuda.py, checked first.

python -m benchmarks.bench_knn [--points 100000 1000000] [--clouds surface uniform uneven] [--k 8] [--threads 2]
                               [--peers pykdtree scipy ...] [--large 20000000] [--device cuda] [--json FILE]

Times are microseconds per query, the sorting of queries inside ours counted. "sorted": the queries came along a Morton
curve, sorted beforehand, which is not counted; "as called": shuffled. Peers that compute every distance get few queries
and at most 100,000 points. Seconds to build: median of three; memory beside the points is measured in a process of its
own. --large indexes so many points with ours alone, for its memory. On CUDA see _knn_cuda.py: a million points for
peers that compute every distance, torch.compile of them too; builds timed five times; a tenth of the queries or more
for a peer that is slow. CUDAKDTREE_INCLUDE or CUDAKDTREE_LIBRARY says where cudaKDTree is (peers/cuda_kdtree.py).
"""

from __future__ import annotations

import statistics
import time
from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import Any

import torch

from benchmarks import _knn_cuda
from benchmarks._clouds import CLOUDS, cloud, morton_sorted, queries_near
from benchmarks._gpu import add_device
from benchmarks._knn_figures import EXACT, check_ours, error_of, per_query
from benchmarks._timing import argument_parser, environment, parse, time_interleaved, write_json
from benchmarks.peers.brute import N_BRUTE, torch_exact
from benchmarks.peers.knn import PEERS, Peer, available
from benchmarks.peers.knn_cuda import CUDA_PEERS
from benchmarks.peers.memory import measure_apart
from uner3d.ops import knn

MOST_BRUTE = 100_000  # points for the peers that compute every distance, on the CPU


def prepared(kind: str, n: int, k: int) -> dict[str, Any]:
    """Points and queries, which of them are ``few``, and the ``truth`` about those: squared distances in float64."""
    points = cloud(kind, n)
    few = torch.arange(0, n, max(n // N_BRUTE["cpu"], 1))[: N_BRUTE["cpu"]]
    queries = queries_near(points, float(knn(points, points[few], 2)[0][:, 1].median().sqrt()))
    truth = torch_exact(points.double(), queries[few].double(), k)[0]
    return {"points": points, "queries": queries, "few": few, "truth": truth}


def on_cpu(case: dict[str, Any], kind: str, k: int, peers: list[Peer], args: Namespace) -> dict[str, Any]:
    """Ours and the peers that run here, through the same interface."""
    points, queries, few = case["points"].numpy(), case["queries"], case["few"]
    ordered = {"as called": queries.numpy(), "sorted": morton_sorted(queries).numpy()}
    some = queries[few].numpy()
    libraries: dict[str, dict[str, Any]] = {}
    calls: dict[str, Callable] = {}
    counts: dict[str, int] = {}
    for peer in peers:
        if peer.brute and len(points) > MOST_BRUTE:
            continue
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            search = peer.make(points, k, args.threads)
            seconds.append(time.perf_counter() - start)
        error = error_of(torch.from_numpy(peer.dist2(search(some))), case["truth"])
        libraries[peer.name] = {"exact": error <= EXACT, "error": error, "build_s": statistics.median(seconds)}
        if peer.name == "uner3d":
            check_ours(error, f"{kind}, {len(points)} points")
        if not args.no_memory:
            apart = measure_apart(peer.name, kind, len(points), len(some if peer.brute else queries), k, args.threads)
            libraries[peer.name] |= {name: value for name, value in apart.items() if name != "build_s"}
        if peer.brute:
            calls[peer.name], counts[peer.name] = (lambda f=search: f(some)), len(some)
        for order, given in ordered.items() if not peer.brute else ():
            calls[f"{peer.name} {order}"] = lambda f=search, q=given: f(q)
            counts[f"{peer.name} {order}"] = len(given)
    return {**per_query(time_interleaved(calls, args.repeats), counts), "libraries": libraries}


def large(n: int, k: int, threads: int) -> dict[str, Any]:
    """Memory and seconds of ours for ``n`` points on a surface, searched for a tenth as many queries."""
    figure = {"cloud": "surface", "points": n, "queries": n // 10}
    figure |= measure_apart("uner3d", "surface", n, n // 10, k, threads)
    print(f"{n} points indexed in {figure['build_s']:.2f} s: {figure['build_mb']:.0f} MB at most beside them, "
          f"{figure['held_mb']:.0f} MB kept")  # fmt: skip
    return figure


def show(figure: dict[str, Any]) -> None:
    ours = figure["us_per_query"]["uner3d as called"]
    print(f"{figure['cloud']}, {figure['points']} points and queries, k = {figure['k']}")
    for name, us in figure["us_per_query"].items():
        library = figure["libraries"].get(name.removesuffix(" as called").removesuffix(" sorted"), {})
        inexact = "" if library.get("exact", True) else f"   inexact ({library['error']:.1g})"
        print(f"  {name:<24} {us:10.3f} us per query   {us / ours:8.2f} x uner3d{inexact}")
    for name, library in figure["libraries"].items():
        memory = f", {library['build_mb']:6.0f} MB to build" if "build_mb" in library else ""
        part = f", {library['queries']} queries timed" if "queries" in library else ""
        print(f"  {name:<24} built in {library['build_s']:.4f} s{memory}{part}", flush=True)


def written(record: dict[str, Any], path: str | None) -> None:
    if path:
        write_json(path, {"benchmark": "knn", **environment(), **record})


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--points", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--clouds", nargs="+", choices=CLOUDS, default=list(CLOUDS))
    parser.add_argument("--k", type=int, default=8)
    names = [name for name in {**PEERS, **CUDA_PEERS} if name != "uner3d"]
    parser.add_argument("--peers", nargs="*", choices=names, default=names, metavar="PEER", help=f"of {names}")
    parser.add_argument("--large", type=int, default=20_000_000, help="points to index for the memory alone; 0: none")
    parser.add_argument("--no-memory", action="store_true", help="leave out the memory of every peer")
    add_device(parser)
    args = parse(parser)
    cpu = args.device == "cpu"
    among: Mapping[str, Any] = PEERS if cpu else CUDA_PEERS
    peers, missing = available(["uner3d", *(name for name in args.peers if name in among)], among)
    record: dict[str, Any] = {"figures": [], "not_available": missing, "versions": {p.name: p.version() for p in peers}}
    for n in args.points:
        for kind in args.clouds:
            case = prepared(kind, n, args.k) if cpu else _knn_cuda.prepared(kind, n, args.k)
            run = (on_cpu if cpu else _knn_cuda.on_cuda)(case, kind, args.k, peers, args)
            record["figures"].append({"cloud": kind, "points": n, "k": args.k, **run})
            show(record["figures"][-1])
            written(record, args.json)  # each time: what is there stays where a later case is killed
    if cpu and args.large:
        record["large"] = large(args.large, args.k, args.threads)
    written(record, args.json)


if __name__ == "__main__":
    main()
