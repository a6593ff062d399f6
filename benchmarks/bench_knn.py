"""Exact k nearest neighbours against the libraries of benchmarks/peers/knn.py, checked first.

python -m benchmarks.bench_knn [--points 100000 1000000] [--clouds surface uniform uneven] [--k 8] [--threads 2]
                               [--peers pykdtree scipy ...] [--large 20000000] [--device cuda] [--json FILE]

Times are microseconds per query, the sorting of queries inside ours counted. "sorted": the queries came along a Morton
curve, sorted beforehand, which is not counted; "as called": shuffled. Peers that compute every distance get few queries
and at most 100,000 points (more on CUDA, where torch.compile runs too). Seconds to build: median of three; memory
beside the points is measured in a process of its own. --large indexes so many points with ours alone, for its memory.
"""

from __future__ import annotations

import statistics
import time
from argparse import Namespace
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks._clouds import CLOUDS, cloud, morton_sorted, queries_near
from benchmarks._gpu import add_device, bandwidth, least_bytes
from benchmarks._timing import argument_parser, environment, parse, time_interleaved, write_json
from benchmarks.peers.brute import N_BRUTE, cdist, exact, in_chunks, torch_exact
from benchmarks.peers.compiled import with_compiled
from benchmarks.peers.knn import PEERS, Peer, available
from benchmarks.peers.memory import measure_apart
from uner3d.ops import KnnIndex, knn

MOST_BRUTE = 100_000  # points for the peers that compute every distance, on the CPU
EXACT = 1e-5  # relative error of a squared distance: rounding of coordinates' differences, and no neighbour missed


def error_of(dist2: Tensor, truth: Tensor) -> float:
    """Largest relative error of squared distances (M, k) of some queries, against those from float64."""
    return float(((dist2.double() - truth).abs() / truth.clamp(min=1e-300)).max())


def check_ours(error: float, name: str) -> None:
    if not error <= EXACT:
        raise AssertionError(f"{name}: squared distances differ by {error:.3g} of their size, expected {EXACT:g}")


def prepared(kind: str, n: int, k: int, device: str) -> dict[str, Any]:
    """Points and queries, which of them are ``few``, and the ``truth`` about those: squared distances in float64."""
    points = cloud(kind, n)
    few = torch.arange(0, n, max(n // N_BRUTE[device], 1))[: N_BRUTE[device]]
    queries = queries_near(points, float(knn(points, points[few], 2)[0][:, 1].median().sqrt()))
    on = {"points": points.to(device), "queries": queries.to(device), "few": few.to(device)}
    truth = torch_exact(on["points"].double(), on["queries"][on["few"]].double(), k)[0]
    return {**on, "truth": truth}


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


def on_cuda(case: dict[str, Any], kind: str, k: int, peers: list[Peer], args: Namespace) -> dict[str, Any]:
    """Ours and brute force by torch, eager and compiled."""
    points, queries, few = case["points"], case["queries"], case["few"]
    KnnIndex(points)  # the first one also loads the kernels
    torch.cuda.synchronize()
    start = time.perf_counter()
    index = KnnIndex(points)
    torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    found, some = knn(index, queries, k), queries[few]
    error = error_of(found[0][few], case["truth"])
    check_ours(error, f"{kind}, {len(points)} points")
    eager = {"torch": exact, "torch cdist": cdist}  # a chunk is compiled, not the loop over them
    brute = {name: f for name, f in eager.items() if name in {peer.name for peer in peers}}
    brute = with_compiled(brute, True, lambda f: in_chunks(f, points, some, k))
    calls: dict[str, Callable] = {"uner3d as called": lambda: knn(index, queries, k)}
    calls |= {name: lambda f=f: in_chunks(f, points, some, k) for name, f in brute.items()}
    times = time_interleaved(calls, args.repeats)
    counts = {"uner3d as called": len(queries), **dict.fromkeys(brute, len(few))}
    moved = bandwidth(least_bytes([points, queries], found), times["uner3d as called"]["median"], "cuda")
    library = {"exact": True, "error": error, "build_s": seconds}
    return {**per_query(times, counts), "libraries": {"uner3d": library}, **moved}


def per_query(times: dict[str, dict[str, float]], counts: dict[str, int]) -> dict[str, dict[str, float]]:
    """Microseconds per query and their spread, from seconds per call."""
    micro = lambda field: {name: t[field] / counts[name] * 1e6 for name, t in times.items()}  # noqa: E731
    return {"us_per_query": micro("median"), "spread_us": micro("spread")}


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
        print(f"  {name:<24} built in {library['build_s']:.3f} s{memory}")


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--points", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--clouds", nargs="+", choices=CLOUDS, default=list(CLOUDS))
    parser.add_argument("--k", type=int, default=8)
    names = [name for name in PEERS if name != "uner3d"]
    parser.add_argument("--peers", nargs="*", choices=names, default=names, metavar="PEER", help=f"of {names}")
    parser.add_argument("--large", type=int, default=20_000_000, help="points to index for the memory alone; 0: none")
    parser.add_argument("--no-memory", action="store_true", help="leave out the memory of every peer")
    add_device(parser)
    args = parse(parser)
    cpu = args.device == "cpu"
    peers, missing = available(["uner3d", *(args.peers if cpu else [n for n in args.peers if n.startswith("torch")])])
    figures = []
    for n in args.points:
        for kind in args.clouds:
            case = prepared(kind, n, args.k, args.device)
            run = on_cpu if cpu else on_cuda
            figures.append({"cloud": kind, "points": n, "k": args.k, **run(case, kind, args.k, peers, args)})
            show(figures[-1])
    versions = {peer.name: peer.version() for peer in peers}
    record: dict[str, Any] = {"figures": figures, "not_available": missing, "versions": versions}
    if cpu and args.large:
        record["large"] = large(args.large, args.k, args.threads)
    if args.json:
        write_json(args.json, {"benchmark": "knn", **environment(), **record})


if __name__ == "__main__":
    main()
