"""Inverse-distance weighting, forward and forward + backward, against torch eager, checked first.

python -m benchmarks.bench_idw [--points 100000] [--channels 3] [--k 8] [--device cuda] [--threads 2]
                               [--json FILE]

The eager peer searches by chunked brute force (it has nothing better), gathers (M, k, C) and sums; it gets few
queries, and times are per query. The last rows leave the search out of both: eager is given the neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks._clouds import cloud, queries_near
from benchmarks._gpu import add_device, bandwidth, least_bytes
from benchmarks._timing import argument_parser, check_close, environment, parse, time_interleaved, write_json
from benchmarks.peers.brute import N_BRUTE, torch_exact
from benchmarks.peers.compiled import with_compiled
from uner3d.ops import KnnIndex, idw, knn

EPS = 1e-6


def eager_blend(points: Tensor, values: Tensor, queries: Tensor, idx: Tensor) -> Tensor:
    dist2 = ((points[idx] - queries[:, None]) ** 2).sum(-1)
    share = 1 / (dist2 + EPS)
    return (share[..., None] * values[idx]).sum(1) / share.sum(1, keepdim=True)


def eager(points: Tensor, values: Tensor, queries: Tensor, k: int) -> Tensor:
    with torch.no_grad():
        idx = torch_exact(points, queries, k)[1]
    return eager_blend(points, values, queries, idx)


def with_backward(function: Callable[..., Tensor], leaves: list[Tensor]) -> Callable[[], tuple[Tensor, ...]]:
    def call() -> tuple[Tensor, ...]:
        out = function()
        return torch.autograd.grad(out, leaves, torch.ones_like(out))

    return call


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--points", type=int, nargs="+", default=[100_000])
    parser.add_argument("--channels", type=int, default=3)
    parser.add_argument("--k", type=int, default=8)
    add_device(parser)
    arguments = parse(parser)
    figures = []
    for n in arguments.points:
        measured = measure(n, arguments.channels, arguments.k, arguments.repeats, arguments.device)
        per_query = measured["us_per_query"]
        figures.append({"points": n, "channels": arguments.channels, "k": arguments.k, **measured})
        print(f"surface, {n} points and queries, {arguments.channels} channels, k = {arguments.k}")
        for name, us in per_query.items():
            against = per_query["uner3d forward" + (" + backward" if name.endswith("backward") else "")]
            print(f"  {name:<42} {us:10.3f} us per query   {us / against:8.2f} x uner3d")
    if arguments.json:
        write_json(arguments.json, {"benchmark": "idw", **environment(), "figures": figures})


def measure(n: int, n_channels: int, k: int, repeats: int, device: str) -> dict[str, Any]:
    """Microseconds per query of each."""
    points = cloud("surface", n)
    spacing = float(knn(points, points[:1000], 2)[0][:, 1].median().sqrt())
    values = torch.rand(n, n_channels, generator=torch.Generator().manual_seed(2)).to(device)
    points, queries = points.to(device), queries_near(points, spacing).to(device)
    few = queries[: N_BRUTE[device]].clone()
    expected = eager(points, values, few, k)
    check_close(idw(points, values, few, k, eps=EPS), expected, 1e-4, "idw")
    leaves = [points.requires_grad_(), values.requires_grad_(), queries.requires_grad_()]
    few_leaves = [points, values, few.requires_grad_()]
    index = KnnIndex(points)
    idx = knn(index, queries, k)[1]
    gradients = torch.autograd.grad(eager_blend(points, values, few, idx[: len(few)]).sum(), few_leaves)
    ours = torch.autograd.grad(idw(index, values, few, k, eps=EPS).sum(), few_leaves)
    for name, a, b in zip(("points", "values", "queries"), ours, gradients, strict=True):
        check_close(a, b, 1e-3 * float(b.abs().max()), f"gradient of {name}")
    forward = {
        "uner3d": lambda: idw(index, values, queries, k, eps=EPS),
        "torch": lambda: eager(points, values, few, k),
    }
    blends = {"torch, neighbours given": eager_blend}
    trial = lambda f: torch.autograd.grad(f(points, values, queries, idx).sum(), leaves)  # noqa: E731
    for name, blend in with_compiled(blends, device == "cuda", trial).items():
        check_close(idw(index, values, queries, k, eps=EPS), blend(points, values, queries, idx), 1e-3, name)
        forward[name] = lambda f=blend: f(points, values, queries, idx)
    calls: dict[str, Callable] = {}
    for name, call in forward.items():
        calls[f"{name} forward"] = torch.no_grad()(call)
        calls[f"{name} forward + backward"] = with_backward(call, few_leaves if name == "torch" else leaves)
    times = time_interleaved(calls, repeats)
    per_query = {name: t["median"] * 1e6 / (len(few) if name.startswith("torch f") else n) for name, t in times.items()}
    inputs, out = (points, values, queries), [idw(index, values, queries, k, eps=EPS)]
    moved = {"forward": least_bytes(inputs, out), "forward + backward": least_bytes(inputs, out, out, leaves)}
    achieved = {name: bandwidth(n_bytes, times[f"uner3d {name}"]["median"], device) for name, n_bytes in moved.items()}
    return {"us_per_query": per_query, "bandwidth": achieved}


if __name__ == "__main__":
    main()
