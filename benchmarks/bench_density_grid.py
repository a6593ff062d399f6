"""Speed of grid_update and grid_cells against their twins; results are checked against each other first.

python -m benchmarks.bench_density_grid [--points 32768] [--side 128] [--threads 2] [--json FILE]

The points are those of a training step: samples along rays in no order, half of them crowded at a surface.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks._timing import argument_parser, check_close, environment, parse, show, time_interleaved, write_json
from benchmarks.bench_ray_edges import rays, shell
from uner3d import ops
from uner3d.ops import reference

SAMPLES = 32


def samples(n_points: int, values: Tensor) -> Tensor:
    """(N, 3): middles of the samples that ray_edges takes."""
    n_rays = -(-n_points // SAMPLES)
    knots, origins, directions = rays(n_rays, 128)
    edges = ops.ray_edges(knots, origins, directions, values, torch.ones(3), 0.3, SAMPLES)
    middles = 0.5 * (edges[:, 1:] + edges[:, :-1])
    return torch.addcmul(origins[:, None], middles[..., None], directions[:, None]).reshape(-1, 3)[:n_points]


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--points", type=int, default=32_768)
    parser.add_argument("--side", type=int, default=128, help="cells of the grid along an axis")
    args = parse(parser)
    values, extent, n = shell(args.side), torch.ones(3), args.side
    points = samples(args.points, values)
    generator = torch.Generator().manual_seed(2)
    sigma = 200 * torch.rand(args.points, generator=generator)
    allowed = torch.rand(n, n, n, generator=generator) > 0.3
    values *= allowed
    updated = [values.clone(), values.clone()]
    ops.grid_update(updated[0], points, sigma, extent, allowed)
    reference.grid_update(updated[1], points, sigma, extent, allowed)
    check_close(*updated, 1e-4, "grid_update")  # of densities up to 200
    check_close(ops.grid_cells(points, extent, n), reference.grid_cells(points, extent, n), 0, "grid_cells")
    mine, theirs = (torch.full_like(values, -1.0) for _ in range(2))
    calls = {
        "update": {
            "uner3d": lambda: ops.grid_update(updated[0], points, sigma, extent, allowed, seen=mine),
            "torch": lambda: reference.grid_update(updated[1], points, sigma, extent, allowed, seen=theirs),
        },
        "cells": {
            "uner3d": lambda: ops.grid_cells(points, extent, n),
            "torch": lambda: reference.grid_cells(points, extent, n),
        },
    }  # fmt: skip
    figures = {}
    for run, pair in calls.items():
        times = time_interleaved(pair, args.repeats)
        show(run, times)
        speedup = times["torch"]["median"] / times["uner3d"]["median"]
        figures[run] = {"seconds": times, "speedup": speedup, "against": "torch"}
    if args.json:
        record = {"environment": environment(), "points": args.points, "side": n, "figures": {"training": figures}}
        write_json(args.json, record)


if __name__ == "__main__":
    main()
