"""What bench_knn.py does on CUDA: points, queries and results stay on the GPU, and memory is bounded at any size."""

from __future__ import annotations

import statistics
import time
from argparse import Namespace
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks._clouds import cloud, morton_sorted, queries_near
from benchmarks._gpu import bandwidth, least_bytes
from benchmarks._knn_figures import EXACT, check_ours, error_of, per_query
from benchmarks._timing import time_interleaved
from benchmarks.peers.brute import N_BRUTE, cdist, exact, in_chunks
from benchmarks.peers.compiled import with_compiled
from benchmarks.peers.knn import Peer
from benchmarks.peers.knn_cuda import CudaPeer
from uner3d.ops import knn

DEVICE = "cuda"
MOST_BRUTE = 1_000_000  # points for the peers that compute every distance: a chunk of queries takes 6 GB there
AT_ONCE = 1 << 26  # distances in float64 that the truth holds at a time
BUILDS, BUILD_SECONDS = 5, 1.5  # builds timed, fewer once they have taken so long together
LONG = 0.1  # seconds that a peer's call may take before it gets a part of the queries
RUN = 4096  # queries that stay together in such a part, so that sorted ones stay near each other


def prepared(kind: str, n: int, k: int) -> dict[str, Any]:
    """As the CPU's; few of the queries, fewer among more than a million points, are held against every point."""
    on_host = cloud(kind, n)
    points = on_host.to(DEVICE)
    count = max(N_BRUTE["cuda"] * MOST_BRUTE // max(n, MOST_BRUTE), 1)
    few = torch.arange(0, n, max(n // count, 1), device=DEVICE)[:count]
    spacing = float(knn(points, points[few], 2)[0][:, 1].median().sqrt())
    queries = queries_near(on_host, spacing).to(DEVICE)
    return {"points": points, "queries": queries, "few": few, "truth": truth_of(points, queries[few], k)}


def truth_of(points: Tensor, queries: Tensor, k: int) -> Tensor:
    """Squared distances (M, k) from differences of coordinates in float64, some points at a time."""
    best = torch.full((len(queries), k), torch.inf, dtype=torch.float64, device=points.device)
    x = queries.double()
    for block in points.split(max(AT_ONCE // len(queries), 1)):
        dist2 = torch.zeros((len(queries), len(block)), dtype=torch.float64, device=points.device)
        for axis in range(3):
            difference = x[:, axis, None] - block[:, axis].double()
            dist2.addcmul_(difference, difference)
        best = torch.cat([best, dist2], dim=1).topk(k, largest=False)[0]
    return best


def part_of(queries: Tensor, share: float) -> Tensor:
    """About ``share`` of the queries: runs of consecutive ones from everywhere, all of them where they are few."""
    step = int(1 / max(share, 0.1)) if share < 1 else 1
    runs = len(queries) // RUN
    if step == 1 or runs < step:
        return queries
    return queries[: runs * RUN].view(runs, RUN, 3)[::step].reshape(-1, 3)


def seconds_of(call: Callable[[], Any]) -> tuple[float, Any]:
    """Until the device has finished, and the result."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    result = call()
    torch.cuda.synchronize()
    return time.perf_counter() - start, result


def built(make: Callable[[], Any]) -> tuple[dict[str, float], Any]:
    """Median seconds of some builds after one that is not timed, the memory of torch's that one took, and the search.

    One search is kept at a time. What a library allocates beside torch is not seen.
    """
    search = make()
    del search
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    seconds: list[float] = []
    search = None
    while len(seconds) < BUILDS and sum(seconds) < BUILD_SECONDS:
        search = None
        took, search = seconds_of(make)
        seconds.append(took)
    peak, kept = torch.cuda.max_memory_allocated() - before, torch.cuda.memory_allocated() - before
    figure = {"build_s": statistics.median(seconds), "builds": len(seconds)}
    return {**figure, "build_mb": peak / 1e6, "held_mb": kept / 1e6}, search


def tried(peer: CudaPeer, case: dict[str, Any], ordered: dict[str, Tensor], k: int) -> tuple[dict, Any, dict]:
    """What is known of a peer before it is timed; its search; the queries of each order that it will be timed with."""
    points, some = case["points"], case["queries"][case["few"]]
    figure, search = built(lambda: peer.make(points, k))
    error = error_of(peer.dist2(search(some)), case["truth"])
    figure = {"exact": error <= EXACT, "error": error, **figure}
    if peer.name == "uner3d":
        return figure, search, ordered
    del figure["build_mb"], figure["held_mb"]  # most of it is not torch's
    queries = ordered["as called"]
    probe = part_of(queries, 0.1)
    search(probe)
    seconds = seconds_of(lambda: search(probe))[0] * len(queries) / len(probe)
    given = {order: part_of(all_of_it, LONG / max(seconds, 1e-9)) for order, all_of_it in ordered.items()}
    if len(given["as called"]) < len(queries):
        figure["queries"] = len(given["as called"])
    return figure, search, given


def brute_calls(case: dict[str, Any], k: int, peers: list[Peer]) -> dict[str, Callable]:
    """Brute force by torch, eager and compiled, for few queries."""
    points, some = case["points"], case["queries"][case["few"]]
    names = {peer.name for peer in peers}
    eager = {"torch": exact, "torch cdist": cdist}  # a chunk is compiled, not the loop over them
    found = {name: f for name, f in eager.items() if name in names and len(points) <= MOST_BRUTE}
    found = with_compiled(found, bool(found), lambda f: in_chunks(f, points, some, k))
    return {name: lambda f=f: in_chunks(f, points, some, k) for name, f in found.items()}


def on_cuda(case: dict[str, Any], kind: str, k: int, peers: list[Any], args: Namespace) -> dict[str, Any]:
    """Ours, the peers with a k-d tree, each with both orders of the queries, and brute force."""
    points, queries = case["points"], case["queries"]
    ordered = {"as called": queries, "sorted": morton_sorted(queries)}
    libraries: dict[str, dict[str, Any]] = {}
    calls: dict[str, Callable] = {}
    counts: dict[str, int] = {}
    for peer in peers:
        if not isinstance(peer, CudaPeer):
            continue
        try:
            figure, search, given = tried(peer, case, ordered, k)
        except Exception as error:  # of any kind: where it is a peer's, the others go on
            if peer.name == "uner3d":
                raise
            print(f"  {peer.name}: left out, {type(error).__name__}: {(str(error).splitlines() or [''])[0]}")
            continue
        if peer.name == "uner3d":
            check_ours(figure["error"], f"{kind}, {len(points)} points")
        libraries[peer.name] = figure
        for order, part in given.items():
            calls[f"{peer.name} {order}"] = lambda f=search, q=part: f(q)
            counts[f"{peer.name} {order}"] = len(part)
    brute = brute_calls(case, k, [peer for peer in peers if isinstance(peer, Peer)])
    counts |= dict.fromkeys(brute, len(case["few"]))
    times = time_interleaved(calls | brute, args.repeats, min_seconds=0.03)
    found = calls["uner3d as called"]()
    moved = bandwidth(least_bytes([points, queries], found), times["uner3d as called"]["median"], "cuda")
    return {**per_query(times, counts), "libraries": libraries, **moved}
