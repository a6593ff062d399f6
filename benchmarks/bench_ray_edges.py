"""Speed of ray_edges against its twin, which is what a step ran before; results are checked against each other first.

python -m benchmarks.bench_ray_edges [--case 1024x128x32 ...] [--side 128] [--threads 2] [--json FILE]

A case is rays x steps x samples. The grid holds a shell of a surface in a thin fog, half of whose cells are carved.
"""

from __future__ import annotations

from argparse import Namespace

import torch
from torch import Tensor

from benchmarks._timing import argument_parser, check_close, environment, parse, show, time_interleaved, write_json
from uner3d import ops
from uner3d.ops import reference

CASES = ["1024x128x32", "1024x64x16", "8192x128x32"]


def shell(side: int) -> Tensor:
    """Densities (side, side, side) of [-1, 1]^3: a sphere of radius 0.5, fog around it, zero beyond 0.8."""
    at = (torch.arange(side) + 0.5) / side * 2 - 1
    radius = (at[:, None, None] ** 2 + at[:, None] ** 2 + at**2).sqrt()
    return 200 * ((radius - 0.5).abs() < 0.03).float() + 1e-3 * (radius < 0.8)


def rays(n_rays: int, n_steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Knots, origins and directions from a sphere of radius 3 through [-1, 1]^3, in no order, as in training."""
    generator = torch.Generator().manual_seed(0)
    origins = 3 * torch.nn.functional.normalize(torch.randn(n_rays, 3, generator=generator), dim=-1)
    directions = 1.2 * (torch.rand(n_rays, 3, generator=generator) - 0.5) - origins
    length = directions.norm(dim=-1, keepdim=True)
    return (2 + 2 * torch.linspace(0, 1, n_steps + 1)) / length, origins, directions


def run_case(case: str, options: Namespace) -> dict[str, dict[str, object]]:
    n_rays, n_steps, n_samples = map(int, case.split("x"))
    inputs = (*rays(n_rays, n_steps), shell(options.side), torch.ones(3))
    jitter = torch.rand(n_rays, n_samples + 1, generator=torch.Generator().manual_seed(1))
    figures = {}
    for run, contracted in (("forward", False), ("forward contracted", True)):
        args = (*inputs, 0.3, n_samples, jitter, contracted)
        exact = tuple(t.double() for t in inputs)
        check_close(
            ops.ray_edges(*exact, 0.3, n_samples, jitter.double(), contracted),
            reference.ray_edges(*exact, 0.3, n_samples, jitter.double(), contracted), 1e-9, f"{case} in float64",
        )  # fmt: skip
        # In single precision a step's middle may round into the next cell: of a few rays in a thousand.
        moved = (ops.ray_edges(*args) - reference.ray_edges(*args)).abs().amax(1)
        check_close((moved > 1e-4).float().mean(), 0.0, 0.01, f"{case}: share of rays that differ")
        calls = {"uner3d": lambda a=args: ops.ray_edges(*a), "torch": lambda a=args: reference.ray_edges(*a)}
        times = time_interleaved(calls, options.repeats)
        show(f"{case} {run}", times)
        speedup = times["torch"]["median"] / times["uner3d"]["median"]
        figures[run] = {"seconds": times, "speedup": speedup, "against": "torch"}
    return figures


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--case", nargs="+", default=CASES, help="rays x steps x samples")
    parser.add_argument("--side", type=int, default=128, help="cells of the grid along an axis")
    args = parse(parser)
    with torch.no_grad():
        figures = {case: run_case(case, args) for case in args.case}
    if args.json:
        write_json(args.json, {"environment": environment(), "side": args.side, "figures": figures})


if __name__ == "__main__":
    main()
