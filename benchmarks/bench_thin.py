"""Speed and memory of thinning: nanoseconds per candidate at millions of kept points, and one voxel pass.

python -m benchmarks.bench_thin [--kept 5000000] [--voxel-points 2000000] [--json FILE]

The candidates lie at random on a wavy surface, in no spatial order, which is the worst case for the caches.
"""

from __future__ import annotations

import json
import statistics
import time

import torch
from torch import Tensor

from benchmarks._timing import argument_parser, environment, parse, write_json
from uner3d import ops

BATCH = 500_000


def surface(n: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    uv = torch.rand(n, 2, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    height = 0.2 * torch.sin(5 * uv[:, :1]) * torch.cos(4 * uv[:, 1:])
    return torch.cat([uv, height], 1)


def check_apart(points: Tensor, radius: float) -> None:
    from scipy.spatial import cKDTree

    nearest = cKDTree(points.numpy()).query(points[:20_000].numpy(), k=2)[0][:, 1].min()
    if nearest < radius * (1 - 1e-4):
        raise SystemExit(f"kept points lie {nearest} apart, nearer than {radius}")


def stream(n_kept: int, repeats: int) -> dict[str, float]:
    """Insert until `n_kept` are held, then time batches of which about half are refused."""
    radius = (0.35 / n_kept) ** 0.5  # random filling of a unit square ends near 0.7 / radius^2 points
    thinner = ops.PoissonThinner(radius)
    first = surface(BATCH, 0)
    check_apart(first[thinner.insert(first)], radius)
    seed, filling = 1, time.perf_counter()
    while thinner.count < n_kept:
        thinner.insert(surface(BATCH, seed))
        seed += 1
    filling = time.perf_counter() - filling
    times = []
    for i in range(repeats):
        batch = surface(BATCH, seed + i)
        start = time.perf_counter()
        thinner.insert(batch)
        times.append(time.perf_counter() - start)
    return {
        "kept": thinner.count,
        "ns_per_candidate": statistics.median(times) / BATCH * 1e9,
        "bytes_per_kept_point": thinner.nbytes / thinner.count,
        "seconds_to_fill_with_generation": filling,
    }


def voxels(n: int, repeats: int) -> dict[str, float]:
    points, scores = surface(n, 3), torch.rand(n)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        kept = len(ops.voxel_thin(points, scores, 0.001))
        times.append(time.perf_counter() - start)
    return {"points": n, "kept": kept, "seconds": statistics.median(times)}


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--kept", type=int, default=5_000_000, help="kept points at which inserting is timed")
    parser.add_argument("--voxel-points", type=int, default=2_000_000)
    args = parse(parser)
    figures = {"poisson": stream(args.kept, args.repeats), "voxel": voxels(args.voxel_points, args.repeats)}
    print(json.dumps(figures, indent=1))
    if args.json:
        write_json(args.json, {"environment": environment(), "figures": figures})


if __name__ == "__main__":
    main()
