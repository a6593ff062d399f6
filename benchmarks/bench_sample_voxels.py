"""Speed of sample_voxels against torch's interpolation of volumes and against its twin; results are checked first.

python -m benchmarks.bench_sample_voxels [--points 32768] [--sides 32 64 128] [--threads 2] [--json FILE]

The points are those of a training step: samples along rays in no order, half of them crowded at a surface.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks._timing import argument_parser, check_close, environment, parse, show, time_interleaved, write_json
from benchmarks.bench_density_grid import samples
from benchmarks.bench_ray_edges import shell
from uner3d import ops
from uner3d.ops import reference


def grid_sample(values: Tensor, points: Tensor, extent: Tensor) -> Tensor:
    """The same by torch; it fades over a voxel outside the box, where the points of this benchmark do not lie."""
    places = (points / extent).flip(1).view(1, 1, 1, -1, 3)
    return F.grid_sample(values[None, None], places, align_corners=True).view(-1)


def both(function: Callable[..., Tensor], values: Tensor, points: Tensor, extent: Tensor) -> tuple[Tensor, Tensor]:
    """Values and the gradient of their sum."""
    leaf = values.detach().requires_grad_()
    out = function(leaf, points, extent)
    return out.detach(), torch.autograd.grad(out.sum(), leaf)[0]


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--points", type=int, default=32_768)
    parser.add_argument("--sides", type=int, nargs="+", default=[32, 64, 128], help="values along an axis")
    args = parse(parser)
    extent, points = torch.ones(3), samples(args.points, shell(128)).clamp(-1, 1)
    functions = {"uner3d": ops.sample_voxels, "torch": grid_sample, "twin": reference.sample_voxels}
    figures = {}
    for n in args.sides:
        values = torch.randn(n, n, n, generator=torch.Generator().manual_seed(3))
        want = both(grid_sample, values, points, extent)
        for name in ("uner3d", "twin"):
            check_close(both(functions[name], values, points, extent), want, 2e-3, name)  # sums of many at a surface
        arguments = (values, points, extent)
        runs = {
            "forward": {name: partial(f, *arguments) for name, f in functions.items()},
            "with backward": {name: partial(both, f, *arguments) for name, f in functions.items()},
        }
        figures[str(n)] = {}
        for run, calls in runs.items():
            times = time_interleaved(calls, args.repeats)
            show(f"{n}^3 {run}", times)
            speedup = times["torch"]["median"] / times["uner3d"]["median"]
            figures[str(n)][run] = {"seconds": times, "speedup": speedup, "against": "torch"}
    if args.json:
        write_json(args.json, {"environment": environment(), "points": args.points, "figures": figures})


if __name__ == "__main__":
    main()
