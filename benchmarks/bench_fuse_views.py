"""Speed of fuse_views against torch eager (grid_sample, mean and variance), whole and in chunks of points.

python -m benchmarks.bench_fuse_views [--case 8x1000000x32 ...] [--compile] [--device cuda] [--threads 2]
                                      [--json FILE]
A case is views x points x channels; maps are 200 x 150. The chunked peer also runs its backward chunk by chunk, with
--compile under torch.compile too. On CUDA the whole peer runs under torch.compile, and backward.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks._gpu import add_device, bandwidth, least_bytes
from benchmarks._timing import argument_parser, check_close, environment, parse, show, time_interleaved, write_json
from benchmarks._views import check_gradient, inputs, off_borders, project, sample
from benchmarks.peers.compiled import add_compile, wants_compiled, with_compiled
from uner3d import ops

CASES = ["3x1000000x32", "8x256000x32", "8x1000000x32", "49x40000x32", "8x40000x36", "8x20000x36"]
CHUNK = 1 << 16


def eager(maps_nchw: Tensor, K: Tensor, cam_from_world: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (N, C) over the views that see a point, as one writes it with grid_sample."""
    height, width = maps_nchw.shape[2:]
    grid, _, seen = project(K, cam_from_world, points, height, width)
    samples, weight = sample(maps_nchw, grid), seen[:, None].to(points.dtype)
    count = weight.sum(0).clamp(min=1)
    mean = (weight * samples).sum(0) / count
    var = (weight * (samples - mean) ** 2).sum(0) / count
    return mean.t(), var.t()


def eager_chunked(
    maps_nchw: Tensor, K: Tensor, cam_from_world: Tensor, points: Tensor, f: Callable = eager
) -> tuple[Tensor, Tensor]:
    out = [points.new_empty(len(points), maps_nchw.shape[1]) for _ in range(2)]
    for begin in range(0, len(points), CHUNK):
        part = slice(begin, begin + CHUNK)
        for to, value in zip(out, f(maps_nchw, K, cam_from_world, points[part]), strict=True):
            to[part] = value
    return out[0], out[1]


def backward(f: Callable, inputs: tuple[Tensor, ...], grads: tuple[Tensor, Tensor], positions: bool) -> list[Tensor]:
    """Gradients to the maps, and to the points where asked."""
    maps, K, cam_from_world, points = inputs
    leaves = [maps.detach().requires_grad_(), points.detach().requires_grad_(positions)]
    out = f(leaves[0], K, cam_from_world, leaves[1])
    return list(torch.autograd.grad(out[:2], [t for t in leaves if t.requires_grad], grads))


def backward_chunked(
    inputs: tuple[Tensor, ...], grads: tuple[Tensor, Tensor], positions: bool, f: Callable = eager
) -> list[Tensor]:
    maps, K, cam_from_world, points = inputs
    total = [torch.zeros_like(maps), *([torch.empty_like(points)] if positions else [])]
    for begin in range(0, len(points), CHUNK):
        part = slice(begin, begin + CHUNK)
        chunk_grads = (grads[0][part], grads[1][part])
        out = backward(f, (maps, K, cam_from_world, points[part]), chunk_grads, positions)
        total[0] += out[0]
        if positions:
            total[1][part] = out[1]
    return total


def run_case(case: str, args: Namespace) -> dict[str, object]:
    n_views, n_points, n_channels = map(int, case.split("x"))
    repeats, device = args.repeats, args.device
    maps, K, cam_from_world, points = (t.to(device) for t in inputs(n_views, n_points, n_channels))
    points = points[off_borders(K, cam_from_world, points, *maps.shape[1:3])]
    ours, peer = (maps, K, cam_from_world, points), (maps.permute(0, 3, 1, 2).contiguous(), K, cam_from_world, points)
    generator = torch.Generator().manual_seed(1)
    first, second = (torch.rand(len(points), n_channels, generator=generator).to(device) for _ in range(2))
    grads = (first, second)
    whole, parts = {"torch whole": eager}, {"torch chunked": eager}
    if device == "cuda":
        whole = with_compiled(whole, True, lambda f: (f(*peer), backward(f, peer, grads, True)))
    else:
        trial = lambda f: (eager_chunked(*peer, f), backward_chunked(peer, grads, True, f))  # noqa: E731
        parts = with_compiled(parts, wants_compiled(args), trial)
    figures: dict[str, object] = {}
    runs: dict[str, dict[str, Callable]] = {
        "forward": {
            "uner3d": lambda: ops.fuse_views(*ours),
            **{name: lambda f=f: eager_chunked(*peer, f) for name, f in parts.items()},
            **{name: lambda f=f: f(*peer) for name, f in whole.items()},
        }
    }
    for name, call in runs["forward"].items():
        check_close(ops.fuse_views(*ours)[:2], call()[:2], 2e-4, f"{case} {name}")
    n_bytes = {"forward": least_bytes(ours, ops.fuse_views(*ours))}
    for name, positions in (("forward+backward to maps", False), ("forward+backward to maps and points", True)):
        got, want = backward(ops.fuse_views, ours, grads, positions), backward_chunked(peer, grads, positions)
        want[0] = want[0].permute(0, 2, 3, 1)
        for a, b in zip(got, want, strict=True):
            check_gradient(a, b, f"{case} {name}")
        runs[name] = {
            "uner3d": lambda p=positions: backward(ops.fuse_views, ours, grads, p),
            **{n: lambda f=f, p=positions: backward_chunked(peer, grads, p, f) for n, f in parts.items()},
        }
        if device == "cuda":
            runs[name] |= {n: lambda f=f, p=positions: backward(f, peer, grads, p) for n, f in whole.items()}
        n_bytes[name] = least_bytes(ours, ops.fuse_views(*ours), grads, got)
    for name, functions in runs.items():
        times = time_interleaved(functions, repeats)
        best = min((n for n in functions if n != "uner3d"), key=lambda n: times[n]["median"])
        show(f"{case} {name}", times, best)
        figures[name] = {
            "seconds": times, "speedup": times[best]["median"] / times["uner3d"]["median"], "against": best,
            **bandwidth(n_bytes[name], times["uner3d"]["median"], device),
        }  # fmt: skip
    return figures


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--case", nargs="+", default=CASES, help="views x points x channels")
    add_device(parser)
    add_compile(parser)
    args = parse(parser)
    figures = {case: run_case(case, args) for case in args.case}
    if args.json:
        write_json(args.json, {"environment": environment(), "maps": "150 x 200", "figures": figures})


if __name__ == "__main__":
    main()
