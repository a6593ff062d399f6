"""Speed of sample_views against the time to write its output, and against torch eager (grid_sample).

python -m benchmarks.bench_sample_views [--case 8x4000000x1 ...] [--device cuda] [--threads 2] [--json FILE]
A case is views x points x channels; maps are 200 x 150; points follow rays through the scene, as a renderer's do.
Writing means allocating both outputs and filling them with a constant, by torch. Outputs above 32 MiB are freshly
mapped memory in every call; below, the C library hands back warm pages. On CUDA the peer also runs whole, and that
under torch.compile.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks._gpu import add_device, bandwidth, least_bytes
from benchmarks._timing import argument_parser, check_close, environment, parse, show, time_interleaved, write_json
from benchmarks._views import check_gradient, inputs, off_borders, project, sample
from benchmarks.peers.compiled import with_compiled
from uner3d import ops

CASES = ["1x16000000x1", "8x4000000x1", "8x1500000x3", "8x1500000x4", "8x600000x8", "8x150000x36"]
CHUNK = 1 << 18
SAMPLES_PER_RAY = 64


def along_rays(n_points: int) -> Tensor:
    """Points (N, 3) in runs of SAMPLES_PER_RAY along random chords of the cube."""
    generator = torch.Generator().manual_seed(0)
    ends = 2 * torch.rand(-(-n_points // SAMPLES_PER_RAY), 2, 1, 3, generator=generator) - 1
    t = torch.linspace(0, 1, SAMPLES_PER_RAY)[:, None]
    return (ends[:, 0] * (1 - t) + ends[:, 1] * t).reshape(-1, 3)[:n_points].contiguous()


def eager(maps_nchw: Tensor, K: Tensor, cam_from_world: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    n_views, n_channels, height, width = maps_nchw.shape
    values = points.new_empty(len(points), n_views, n_channels)
    valid = points.new_empty(len(points), n_views, dtype=torch.bool)
    for begin in range(0, len(points), CHUNK):
        part = slice(begin, begin + CHUNK)
        grid, _, seen = project(K, cam_from_world, points[part], height, width)
        values[part] = (sample(maps_nchw, grid) * seen[:, None]).permute(2, 0, 1)
        valid[part] = seen.t()
    return values, valid


def eager_whole(maps_nchw: Tensor, K: Tensor, cam_from_world: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    grid, _, seen = project(K, cam_from_world, points, *maps_nchw.shape[2:])
    return (sample(maps_nchw, grid) * seen[:, None]).permute(2, 0, 1).contiguous(), seen.t().contiguous()


def write(like: Tensor, n_views: int, n_channels: int) -> tuple[Tensor, Tensor]:
    values = like.new_empty(len(like), n_views, n_channels)
    return values.fill_(0.5), like.new_empty(len(like), n_views, dtype=torch.bool).fill_(True)


def backward(f: Callable, inputs: tuple[Tensor, ...], grad: Tensor) -> tuple[Tensor, ...]:
    maps, K, cam_from_world, points = inputs
    leaves = maps.detach().requires_grad_(), points.detach().requires_grad_()
    values, _ = f(leaves[0], K, cam_from_world, leaves[1])
    return torch.autograd.grad(values, leaves, grad)


def eager_backward(inputs: tuple[Tensor, ...], grad: Tensor) -> tuple[Tensor, ...]:
    """In chunks too, so that torch is not slowed by its own memory."""
    maps, K, cam_from_world, points = inputs
    total, grad_points = torch.zeros_like(maps), torch.empty_like(points)
    for begin in range(0, len(points), CHUNK):
        part = slice(begin, begin + CHUNK)
        leaves = maps.detach().requires_grad_(), points[part].detach().requires_grad_()
        grid, _, seen = project(K, cam_from_world, leaves[1], *maps.shape[2:])
        values = (sample(leaves[0], grid) * seen[:, None]).permute(2, 0, 1)
        grad_maps, grad_points[part] = torch.autograd.grad(values, leaves, grad[part])
        total += grad_maps
    return total, grad_points


def run_case(case: str, repeats: int, device: str) -> dict[str, object]:
    n_views, n_points, n_channels = map(int, case.split("x"))
    maps, K, cam_from_world, _ = (t.to(device) for t in inputs(n_views, 0, n_channels))
    points = along_rays(n_points).to(device)
    points = points[off_borders(K, cam_from_world, points, *maps.shape[1:3])]
    ours, peer = (maps, K, cam_from_world, points), (maps.permute(0, 3, 1, 2).contiguous(), K, cam_from_world, points)
    check_close(ops.sample_views(*ours), eager(*peer), 5e-4, case)
    few = points[: len(points) // 4].contiguous()
    few_ours, few_peer = (*ours[:3], few), (*peer[:3], few)
    grad = torch.rand(len(few), n_views, n_channels, generator=torch.Generator().manual_seed(1)).to(device)
    got, want = backward(ops.sample_views, few_ours, grad), eager_backward(few_peer, grad)
    check_gradient(got[0], want[0].permute(0, 2, 3, 1), f"{case} gradient to maps")
    check_gradient(got[1], want[1], f"{case} gradient to points")
    whole = {"torch whole": eager_whole} if device == "cuda" else {}
    whole = with_compiled(whole, device == "cuda", lambda f: (f(*peer), backward(f, few_peer, grad)))
    for name, f in whole.items():
        check_close(ops.sample_views(*ours), f(*peer), 5e-4, f"{case} {name}")
    figures: dict[str, object] = {}
    runs: dict[str, dict[str, Callable]] = {
        "forward": {
            "uner3d": lambda: ops.sample_views(*ours),
            "write": lambda: write(points, n_views, n_channels),
            "torch": lambda: eager(*peer),
            **{name: lambda f=f: f(*peer) for name, f in whole.items()},
        },
        "forward+backward (a quarter of the points)": {
            "uner3d": lambda: backward(ops.sample_views, few_ours, grad),
            "torch": lambda: eager_backward(few_peer, grad),
            **{name: lambda f=f: backward(f, few_peer, grad) for name, f in whole.items()},
        },
    }
    n_bytes = (
        least_bytes(ours, ops.sample_views(*ours)),
        least_bytes(few_ours, ops.sample_views(*few_ours), [grad], got),
    )
    for (name, functions), moved in zip(runs.items(), n_bytes, strict=True):
        times = time_interleaved(functions, repeats)
        best = min((n for n in functions if n.startswith("torch")), key=lambda n: times[n]["median"])
        show(f"{case} {name}", times, best)
        figures[name] = {
            "seconds": times, "speedup": times[best]["median"] / times["uner3d"]["median"], "against": best,
            **bandwidth(moved, times["uner3d"]["median"], device),
        }  # fmt: skip
        if "write" in times:
            ratio = times["uner3d"]["median"] / times["write"]["median"]
            print(f"  {ratio:.2f} times the time to write the output")
            figures[name] |= {"times_write": ratio}
    return figures


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--case", nargs="+", default=CASES, help="views x points x channels")
    add_device(parser)
    args = parse(parser)
    figures = {case: run_case(case, args.repeats, args.device) for case in args.case}
    if args.json:
        write_json(args.json, {"environment": environment(), "maps": "150 x 200", "figures": figures})


if __name__ == "__main__":
    main()
